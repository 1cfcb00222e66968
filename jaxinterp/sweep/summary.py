"""From stored results to the report: tables, and one view a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from jaxinterp.config import to_toml
from jaxinterp.data.images import NamedImage
from jaxinterp.methods.suppression import TRACE_TERMS, Suppressor
from jaxinterp.models.network import Network
from jaxinterp.report import JobView, MapView, ReportHead, Table, write_report
from jaxinterp.sweep.config import RunConfig
from jaxinterp.sweep.plan import Job, batches
from jaxinterp.sweep.store import RunFolder

__all__ = ["layer_table_rows", "write_summary"]

_MEASURES = (
    "similarity",
    "similarity_blank",
    "mse_selected",
    "mse_rest",
    "mse_rest_original",
    "mse_rest_blank",
    "loss",
    "steps",
)


def write_summary(
    config: RunConfig,
    folder: RunFolder,
    network: Network,
    images: Sequence[NamedImage],
    jobs: Sequence[Job],
    records: Mapping[int, Mapping[str, Any]],
    arrays: Mapping[str, ts.TensorStore],
    suppressors: Mapping[str, Suppressor],
    skipped: int,
) -> Path:
    """Writes `index.html` and the figures of a run; returns the page's path."""
    manifest = folder.manifest or {}
    counts = [record["status"] for record in records.values()]
    facts = [
        ("Network", f"{network.name} (weights {network.weights_sha256[:12]})"),
        ("Jobs", ", ".join(f"{counts.count(s)} {s}" for s in ("done", "silent", "failed"))),
        ("Images", f"{len(images)} at {config.images.size} px" + _left_out(skipped)),
        (
            "Loss",
            f"alpha {config.suppression.alpha:g}, beta {config.suppression.beta:g}, "
            f"{config.suppression.normalization} normalization",
        ),
        (
            "Optimiser",
            f"{config.suppression.optimizer}, {next(iter(suppressors.values())).steps} steps, "
            f"{'bounded to [0, 1]' if config.suppression.bounded else 'unbounded'}",
        ),
        ("Device", ", ".join(dict.fromkeys(manifest.get("devices", [])))),
        ("Versions", ", ".join(f"{k} {v}" for k, v in manifest.get("versions", {}).items())),
        ("Started", str(manifest.get("created", ""))),
    ]
    head = ReportHead(
        title=config.title,
        subtitle="Each input keeps one kernel's feature map and silences all others of its layer: "
        "what is left is what the kernel responds to.",
        facts=tuple(facts),
        config_toml=to_toml(config),
    )
    tables = [
        Table(
            title=f"{layer}",
            columns=(
                "input",
                f"{_similarity_name(records, layer)} of the selected map",
                "MSE of the rest",
                "of the original's",
            ),
            rows=tuple(layer_table_rows(records, layer)),
            note=_note(records, layer),
        )
        for layer in dict.fromkeys(job.layer for job in jobs)
    ]
    views = _views(images, jobs, records, arrays, suppressors, config.lanes)
    return write_report(folder.path, head, tables, views, figures=config.report.figures)


def _left_out(skipped: int) -> str:
    return f" ({skipped} files left out)" if skipped else ""


def _done(records: Mapping[int, Mapping[str, Any]], layer: str) -> list[Mapping[str, Any]]:
    return [r for r in records.values() if r["layer"] == layer and r["status"] == "done"]


def _similarity_name(records: Mapping[int, Mapping[str, Any]], layer: str) -> str:
    names = {r["similarity_is"] for r in records.values() if r["layer"] == layer}
    return "Correlation" if names == {"correlation"} else "SSIM"


def layer_table_rows(
    records: Mapping[int, Mapping[str, Any]], layer: str
) -> Iterator[tuple[str, ...]]:
    """Rows of a layer's table: the original, a blank image, the optimised input.

    Each holds mean and standard deviation over the jobs that are done of the selected map's
    similarity and of the others' mean square, and the latter's mean as a share of the original's.
    """
    done = _done(records, layer)
    if not done:
        return
    original = np.mean([r["mse_rest_original"] for r in done])

    def spread(name: str) -> str:
        values = [r[name] for r in done]
        return f"{np.mean(values):.3f} ± {np.std(values):.3f}"

    for title, similarity, rest in (
        ("original", None, "mse_rest_original"),
        ("blank image", "similarity_blank", "mse_rest_blank"),
        ("optimised", "similarity", "mse_rest"),
    ):
        share = np.mean([r[rest] for r in done]) / original if original > 0 else np.nan
        yield title, "1" if similarity is None else spread(similarity), spread(rest), f"{share:.1%}"


def _note(records: Mapping[int, Mapping[str, Any]], layer: str) -> str:
    statuses = [r["status"] for r in records.values() if r["layer"] == layer]
    text = f"Mean ± standard deviation over {statuses.count('done')} jobs."
    if statuses.count("silent"):
        text += f" {statuses.count('silent')} silent (no response to keep) are left out."
    if statuses.count("failed"):
        text += f" {statuses.count('failed')} failed."
    return text


def _views(
    images: Sequence[NamedImage],
    jobs: Sequence[Job],
    records: Mapping[int, Mapping[str, Any]],
    arrays: Mapping[str, ts.TensorStore],
    suppressors: Mapping[str, Suppressor],
    lanes: int,
) -> Iterator[JobView]:
    """One view a job, in the order of the plan; maps are computed again from the stored inputs."""
    pixels = np.stack([image.pixels for image in images])
    for batch in batches(jobs, lanes, key=lambda job: job.layer):
        suppressor = suppressors[batch[0].layer]
        reads = [
            (arrays["images"][j.index].read(), arrays["traces"][j.index].read()) for j in batch
        ]
        optimised = np.stack([image.result() for image, _ in reads])
        # All lanes, as the run has them: the maps are compiled for that shape already.
        filled = np.resize(np.arange(len(batch)), suppressor.lanes)
        maps_before = suppressor.maps(pixels[[job.image for job in batch]][filled])
        maps_after = suppressor.maps(optimised[filled])
        for lane, job in enumerate(batch):
            before, after = maps_before[lane], maps_after[lane]
            record = records[job.index]
            # Silent and failed jobs keep the store's arrays; their measures are null.
            yield JobView(
                job=job.id,
                layer=job.layer,
                kernel=job.kernel,
                image=images[job.image].name,
                original=_as_rgb(pixels[job.image]),
                optimised=_as_rgb(optimised[lane]),
                maps=tuple(
                    MapView(f"kernel {k}", before[..., k], after[..., k], k == job.kernel)
                    for k in _shown_kernels(before, job.kernel)
                ),
                metrics={name: record[name] for name in _MEASURES},
                status=record["status"],
                trace=reads[lane][1].result(),
                trace_terms=TRACE_TERMS,
            )


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """[h, w, 1] or [h, w, 3] -> [h, w, 3]."""
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _shown_kernels(before: np.ndarray, kernel: int) -> list[int]:
    """The selected kernel and the two others that respond most to the original."""
    activity = before.mean((0, 1))
    others = [int(k) for k in np.argsort(-activity, kind="stable") if k != kernel]
    return [kernel, *others[:2]]
