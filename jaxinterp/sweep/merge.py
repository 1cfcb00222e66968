"""Parts of one run, made on machines without a common disk, as one run folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxinterp.config import to_dict
from jaxinterp.errors import UserError
from jaxinterp.sweep.folder.place import find_place
from jaxinterp.sweep.recorded_run import RecordedRun, open_recorded
from jaxinterp.sweep.store import RunFolder, config_differences

__all__ = ["Merged", "merge_runs"]

_BLOCK_BYTES = 16 * 2**20

_SAME = {
    "model": "the network",
    "weights_sha256": "the weights",
    "images": "the images",
    "kernels": "the kernels",
    "pairs": "the pairs",
}
"""What the manifests must agree in."""


@dataclasses.dataclass(frozen=True)
class Merged:
    """What a merge made.

    Attributes:
      output: the new run folder.
      jobs: how many jobs the run has.
      taken: how many came from each part.
      duplicates: how many a part had that an earlier part had, too; the earlier one's are taken.
      damaged: how many were left out since a chunk of theirs was damaged.
    """

    output: str
    jobs: int
    taken: dict[str, int]
    duplicates: int
    damaged: int

    @property
    def missing(self) -> int:
        """How many jobs no part had whole."""
        return self.jobs - sum(self.taken.values())


def merge_runs(
    parts: Sequence[str],
    output: str,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Merged:
    """Copies the finished jobs of several folders of one run into a new one.

    The parts stay as they are. The new folder has the first one's config and manifest; the same
    `jaxinterp run`, with its `output`, does what is missing and writes the report.

    Args:
      parts: run folders with the same config, network, weights, images and kernels.
      output: the new folder; it must be empty or not be there.
      progress: called with (jobs looked at, jobs finished in all parts).

    Raises:
      UserError: fewer than two parts, parts that differ (the sentence says in what), or an `output`
        that holds something.
      OSError: a part cannot be read, or `output` not be written.
    """
    if len(parts) < 2:
        raise UserError("Merging takes two run folders or more, and then the new one.")
    place = find_place(output)
    if place.names():
        raise UserError(f"{place.name} exists already: a merge makes a new run folder.")
    with contextlib.ExitStack() as stack:
        runs = [stack.enter_context(open_recorded(part)) for part in parts]
        for other in runs[1:]:
            _check_alike(runs[0], other)
        first = runs[0]
        config = dataclasses.replace(first.config, output=output)
        folder = stack.enter_context(RunFolder(config))
        folder.write_manifest(first.manifest | {"merged": [run.folder.name for run in runs]})
        specs = first.results.arrays
        results = stack.enter_context(folder.results(first.plan, specs))
        total, looked = sum(int(run.results.done.sum()) for run in runs), 0
        job_bytes = 4 * sum(int(np.prod(spec.shape)) for spec in specs.values())
        rows = max(1, _BLOCK_BYTES // max(1, job_bytes))
        taken, duplicates, damaged = {}, 0, 0
        have = np.zeros(len(first.plan), bool)
        for run in runs:
            own = np.flatnonzero(run.results.done & ~have)
            duplicates += int((run.results.done & have).sum())
            looked += int((run.results.done & have).sum())
            bad = 0
            for start in range(0, len(own), rows):
                block = own[start : start + rows]
                arrays, broken = run.results.read_whole(block)
                good = block[~broken]
                results.write(
                    good,
                    {name: values[~broken] for name, values in arrays.items()},
                    list(run.results.records(good)),
                )
                have[good] = True
                bad += int(broken.sum())
                looked += len(block)
                progress(looked, total)
            damaged += bad
            taken[run.folder.name] = len(own) - bad
        results.flush()
    return Merged(place.name, len(have), taken, duplicates, damaged)


def _check_alike(first: RecordedRun, other: RecordedRun) -> None:
    """Refuses parts of different runs."""
    names = f"{first.folder.name} and {other.folder.name}"
    if first.config.method != other.config.method:
        raise UserError(
            f"{names} are runs of different methods ({first.config.method!r} and "
            f"{other.config.method!r}): they cannot be merged."
        )
    differences = config_differences(to_dict(first.config), to_dict(other.config))
    if differences:
        raise UserError(
            f"{names} have different configs ({'; '.join(differences)}, 'there' being "
            f"{first.folder.name}): they cannot be merged."
        )
    for key, name in _SAME.items():
        if not _equal(first.manifest.get(key), other.manifest.get(key)):
            raise UserError(f"{names} differ in {name}: they cannot be merged.")
    if first.results.arrays != other.results.arrays:
        raise UserError(f"{names} differ in what they store: they cannot be merged.")


def _equal(first: Any, other: Any) -> bool:
    """Order counts, in mappings too: it decides which job is which."""
    if isinstance(first, Mapping) and isinstance(other, Mapping):
        return list(first.items()) == list(other.items())
    return first == other
