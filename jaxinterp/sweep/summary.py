"""From stored results to the report: tables, and one view a job."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxinterp.config import to_toml
from jaxinterp.data.images import NamedImage
from jaxinterp.methods.suppression import TRACE_TERMS, layer_maps
from jaxinterp.models.network import Network
from jaxinterp.report import JobView, MapView, ReportHead, Table, write_report
from jaxinterp.report.page import MOST_JOBS
from jaxinterp.sweep.config import RunConfig
from jaxinterp.sweep.folder.results import STATUSES
from jaxinterp.sweep.plan import Plan
from jaxinterp.sweep.store import Results, RunFolder

__all__ = ["LayerSummary", "shown_jobs", "summarise", "write_summary"]

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
_TOGETHER = 32  # jobs whose maps are computed together


@dataclasses.dataclass
class _Spread:
    """Mean and standard deviation of values that come one at a time (Welford's recurrence)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        before = value - self.mean
        self.mean += before / self.count
        self.squares += before * (value - self.mean)

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {(self.squares / self.count) ** 0.5:.3f}"


class LayerSummary:
    """A layer's table, from records that come one at a time.

    Attributes:
      counts: how many jobs are "done", "silent" and "failed".
      similarity_is: "ssim", "correlation", or "" before the first record.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys(STATUSES, 0)
        self.similarity_is = ""
        self._spreads = {name: _Spread() for name in _MEASURES if name not in ("loss", "steps")}

    def add(self, record: Mapping[str, Any]) -> None:
        """Takes a finished job's record into account."""
        self.counts[record["status"]] += 1
        self.similarity_is = record["similarity_is"]
        if record["status"] == "done":
            for name, spread in self._spreads.items():
                spread.add(record[name])

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The original, a blank image, the optimised input; none if no job is done.

        Each holds mean and standard deviation over the jobs that are done of the selected map's
        similarity and of the others' mean square, and the latter's mean as a share of the
        original's.
        """
        if not self.counts["done"]:
            return []
        original = self._spreads["mse_rest_original"].mean
        rows = []
        for title, similarity, rest in (
            ("original", None, "mse_rest_original"),
            ("blank image", "similarity_blank", "mse_rest_blank"),
            ("optimised", "similarity", "mse_rest"),
        ):
            mean = self._spreads[rest].mean
            share = mean / original if original > 0 else math.nan
            kept = "1" if similarity is None else str(self._spreads[similarity])
            rows.append((title, kept, str(self._spreads[rest]), f"{share:.1%}"))
        return rows

    def table(self, layer: str) -> Table:
        """The table of the report."""
        name = "Correlation" if self.similarity_is == "correlation" else "SSIM"
        note = f"Mean ± standard deviation over {self.counts['done']} jobs."
        if self.counts["silent"]:
            note += f" {self.counts['silent']} silent (no response to keep) are left out."
        if self.counts["failed"]:
            note += f" {self.counts['failed']} failed."
        columns = ("input", f"{name} of the selected map", "MSE of the rest", "of the original's")
        return Table(title=layer, columns=columns, rows=tuple(self.rows), note=note)


def summarise(
    records: Iterable[Mapping[str, Any]], layers: Iterable[str]
) -> dict[str, LayerSummary]:
    """The summaries of layers, by name, from records of any order, of which none is kept."""
    found = {layer: LayerSummary() for layer in layers}
    for record in records:
        found[record["layer"]].add(record)
    return found


def shown_jobs(plan: Plan, results: Results, most: int = MOST_JOBS) -> np.ndarray:
    """The jobs that the page shows, in the order of the plan.

    All that are finished; if they are more than `most`, as many of each layer, as far as it has
    them, at even distances, so that they are of many kernels.

    Returns:
      Indices, int64.
    """
    finished = [
        np.asarray(jobs)[results.done[jobs.start : jobs.stop]] for jobs in plan.layers.values()
    ]
    left, chosen = most, []
    # The smallest layers first: what they leave goes to the others.
    for place, jobs in enumerate(sorted(finished, key=len)):
        count = min(len(jobs), left // (len(finished) - place))
        chosen.append(jobs[np.arange(count) * len(jobs) // max(count, 1)])
        left -= count
    return np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))


def write_summary(
    config: RunConfig,
    folder: RunFolder,
    network: Network,
    images: Sequence[NamedImage],
    plan: Plan,
    results: Results,
    summaries: Mapping[str, LayerSummary],
    skipped: int,
) -> Path | str:
    """Writes `index.html` and the figures of a run; returns where the page is."""
    manifest = folder.manifest or {}
    counts = results.counts()
    facts = [
        ("Network", f"{network.name} (weights {network.weights_sha256[:12]})"),
        ("Jobs", ", ".join(f"{count} {status}" for status, count in counts.items())),
        ("Images", f"{len(images)} at {config.images.size} px" + _left_out(skipped)),
        (
            "Loss",
            f"alpha {config.suppression.alpha:g}, beta {config.suppression.beta:g}, "
            f"{config.suppression.normalization} normalization",
        ),
        (
            "Optimiser",
            f"{config.suppression.optimizer}, {config.suppression.resolved().steps} steps, "
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
    tables = [summary.table(layer) for layer, summary in summaries.items()]
    views = _views(network, images, plan, results, shown_jobs(plan, results))
    with folder.files() as path:
        write_report(path, head, tables, views, figures=config.report.figures, counts=counts)
    return folder.locate("index.html")


def _left_out(skipped: int) -> str:
    return f" ({skipped} files left out)" if skipped else ""


def _views(
    network: Network,
    images: Sequence[NamedImage],
    plan: Plan,
    results: Results,
    shown: np.ndarray,
) -> Iterator[JobView]:
    """One view a job; maps are computed again from the stored inputs."""
    pixels = [image.pixels for image in images]
    for layer, jobs in plan.layers.items():
        own = shown[(shown >= jobs.start) & (shown < jobs.stop)]
        maps = jax.jit(layer_maps(network, layer))
        for start in range(0, len(own), _TOGETHER):
            batch = [plan[index] for index in own[start : start + _TOGETHER]]
            indices = [job.index for job in batch]
            originals = np.stack([pixels[job.image] for job in batch])
            optimised = results.read_many("images", indices)
            traces = results.read_many("traces", indices)
            # Repeated to the same number, so that the maps are compiled once.
            filled = np.resize(np.arange(len(batch)), min(_TOGETHER, len(own)))
            before_all, after_all = (
                np.asarray(maps(network.params, network.preprocess(inputs[filled])))
                for inputs in (originals, optimised)
            )
            for lane, job in enumerate(batch):
                before, after = before_all[lane], after_all[lane]
                record = results.record(job.index)
                # Silent and failed jobs keep the store's arrays; their measures are null.
                yield JobView(
                    job=job.id,
                    layer=job.layer,
                    kernel=job.kernel,
                    image=images[job.image].name,
                    original=_as_rgb(originals[lane]),
                    optimised=_as_rgb(optimised[lane]),
                    maps=tuple(
                        MapView(f"kernel {k}", before[..., k], after[..., k], k == job.kernel)
                        for k in _shown_kernels(before, job.kernel)
                    ),
                    metrics={name: record[name] for name in _MEASURES},
                    status=record["status"],
                    trace=traces[lane],
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
