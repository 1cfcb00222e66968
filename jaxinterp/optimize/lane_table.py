"""What the host knows of each lane: its job, and the trace so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["LaneTable"]

PyTree = Any


class LaneTable:
    """What the host knows of each lane."""

    def __init__(self, width: int, steps: int, terms: Iterable[str]) -> None:
        self.keys: list[Any] = [None] * width
        self.jobs: list[PyTree] = [None] * width
        self.begun = np.zeros(width, np.int64)  # evaluations made of the lane's job
        self.trace = {name: np.full((width, steps), np.nan, np.float32) for name in terms}
        self._steps = steps

    def occupied(self) -> list[int]:
        return [lane for lane, key in enumerate(self.keys) if key is not None]

    def idle(self) -> list[int]:
        return [lane for lane, key in enumerate(self.keys) if key is None]

    def free(self, lanes: Sequence[int]) -> None:
        for lane in lanes:
            self.keys[lane] = self.jobs[lane] = None

    def occupy(self, lanes: Sequence[int], keys: Sequence[Any], jobs: Iterable[PyTree]) -> None:
        for lane, key, job in zip(lanes, keys, jobs, strict=True):
            self.keys[lane], self.jobs[lane] = key, job
        self.begun[lanes] = 0
        for values in self.trace.values():
            values[lanes] = np.nan

    def under_way(self) -> float:
        """Jobs' worth of work done in lanes that are still at it."""
        done = self.begun[self.occupied()] / (self._steps + 1)
        return float(np.minimum(done, 1).sum())

    def keep(self, trace: Mapping[str, Any]) -> int:
        """Appends a segment's trace to each lane's; returns how many evaluations advanced a job.

        Args:
          trace: for each term, [length, lanes], or a list of `length` arrays [lanes].
        """
        lanes = self.occupied()
        used = 0
        for name, values in trace.items():
            own = isinstance(values, list)
            segment = np.stack([np.asarray(v) for v in values]) if own else np.asarray(values)
            if name == "loss":
                used = int(np.isfinite(segment[:, lanes]).sum())
            for lane in lanes:
                # A lane's last evaluation, after its last step, has no place in its trace.
                part = segment[: max(self._steps - self.begun[lane], 0), lane]
                self.trace[name][lane, self.begun[lane] :][: len(part)] = part
        self.begun[lanes] += len(trace["loss"])
        return used
