"""A stream of jobs through a fixed number of lanes.

All lanes advance in segments. Between two segments the lanes whose jobs have ended are read out and
the next jobs put in their places, so that no lane waits for the slowest (continuous batching, as in
language-model servers). Everything that touches the device is compiled once: the segment, the
refill (one donated scatter with padded indices) and the read-out. With several devices each holds
an equal share of the lanes; no operation crosses from one to another.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np
from jax import Array

from jaxinterp.optimize.lane_table import LaneTable
from jaxinterp.optimize.lanes import LaneState, LaneStatus
from jaxinterp.optimize.minimise import segment_length
from jaxinterp.optimize.programs import Programs, compile_programs
from jaxinterp.optimize.task import Task

__all__ = ["Ended", "Snapshot", "Stream", "StreamCounts"]

PyTree = Any
Key = TypeVar("Key", bound=Hashable)

_MOST_MOVED = 8  # jobs that one call puts in or reads out on each device


@dataclasses.dataclass(frozen=True)
class Ended(Generic[Key]):
    """Jobs that have ended together.

    Attributes:
      keys: which.
      results: what the task's `end` made of them, NumPy, every leaf [k, ...].
      status: a `LaneStatus` for each, int32 [k].
      trace: for "loss" and each term, float32 [k, steps]: the values where each step began; NaN
        after the last one.
    """

    keys: list[Key]
    results: PyTree
    status: np.ndarray
    trace: dict[str, np.ndarray]


@dataclasses.dataclass
class StreamCounts:
    """What the lanes did so far; grows while the stream runs.

    Attributes:
      segments: how many were run.
      evaluations: lane evaluations that were computed: lanes x steps.
      used: those of them that advanced a job.
    """

    segments: int = 0
    evaluations: int = 0
    used: int = 0

    @property
    def occupancy(self) -> float:
        """Share of the evaluations that advanced a job, in [0, 1]; NaN before the first."""
        return self.used / self.evaluations if self.evaluations else float("nan")


class Snapshot(NamedTuple):
    """All that a stream needs to go on elsewhere; NumPy.

    Attributes:
      keys: of the job in each lane, None in an idle one.
      state: the lanes.
      trace: for each term, float32 [lanes, steps], as far as it goes.
    """

    keys: list[Any]
    state: LaneState
    trace: dict[str, np.ndarray]


class Stream(Generic[Key]):
    """Runs jobs of one kind: one task, one shape of job, a fixed number of lanes."""

    def __init__(
        self,
        task: Task,
        shared: PyTree,
        example: PyTree,
        *,
        width: int,
        segment: int = 25,
        devices: Sequence[Any] | None = None,
    ) -> None:
        """Prepares a stream; nothing is compiled yet.

        Args:
          task: what is done.
          shared: what all lanes share, such as prepared weights.
          example: one job: a pytree of arrays or `ShapeDtypeStruct`s, without a leading axis.
          width: how many lanes; rounded up to a multiple of the devices.
          segment: at most so many steps between two looks at which lanes have ended.
          devices: those of this process that share the lanes; None takes the first one.
        """
        if width < 1:
            raise ValueError(f"a stream needs at least one lane, got {width}")
        self.task = task
        self.devices = list(devices or jax.local_devices()[:1])
        self.width = -(-width // len(self.devices)) * len(self.devices)
        self.length = segment_length(task.lanes.steps, segment)
        self.counts = StreamCounts()
        self.under_way = 0.0  # jobs' worth of work in lanes that are still at it
        self._shared = shared
        self._own = self.width // len(self.devices)
        self._moved = min(self._own, _MOST_MOVED)
        self._example = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), example
        )
        self._lock = threading.Lock()
        self._programs: Programs | None = None

    @property
    def bytes_needed(self) -> int:
        """Memory that a segment takes on each device, in bytes, as XLA plans it; compiles."""
        return self._compiled().bytes_needed

    @property
    def state(self) -> LaneState:
        """The shapes and dtypes of the lanes' state, as `ShapeDtypeStruct`s; compiles."""
        return jax.eval_shape(self._compiled().idle)

    def compile(self) -> None:
        """Compiles all that the stream runs; may be called on another thread, ahead of `run`."""
        self._compiled()

    def run(
        self,
        keys: Iterable[Key],
        job_of: Callable[[Key], PyTree],
        *,
        resume: Snapshot | None = None,
        after_segment: Callable[[Callable[[], Snapshot]], None] | None = None,
    ) -> Iterator[list[Ended[Key]]]:
        """Runs all jobs.

        Args:
          keys: of the jobs, drawn as lanes fall idle.
          job_of: the job of a key: a pytree of arrays, as the example.
          resume: lanes of an earlier stream of the same task, whose jobs go on where they stood;
            `keys` must not hold them. The earlier stream may have had more lanes or fewer.
          after_segment: called after each segment with a function that takes a snapshot, while the
            device waits. What ended in the segment is still in it. What `after_segment` raises ends
            the run.

        Yields:
          After each segment was handed to the device, what had ended in the one before: an empty
          list where nothing had.
        """
        programs = self._compiled()
        table = LaneTable(self.width, self.task.lanes.steps, programs.terms)
        state, status = programs.idle(), np.full(self.width, LaneStatus.SPENT)
        source = iter(keys)
        if resume is not None:
            state, status, late = self._resume(state, table, resume, job_of)
            source = itertools.chain(late, source)
        while True:
            ended = [lane for lane in table.occupied() if status[lane] != LaneStatus.RUNNING]
            waiting = [self._read(programs, state, part, table) for part in self._parts(ended)]
            table.free(ended)
            filled = self._draw(table, source, job_of)
            for part in self._parts(filled):
                slots, jobs = self._gathered(part, table)
                state = programs.refill(programs.shared, state, slots, jobs)
            self.under_way = table.under_way()
            if filled:
                status = np.array(state.status)
                if (status[filled] != LaneStatus.RUNNING).any():  # jobs that need no step
                    yield [self._fetch(*one) for one in waiting]
                    continue
            if not table.occupied():
                yield [self._fetch(*one) for one in waiting]
                return
            state, trace = programs.advance(programs.shared, state)
            yield [self._fetch(*one) for one in waiting]
            status = np.array(state.status)  # waits for the segment
            self.counts.used += table.keep(trace)
            self.counts.segments += 1
            self.counts.evaluations += self.width * self.length
            if after_segment is not None:
                after_segment(functools.partial(_snapshot, table, state))

    def _draw(
        self, table: LaneTable, source: Iterator[Key], job_of: Callable[[Key], PyTree]
    ) -> list[int]:
        """Gives the next jobs to idle lanes; returns the lanes."""
        idle = table.idle()
        new = list(itertools.islice(source, len(idle)))
        filled = self._spread(idle, len(new))
        table.occupy(filled, new, map(job_of, new))
        return filled

    def _spread(self, idle: Sequence[int], wanted: int) -> list[int]:
        """So many of the idle lanes, from all devices in turn."""
        by_place = sorted(idle, key=lambda lane: (lane % self._own, lane // self._own))
        return sorted(by_place[:wanted])

    def _parts(self, lanes: Sequence[int]) -> list[list[list[int]]]:
        """Lanes as calls, each with at most so many on each device: [call][device][lane]."""
        by_device: list[list[int]] = [[] for _ in self.devices]
        for lane in lanes:
            by_device[lane // self._own].append(lane)
        calls = -(-max(map(len, by_device)) // self._moved)
        return [
            [own[call * self._moved : (call + 1) * self._moved] for own in by_device]
            for call in range(calls)
        ]

    def _gathered(self, part: list[list[int]], table: LaneTable) -> tuple[np.ndarray, PyTree]:
        """Places within each device, and jobs, padded: int32 [devices x moved], [..., ...]."""
        some = next(own[0] for own in part if own)
        slots, jobs = [], []
        for own in part:
            missing = self._moved - len(own)
            # A place past the end is dropped by the scatter.
            slots += [lane % self._own for lane in own] + [self._own] * missing
            jobs += [table.jobs[lane] for lane in own] + [table.jobs[some]] * missing
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *jobs)
        return np.array(slots, np.int32), stacked

    def _read(
        self, programs: Programs, state: LaneState, part: list[list[int]], table: LaneTable
    ) -> tuple[PyTree, Array, np.ndarray, list[Key], dict[str, np.ndarray]]:
        """Starts reading out ended lanes; `_fetch` takes what it returns."""
        slots, jobs = self._gathered(part, table)
        results, status = programs.read(programs.shared, state, slots, jobs)
        for leaf in jax.tree.leaves((results, status)):
            leaf.copy_to_host_async()
        lanes = [lane for own in part for lane in own]
        trace = {name: values[lanes] for name, values in table.trace.items()}
        return results, status, slots < self._own, [table.keys[lane] for lane in lanes], trace

    def _fetch(
        self,
        results: PyTree,
        status: Array,
        real: np.ndarray,
        keys: list[Key],
        trace: dict[str, np.ndarray],
    ) -> Ended[Key]:
        own = jax.tree.map(lambda leaf: np.asarray(leaf)[real], results)
        return Ended(keys, own, np.asarray(status)[real], trace)

    def _resume(
        self,
        idle: LaneState,
        table: LaneTable,
        snapshot: Snapshot,
        job_of: Callable[[Key], PyTree],
    ) -> tuple[LaneState, np.ndarray, list[Key]]:
        """The state with a snapshot's jobs in it, its status, and keys that had no room."""
        held = [lane for lane, key in enumerate(snapshot.keys) if key is not None]
        late = [snapshot.keys[lane] for lane in held[self.width :]]
        held = held[: self.width]
        places = self._spread(range(self.width), len(held))

        def put(empty: Array, saved: np.ndarray) -> Array:
            full = np.array(empty)
            full[places] = np.asarray(saved)[held]
            return jax.device_put(full, empty.sharding)

        keys = [snapshot.keys[lane] for lane in held]
        state = jax.tree.map(put, idle, snapshot.state)
        table.occupy(places, keys, map(job_of, keys))
        # A running lane was evaluated before each of its moves.
        table.begun[places] = np.asarray(snapshot.state.step)[held]
        for name, values in snapshot.trace.items():
            table.trace[name][places] = np.asarray(values)[held]
        return state, np.array(state.status), late

    def _compiled(self) -> Programs:
        with self._lock:
            if self._programs is None:
                self._programs = compile_programs(
                    self.task,
                    self._shared,
                    self._example,
                    devices=self.devices,
                    width=self.width,
                    moved=self._moved,
                    length=self.length,
                )
                self._shared = self._programs.shared
            return self._programs


def _snapshot(table: LaneTable, state: LaneState) -> Snapshot:
    trace = {name: values.copy() for name, values in table.trace.items()}
    return Snapshot(list(table.keys), jax.tree.map(np.array, state), trace)
