"""A run of which only its folder is at hand: no network and no images are loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from jaxinterp.config import build
from jaxinterp.errors import UserError
from jaxinterp.sweep.comparison import plan as comparison_plan
from jaxinterp.sweep.comparison.config import ComparisonConfig
from jaxinterp.sweep.comparison.pairs import KernelPair
from jaxinterp.sweep.config import RunConfig
from jaxinterp.sweep.folder.results import PlannedJob, Results
from jaxinterp.sweep.plan import plan_of
from jaxinterp.sweep.store import RunFolder

__all__ = ["RecordedRun", "open_recorded"]


@dataclasses.dataclass(frozen=True)
class RecordedRun:
    """A run folder, open to be read; a context manager.

    Attributes:
      folder: the folder.
      config: as it was resolved.
      manifest: as it was recorded.
      plan: its jobs.
      layers: the indices of each layer's jobs.
      results: what it holds.
    """

    folder: RunFolder
    config: RunConfig | ComparisonConfig
    manifest: dict[str, Any]
    plan: Sequence[PlannedJob]
    layers: dict[str, range]
    results: Results

    def __enter__(self) -> RecordedRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.results.close()


def open_recorded(address: str) -> RecordedRun:
    """Opens a run folder to be read, whether or not processes are at work on it.

    Raises:
      UserError: there is none, it is of another version or without jobs (a dissection), or what it
        records is damaged.
    """
    folder = RunFolder.existing(address)
    manifest, content = folder.manifest or {}, folder.config_content
    if content.get("method") == "dissection":
        raise UserError(
            f"{folder.name} holds a dissection, which has no jobs: its results are units.parquet "
            "and index.html."
        )
    digests = list(manifest["images"].values())
    identity = (manifest.get("model", ""), manifest["weights_sha256"], manifest["kernels"], digests)
    plan: Sequence[PlannedJob]
    try:
        if content.get("method") == "comparison":
            config = build(ComparisonConfig, content)
            pairs = [KernelPair(**pair) for pair in manifest.get("pairs", [])]
            plan = comparison_plan.plan_of(config, *identity, pairs)
            layers = _layer_ranges(plan)
        else:
            config = build(RunConfig, content)
            plan = plan_of(config, *identity)
            layers = plan.layers
    except UserError as error:
        raise UserError(
            f"config.toml in {folder.name} does not fit this version of jaxinterp: {error}"
        ) from None
    try:
        results = folder.results(plan, folder.arrays, create=False)
    except OSError as error:
        said = error.strerror or error
        raise UserError(f"The run folder {folder.name} cannot be read: {said}.") from None
    return RecordedRun(folder, config, manifest, plan, layers, results)


def _layer_ranges(jobs: Sequence[PlannedJob]) -> dict[str, range]:
    """The jobs of a layer follow each other."""
    starts: dict[str, int] = {}
    for job in jobs:
        starts.setdefault(job.layer, job.index)
    stops = [*list(starts.values())[1:], len(jobs)]
    return {
        layer: range(start, stop)
        for (layer, start), stop in zip(starts.items(), stops, strict=True)
    }
