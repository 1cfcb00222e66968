"""`run`: config -> plan -> lanes -> store -> report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxinterp.data.images import NamedImage, load_images
from jaxinterp.methods.suppression import TRACE_TERMS, Suppression, Suppressor
from jaxinterp.sweep.config import RunConfig
from jaxinterp.sweep.manifest import check_image_size, choose_all_kernels, new_manifest, recorded
from jaxinterp.sweep.plan import Job, batches, make_plan, resolve_layers
from jaxinterp.sweep.store import RunFolder
from jaxinterp.sweep.summary import layer_table_rows, write_summary
from jaxinterp.weights.load import load

__all__ = ["Listener", "RunResult", "run"]


class Listener:
    """Hears how a run goes; the command shows it, a library user may ignore it."""

    def note(self, text: str) -> None:
        """A line worth reading, such as a file that was left out."""

    def planned(self, jobs: int, finished: int) -> None:
        """The number of jobs, and of those finished by an earlier run."""

    def batch(self, title: str) -> None:
        """A batch of jobs begins."""

    def advanced(self, jobs: float) -> None:
        """The current batch stands at so many of its jobs (a fraction counts steps)."""

    def finished(self, records: Sequence[dict[str, Any]]) -> None:
        """The current batch is done and stored."""

    def progress_of(self, jobs: int) -> Callable[[int, int], None]:
        """What a method calls with (done, planned) while it does so many jobs of a batch."""
        return lambda done, total: self.advanced(jobs * done / total)


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
      folder: the run folder.
      page: its `index.html`.
      jobs: how many jobs it has.
      done, silent, failed: how they ended.
      tables: for each layer, the rows of `summary.layer_table_rows`.
      seconds: from start to end of this call.
    """

    folder: Path
    page: Path
    jobs: int
    done: int
    silent: int
    failed: int
    tables: dict[str, list[tuple[str, ...]]]
    seconds: float


def run(config: RunConfig, *, listener: Listener | None = None) -> RunResult:
    """Runs what is missing of a run, and writes its report.

    Each job is stored as soon as its batch is finished: a run that is stopped loses at most one
    batch, and running it again does only what is missing. The batches are the same however often a
    run is stopped, so that its results are too.

    Raises:
      UserError: anything in the config that cannot be used.
    """
    listener = listener or Listener()
    started = time.perf_counter()
    config = dataclasses.replace(config, suppression=config.suppression.resolved())
    network = load(config.model.name, weights=config.model.weights, classes=config.model.classes)
    layers = resolve_layers(config, network)
    check_image_size(network, config.images.size)
    images, skipped = load_images(config.images)
    for file in skipped:
        listener.note(f"left out {file.path}: {file.reason}")
    images = [image.with_channels(network.preprocess.channels) for image in images]
    folder = RunFolder(config)
    manifest = recorded(folder, network, images)
    if manifest is None:
        kernels = choose_all_kernels(network, layers, config.layers, images, config.lanes)
        manifest = new_manifest(network, images, kernels)
        folder.write_manifest(manifest)
    kernels = manifest["kernels"]
    jobs = make_plan(config, network, images, kernels)
    suppressors = {
        layer.name: Suppressor(
            network,
            layer.name,
            config.suppression,
            # A layer with fewer jobs than lanes has no need of the others.
            lanes=min(config.lanes, len(kernels[layer.name]) * len(images)),
        )
        for layer in layers
    }
    pixels = np.stack([image.pixels for image in images])
    steps = suppressors[layers[0].name].steps
    arrays = folder.open_arrays(
        {
            "images": (len(jobs), *pixels.shape[1:]),
            "traces": (len(jobs), steps, len(TRACE_TERMS)),
        }
    )
    records = folder.finished(jobs, arrays)
    listener.planned(len(jobs), len(records))
    for batch in batches(jobs, config.lanes, key=lambda job: job.layer):
        missing = [job for job in batch if job.index not in records]
        if not missing:
            continue
        layer = batch[0].layer
        listener.batch(f"{layer}, {len(batch)} jobs")
        # The whole batch is done again even if only some of it is missing: with other neighbours
        # the arithmetic would round otherwise, and a resumed run would differ.
        result = suppressors[layer](
            pixels[[job.image for job in batch]],
            [job.kernel for job in batch],
            progress=listener.progress_of(len(missing)),
        )
        writes = []
        for job in missing:
            lane = job.index - batch[0].index
            writes.append(arrays["images"][job.index].write(result.images[lane]))
            writes.append(arrays["traces"][job.index].write(result.trace[lane]))
        folder.wait_for(writes)
        new = [_record(job, result, job.index - batch[0].index, images) for job in missing]
        folder.append(new)
        records |= {job.index: record for job, record in zip(missing, new, strict=True)}
        listener.finished(new)
    folder.compact(records)
    page = write_summary(
        config, folder, network, images, jobs, records, arrays, suppressors, len(skipped)
    )
    counts = [record["status"] for record in records.values()]
    return RunResult(
        folder=folder.path,
        page=page,
        jobs=len(jobs),
        done=counts.count("done"),
        silent=counts.count("silent"),
        failed=counts.count("failed"),
        tables={layer: list(layer_table_rows(records, layer)) for layer in kernels},
        seconds=time.perf_counter() - started,
    )


def _record(
    job: Job, result: Suppression, lane: int, images: Sequence[NamedImage]
) -> dict[str, Any]:
    """A finished job's line in the journal; measures that do not exist are null."""
    measures = {name: float(values[lane]) for name, values in result.measures.items()}
    return {
        "index": job.index,
        "id": job.id,
        "layer": job.layer,
        "kernel": job.kernel,
        "image": images[job.image].name,
        "status": result.status[lane],
        "similarity_is": result.similarity,
        **{name: None if np.isnan(value) else value for name, value in measures.items()},
    }
