"""How a run stands, from its folder alone."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.sweep.folder.locks import LiveProcess
from jaxinterp.sweep.recorded_run import open_recorded

__all__ = ["LayerStatus", "RunStatus", "run_status"]

_WINDOW = 600.0
"""The rate is that of the last so many seconds before the last job."""


@dataclasses.dataclass(frozen=True)
class LayerStatus:
    """Jobs of a layer.

    Attributes:
      layer: its name.
      jobs: how many are planned.
      done, silent, failed: how many ended so.
    """

    layer: str
    jobs: int
    done: int
    silent: int
    failed: int

    @property
    def missing(self) -> int:
        """How many have not ended, or not been stored whole."""
        return self.jobs - self.done - self.silent - self.failed


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """How a run stands.

    Attributes:
      name: the folder.
      title, method, model, created: as recorded.
      layers: one each.
      processes: those at work on it now; none is known of an object store.
      rate: jobs a minute lately, by the journal's times; None if fewer than two times are known.
      last: when the last job was finished, seconds of Unix time; None before the first.
      bytes: what the folder takes on the disk; None where that is not known.
      duplicates: how many jobs were finished more than once.
      damaged: how many jobs were found damaged, and are missing now; None if not looked for.
    """

    name: str
    title: str
    method: str
    model: str
    created: str
    layers: tuple[LayerStatus, ...]
    processes: tuple[LiveProcess, ...]
    rate: float | None
    last: float | None
    bytes: int | None
    duplicates: int
    damaged: int | None

    @property
    def total(self) -> LayerStatus:
        """All layers together."""
        numbers = [(row.jobs, row.done, row.silent, row.failed) for row in self.layers]
        return LayerStatus("all", *map(sum, zip(*numbers, strict=True)))


def run_status(address: str, *, verify: bool = False) -> RunStatus:
    """How a run stands.

    Args:
      address: the run folder.
      verify: read every chunk, and remove those whose checksum is wrong, so that running again does
        their jobs again.

    Raises:
      UserError: it is no run folder that can be read.
    """
    with open_recorded(address) as run:
        damaged = None
        if verify:
            try:
                damaged = len(run.results.verify())
            except OSError as error:
                raise UserError(f"{run.folder.name} cannot be verified: {error}.") from None
        layers = [
            LayerStatus(layer, len(jobs), **run.results.counts(jobs))
            for layer, jobs in run.layers.items()
        ]
        times = np.sort(run.results.finished[run.results.done])
        times = times[times > 0]
        path = run.folder.place.path
        return RunStatus(
            name=run.folder.name,
            title=run.config.title,
            method=run.config.method,
            model=str(run.manifest.get("model", "")),
            created=str(run.manifest.get("created", "")),
            layers=tuple(layers),
            processes=tuple(run.folder.others),
            rate=_rate(times),
            last=float(times[-1]) if len(times) else None,
            bytes=None if path is None else _bytes_on_disk(path),
            duplicates=run.results.duplicates,
            damaged=damaged,
        )


def _rate(times: np.ndarray) -> float | None:
    """Jobs a minute over the window before the last one; the first ones only begin it."""
    if not len(times):
        return None
    window = times[times >= times[-1] - _WINDOW]
    seconds = window[-1] - window[0]
    return 60 * float((window > window[0]).sum() / seconds) if seconds > 0 else None


def _bytes_on_disk(folder: Path) -> int:
    """What its files take, counted in blocks; files that vanish meanwhile are passed over."""
    total, folders = 0, [os.fspath(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total
