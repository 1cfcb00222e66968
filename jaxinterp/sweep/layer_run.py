"""One layer's jobs: through the lanes, into the store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxinterp.data.images import NamedImage
from jaxinterp.methods.suppression import Suppressor
from jaxinterp.methods.suppression_result import Suppression, suppression_of
from jaxinterp.models.layer_table import Layer
from jaxinterp.models.network import Network
from jaxinterp.optimize import Ended, Snapshot, Stream
from jaxinterp.sweep.checkpoints import LaneCheckpoints
from jaxinterp.sweep.config import RunConfig
from jaxinterp.sweep.folder.results import Results
from jaxinterp.sweep.lane_count import fitted, is_out_of_memory, usual_lanes
from jaxinterp.sweep.plan import Job, Plan

__all__ = ["LayerRun", "Stopped"]


class Stopped(Exception):
    """The process was asked to end; what its lanes held is saved."""


class LayerRun:
    """The jobs of a layer that one process has to do."""

    def __init__(
        self,
        config: RunConfig,
        network: Network,
        layer: Layer,
        images: Sequence[NamedImage],
        plan: Plan,
        jobs: np.ndarray,
        devices: Sequence[Any],
    ) -> None:
        """Prepares a layer; nothing is compiled yet.

        Args:
          config: the run's.
          network: whose kernels are interpreted.
          layer: which.
          images: the run's.
          plan: the run's.
          jobs: the indices of those to do, int64 [jobs].
          devices: those of this process that share the lanes.
        """
        self.layer, self.jobs = layer, jobs
        self._config, self._network, self._devices = config, network, devices
        self._images, self._plan = images, plan
        self._stream: Stream[int] | None = None
        self._lock = threading.Lock()
        self._similarity = ""

    @property
    def stream(self) -> Stream[int]:
        """The layer's stream, compiled; with as many lanes as the memory allows."""
        with self._lock:
            if self._stream is None:
                wanted = usual_lanes(self._config.lanes, len(self.jobs), self._devices)
                self._stream = fitted(self._make, wanted, self._devices)
                self._stream.compile()
            return self._stream

    def release(self) -> None:
        """Lets the compiled programs and prepared weights go."""
        with self._lock:
            self._stream = None

    def _make(self, lanes: int) -> Stream[int]:
        suppressor = Suppressor(
            self._network,
            self.layer.name,
            self._config.suppression,
            lanes=lanes,
            compute=self._config.compute,
            devices=self._devices,
        )
        size = self._images[0].pixels.shape[:2]
        self._similarity = suppressor.similarity(size)
        return suppressor.stream(size)

    def run(
        self,
        results: Results,
        checkpoints: LaneCheckpoints,
        *,
        note: Callable[[str], None],
        finished: Callable[[list[dict[str, Any]]], None],
        advanced: Callable[[float], None],
        asked_to_stop: Callable[[], bool],
    ) -> None:
        """Does the jobs, and stores each as it ends.

        A device that runs out of memory is tried once more with half the lanes.

        Args:
          results: where they go.
          checkpoints: where the lanes' state goes; a layer that was under way goes on from there.
          note: is told what is worth reading.
          finished: is given the records of jobs as they are handed to the store.
          advanced: is told how many jobs' worth of work is in the lanes.
          asked_to_stop: looked at after every segment.

        Raises:
          Stopped: the process was asked to stop; its lanes are saved.
          OSError: the store cannot be written.
        """
        failed = False
        usual = usual_lanes(self._config.lanes, len(self.jobs), self._devices)
        try:
            stream = self.stream
            if stream.width < usual:
                note(f"{self.layer.name}: {stream.width} lanes, for which there is memory.")
            self._run(results, checkpoints, finished, advanced, asked_to_stop)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        # Here, not in the handler: its traceback would keep the lanes' memory.
        if failed:
            stream, self._stream = self._stream, None
            lanes = stream.width if stream else usual
            if lanes <= len(self._devices):
                raise MemoryError(f"{self.layer.name} does not fit the memory with one lane")
            note(
                f"{self.layer.name}: out of memory with {lanes} lanes; going on with {lanes // 2}."
            )
            del stream
            self._stream = self._make(lanes // 2)
            results.flush()
            self.jobs = self.jobs[~results.done[self.jobs]]
            self._run(results, checkpoints, finished, advanced, asked_to_stop)

    def _run(
        self,
        results: Results,
        checkpoints: LaneCheckpoints,
        finished: Callable[[list[dict[str, Any]]], None],
        advanced: Callable[[float], None],
        asked_to_stop: Callable[[], bool],
    ) -> None:
        stream, every = self.stream, self._config.store.checkpoint
        snapshot = self._own_part(checkpoints.restore(self.layer.name, stream.state))
        held = set() if snapshot is None else {key for key in snapshot.keys if key is not None}
        begun = stream.counts.segments

        def after_segment(take: Callable[[], Snapshot]) -> None:
            stop = asked_to_stop()
            done = stream.counts.segments - begun
            if stop or (every and done % every == 0):
                checkpoints.save(self.layer.name, take(), wait=stop)
            if stop:
                raise Stopped

        keys = (int(index) for index in self.jobs if index not in held)
        for events in stream.run(keys, self._job, resume=snapshot, after_segment=after_segment):
            for ended in events:
                records = self._store(results, ended)
                finished(records)
            advanced(stream.under_way)

    def _own_part(self, snapshot: Snapshot | None) -> Snapshot | None:
        """What of a snapshot is still to be done here; None if nothing is."""
        if snapshot is None:
            return None
        wanted = set(self.jobs.tolist())
        keys = [key if key in wanted else None for key in snapshot.keys]
        return snapshot._replace(keys=keys) if any(key is not None for key in keys) else None

    def _job(self, index: int) -> Mapping[str, Any]:
        job = self._plan[index]
        return {"image": self._images[job.image].pixels, "kernel": np.int32(job.kernel)}

    def _store(self, results: Results, ended: Ended[int]) -> list[dict[str, Any]]:
        found = suppression_of([ended], self._similarity)
        records = [
            _record(self._plan[index], found, place, self._images)
            for place, index in enumerate(ended.keys)
        ]
        results.write(ended.keys, {"images": found.images, "traces": found.trace}, records)
        return records


def _record(
    job: Job, result: Suppression, place: int, images: Sequence[NamedImage]
) -> dict[str, Any]:
    """A finished job's line in the journal; measures that do not exist are null."""
    measures = {name: float(values[place]) for name, values in result.measures.items()}
    return {
        "index": job.index,
        "id": job.id,
        "layer": job.layer,
        "kernel": job.kernel,
        "image": images[job.image].name,
        "status": result.status[place],
        "similarity_is": result.similarity,
        **{name: None if np.isnan(value) else value for name, value in measures.items()},
    }
