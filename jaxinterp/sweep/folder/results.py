"""The results of a run: which jobs are finished, their records and their arrays.

Memory does not grow with what is done beyond 30 bytes a job: a record is read again from its place
in the journal, an array from its chunk.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.sweep.folder.arrays import ArraySpec, JobArray
from jaxinterp.sweep.folder.journal import open_journal
from jaxinterp.sweep.folder.place import Place, storage_error
from jaxinterp.sweep.folder.writer import BackgroundWriter

__all__ = ["STATUSES", "PlannedJob", "Results"]

STATUSES = ("done", "silent", "failed")

FINISHED = "finished"
"""The key of a journal line that records do not have: when, in seconds of Unix time."""

_QUEUED = 8  # writes that may wait


class PlannedJob(Protocol):
    """A job as the store knows it: its place in the arrays and its content hash."""

    @property
    def index(self) -> int: ...
    @property
    def id(self) -> str: ...
    @property
    def layer(self) -> str: ...
    @property
    def kernel(self) -> int: ...


class _Finished(NamedTuple):
    """Jobs on their way to the disk."""

    indices: np.ndarray
    arrays: dict[str, np.ndarray]
    records: Sequence[Mapping[str, Any]]


class Results:
    """What a run folder holds of a plan; a context manager that ends with everything on disk.

    Attributes:
      done: bool [jobs]; finished: a whole journal line that fits the plan, and every chunk there.
      status: uint8 [jobs]; 0, or 1 + the index in `STATUSES`. Of jobs that are not `done`, too.
      finished: float64 [jobs]; when, in seconds of Unix time; 0 where unknown.
      arrays: what is stored of each job, by name.
      duplicates: how many journal lines were of jobs that another line is of. The latest counts.
    """

    def __init__(
        self,
        place: Place,
        plan: Sequence[PlannedJob],
        arrays: Mapping[str, ArraySpec],
        *,
        process: int = 0,
        create: bool = True,
    ) -> None:
        """Opens or makes the arrays and reads the journals.

        Raises:
          UserError: an array of another shape or type is there.
          OSError: the folder cannot be read.
        """
        jobs = len(plan)
        self._place, self._plan, self.arrays = place, plan, dict(arrays)
        self._arrays = {
            name: JobArray(place, name, jobs, spec, create=create) for name, spec in arrays.items()
        }
        self._journal = open_journal(place, process)
        self._writer = BackgroundWriter(self._commit, most=_QUEUED)
        self.done = np.zeros(jobs, bool)
        self.status = np.zeros(jobs, np.uint8)
        self.finished = np.zeros(jobs)
        self.duplicates = 0
        self._lock = threading.Lock()  # of all that the journals tell
        self._parts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._part = np.zeros(jobs, np.int32)
        self._offset = np.zeros(jobs, np.int64)
        self.refresh()

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception:
            if error is None:  # else the first error is the one to tell
                raise

    def __len__(self) -> int:
        return len(self._plan)

    def refresh(self) -> None:
        """Reads what other processes have finished since.

        Raises:
          OSError: the folder cannot be read.
        """
        with self._lock:
            self._read_journals()
            whole = (self.status > 0) & bool(self._arrays)  # no arrays: nothing was stored yet
            for array in self._arrays.values():
                whole &= array.present()
            self.done[:] = whole

    def _read_journals(self) -> None:
        jobs = len(self._plan)
        for part, offset, content in self._journal.new_lines():
            try:
                line = json.loads(content)
                index, status = line["index"], STATUSES.index(line["status"]) + 1
                # By index and id: two images with equal pixels give jobs with equal ids.
                if not (type(index) is int and 0 <= index < jobs):
                    continue
                if line["id"] != self._plan[index].id:
                    continue
                finished = float(line.get(FINISHED) or 0)
            except (ValueError, TypeError, KeyError):  # damaged: its job is done again
                continue
            self._note(index, status, finished, part, offset)

    def _note(self, index: int, status: int, finished: float, part: str, offset: int) -> None:
        """Keeps where a job's line is, unless a later one is known."""
        if self.status[index]:
            self.duplicates += 1
            if finished < self.finished[index]:
                return
        self.status[index], self.finished[index] = status, finished
        number = self._numbers.setdefault(part, len(self._parts))
        if number == len(self._parts):
            self._parts.append(part)
        self._part[index], self._offset[index] = number, offset

    def missing(self, jobs: range, process: int = 0, processes: int = 1) -> np.ndarray:
        """Those of some jobs that a process has still to do, in order.

        Args:
          jobs: such as a layer's, `plan.layers[layer]`.
          process, processes: job number i of them belongs to process i % processes.

        Returns:
          Indices, int64 [missing].
        """
        own = np.asarray(jobs[process::processes], np.int64)
        return own[~self.done[own]]

    def counts(self, jobs: range | None = None) -> dict[str, int]:
        """How many of some jobs, or of all, are done, silent and failed."""
        some = slice(None) if jobs is None else slice(jobs.start, jobs.stop, jobs.step)
        status = self.status[some][self.done[some]]
        numbers = np.bincount(status, minlength=len(STATUSES) + 1)
        return {name: int(numbers[n + 1]) for n, name in enumerate(STATUSES)}

    def write(
        self,
        indices: Sequence[int] | np.ndarray,
        arrays: Mapping[str, Any],
        records: Sequence[Mapping[str, Any]],
    ) -> None:
        """Queues finished jobs; a thread writes their chunks, then their lines in the journal.

        The arrays are copied. A bounded number of calls may wait: then this one waits, too.

        Args:
          indices: of the jobs, [n].
          arrays: of every array the values, [n, ...].
          records: of every job what its line holds: "index", "id", "status" and anything else.

        Raises:
          OSError: an earlier write failed, such as on a full disk.
          ValueError: arrays or records that do not fit.
        """
        indices = np.array(indices, np.int64)
        if arrays.keys() != self._arrays.keys():
            raise ValueError(f"the arrays are {sorted(self._arrays)}, got {sorted(arrays)}")
        encoded = {name: self._arrays[name].encode(values) for name, values in arrays.items()}
        lengths = {len(indices), len(records), *map(len, encoded.values())}
        if lengths != {len(indices)}:
            raise ValueError(f"indices, arrays and records have different lengths: {lengths}")
        for index, record in zip(indices, records, strict=True):
            if (record["index"], record["id"]) != (index, self._plan[index].id):
                raise ValueError(f"the record of job {index} is of another: {record}")
            if record["status"] not in STATUSES:
                raise ValueError(f"job {index} has the status {record['status']!r}")
        if len(indices):
            self._writer.put(_Finished(indices, encoded, [dict(record) for record in records]))

    def _commit(self, items: Sequence[_Finished]) -> None:
        try:
            writes = [
                self._arrays[name].write(item.indices, values)
                for item in items
                for name, values in item.arrays.items()
            ]
            for write in writes:
                write.result()
        except ValueError as error:
            raise storage_error(error, self._place.name) from None
        now = round(time.time(), 3)
        records = [record for item in items for record in item.records]
        lines = [
            (json.dumps({**record, FINISHED: now}, ensure_ascii=False) + "\n").encode(
                "utf-8", "replace"
            )
            for record in records
        ]
        with self._lock:
            part, offset = self._journal.append(b"".join(lines))
            for record, line in zip(records, lines, strict=True):
                status = STATUSES.index(record["status"]) + 1
                self._note(record["index"], status, now, part, offset)
                offset += len(line)
            for item in items:
                self.done[item.indices] = True

    def flush(self) -> None:
        """Waits until all that was written is on disk.

        Raises:
          OSError: a write failed, such as on a full disk.
        """
        self._writer.flush()

    def close(self) -> None:
        """As `flush`, and ends the thread."""
        try:
            self._writer.close()
        finally:
            self._journal.close()

    def record(self, index: int) -> dict[str, Any]:
        """The record of a finished job.

        Raises:
          KeyError: the job is not finished.
        """
        if not self.status[index]:
            raise KeyError(f"job {index} is not finished")
        line = self._journal.read(self._parts[self._part[index]], int(self._offset[index]))
        record = json.loads(line)
        record.pop(FINISHED, None)
        return record

    def records(self, jobs: Iterable[int] | None = None) -> Iterator[dict[str, Any]]:
        """Records of finished jobs one after the other, in the order of the plan.

        Args:
          jobs: only those of these that are finished; None stands for all.
        """
        for index in np.flatnonzero(self.done) if jobs is None else jobs:
            if self.done[index]:
                yield self.record(int(index))

    def read(self, name: str, index: int) -> np.ndarray:
        """A finished job's values of an array, float32.

        Raises:
          UserError: they are damaged. The chunk is removed, so that the job counts as missing.
        """
        return self.read_many(name, [index])[0]

    def read_many(self, name: str, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """As `read`, of several jobs, float32 [n, ...]."""
        indices = np.asarray(indices, np.int64)
        values, damaged = self._arrays[name].read(indices)
        if damaged.any():
            bad = indices[damaged]
            self.discard(bad)
            raise UserError(
                f"{name}.zarr in {self._place.name} is damaged at {_jobs(bad)}: what was damaged "
                "is removed, and running again does it again."
            )
        return values

    def read_whole(
        self, indices: Sequence[int] | np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """All arrays of finished jobs, where damage is no error and nothing is removed.

        Returns:
          (values by name, float32 [n, ...], jobs that are damaged in one of them, bool [n]).

        Raises:
          OSError: a chunk cannot be read.
        """
        indices = np.asarray(indices, np.int64)
        values, damaged = {}, np.zeros(len(indices), bool)
        for name, array in self._arrays.items():
            values[name], bad = array.read(indices)
            damaged |= bad
        return values, damaged

    def verify(self) -> np.ndarray:
        """Reads every chunk of every finished job, and discards the jobs that have a damaged one.

        Returns:
          Indices of those jobs, int64.

        Raises:
          OSError: a chunk cannot be read, or not be removed.
        """
        finished = np.flatnonzero(self.done)
        bad = np.zeros(len(finished), bool)
        for array in self._arrays.values():
            bad |= array.damaged(finished)
        self.discard(finished[bad])
        return finished[bad]

    def discard(self, indices: Iterable[int] | np.ndarray) -> None:
        """Removes the chunks of jobs, which are missing from then on."""
        indices = np.asarray(list(indices), np.int64)
        self.done[indices] = False
        for array in self._arrays.values():
            array.remove(int(index) for index in indices)


def _jobs(indices: np.ndarray) -> str:
    listed = ", ".join(map(str, indices[:4]))
    more = f" and {len(indices) - 4} more" if len(indices) > 4 else ""
    return f"job{'s' if len(indices) > 1 else ''} {listed}{more}"
