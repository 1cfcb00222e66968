"""`run`: config -> plan -> lanes -> store -> report."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax

from jaxinterp.data.images import NamedImage, load_images
from jaxinterp.errors import UserError
from jaxinterp.methods.suppression import TRACE_TERMS
from jaxinterp.models.layer_table import Layer
from jaxinterp.models.network import Network
from jaxinterp.sweep.allocator import keep_freed_memory
from jaxinterp.sweep.checkpoints import LaneCheckpoints, remove_checkpoints
from jaxinterp.sweep.config import RunConfig
from jaxinterp.sweep.hosts import ONE_PROCESS, Hosts
from jaxinterp.sweep.layer_run import LayerRun, Stopped
from jaxinterp.sweep.manifest import check_image_size, choose_all_kernels, new_manifest, recorded
from jaxinterp.sweep.plan import Plan, make_plan, resolve_layers
from jaxinterp.sweep.store import ArraySpec, Results, RunFolder
from jaxinterp.sweep.summary import summarise, write_summary
from jaxinterp.weights.load import load

__all__ = ["Listener", "RunResult", "Stopped", "run"]


class Listener:
    """Hears how a run goes; the command shows it, a library user may ignore it."""

    def note(self, text: str) -> None:
        """A line worth reading, such as a file that was left out."""

    def planned(self, jobs: int, finished: int) -> None:
        """The number of jobs, and of those finished by an earlier run."""

    def batch(self, title: str) -> None:
        """A layer, or a batch of jobs, begins."""

    def advanced(self, jobs: float) -> None:
        """So many jobs' worth of work is under way and not finished yet."""

    def finished(self, records: Sequence[dict[str, Any]]) -> None:
        """Jobs are done and on their way to the store."""

    def progress_of(self, jobs: int) -> Callable[[int, int], None]:
        """What a method calls with (done, planned) while it does so many jobs of a batch."""
        return lambda done, total: self.advanced(jobs * done / total)


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
      folder: the run folder.
      page: its `index.html`; None while other processes have jobs left.
      jobs: how many jobs it has.
      done, silent, failed: how they ended.
      left: how many are left to other processes.
      tables: for each layer, the rows of its table.
      seconds: from start to end of this call.
      occupancy: share of the lanes' evaluations that advanced a job, in [0, 1]; NaN if there were
        none.
      rate: evaluations that advanced a job, a second, while lanes ran; NaN likewise.
      devices: how many of this process's devices shared the lanes.
    """

    folder: Path | str
    page: Path | str | None
    jobs: int
    done: int
    silent: int
    failed: int
    left: int
    tables: dict[str, list[tuple[str, ...]]]
    seconds: float
    occupancy: float
    rate: float
    devices: int


def run(
    config: RunConfig, *, listener: Listener | None = None, hosts: Hosts = ONE_PROCESS
) -> RunResult:
    """Runs what is missing of a run, and writes its report.

    Each job is stored as soon as it has ended; lanes that are under way are saved every so many
    segments, and when the process is asked to end (SIGTERM). Running again goes on from there.
    Several processes on one folder do a share each; the last one to finish writes the report.

    Raises:
      UserError: anything in the config that cannot be used.
      Stopped: the process was asked to end.
    """
    listener = listener or Listener()
    started = time.perf_counter()
    config = dataclasses.replace(config, suppression=config.suppression.resolved())
    devices = _devices(config)
    if devices[0].platform == "cpu":
        keep_freed_memory()
    network = load(config.model.name, weights=config.model.weights, classes=config.model.classes)
    layers = resolve_layers(config, network)
    check_image_size(network, config.images.size)
    images, skipped = load_images(config.images)
    for file in skipped:
        listener.note(f"left out {file.path}: {file.reason}")
    images = [image.with_channels(network.preprocess.channels) for image in images]
    with RunFolder(config, process=hosts.process, processes=hosts.processes) as folder:
        manifest = recorded(folder, network, images)
        if manifest is None:
            kernels = choose_all_kernels(network, layers, config.layers, images, _AT_ONCE)
            manifest = folder.write_manifest(new_manifest(network, images, kernels))
        plan = make_plan(config, network, images, manifest["kernels"])
        specs = {
            "images": ArraySpec(images[0].pixels.shape, config.store.images),
            "traces": ArraySpec((config.suppression.steps or 0, len(TRACE_TERMS))),
        }
        with folder.results(plan, specs) as results:
            work = _Work(config, network, layers, images, plan, results, hosts, devices)
            work.run(folder, listener)
            results.flush()
            while left := _left(results):
                if jax.process_count() == 1:
                    break
                # Connected processes end together: JAX aborts those that work on after the others.
                listener.batch("waiting for the other processes")
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            page, tables = None, {}
            if not left:
                listener.batch("report")
                if folder.place.path is not None and not folder.others:
                    remove_checkpoints(folder.place.path)
                summaries = summarise(results.records(), plan.layers)
                folder.compact(results)
                page = write_summary(
                    config, folder, network, images, plan, results, summaries, len(skipped)
                )
                tables = {layer: summary.rows for layer, summary in summaries.items()}
            return RunResult(
                folder=folder.locate(""),
                page=page,
                jobs=len(plan),
                **results.counts(),
                left=left,
                tables=tables,
                seconds=time.perf_counter() - started,
                occupancy=work.used / work.evaluations if work.evaluations else float("nan"),
                rate=work.used / work.seconds if work.evaluations else float("nan"),
                devices=len(devices),
            )


_SECONDS_BETWEEN_LOOKS = 5.0
_AT_ONCE = 32  # images whose activity is computed together


def _left(results: Results) -> int:
    """How many jobs no process has finished by now."""
    results.refresh()
    return int((~results.done).sum())


class _Work:
    """A process's share of a run, layer by layer; the next layer is compiled meanwhile."""

    def __init__(
        self,
        config: RunConfig,
        network: Network,
        layers: Sequence[Layer],
        images: Sequence[NamedImage],
        plan: Plan,
        results: Results,
        hosts: Hosts,
        devices: Sequence[Any],
    ) -> None:
        self._config, self._plan, self._results, self._hosts = config, plan, results, hosts
        self._runs = [
            LayerRun(config, network, layer, images, plan, jobs, devices)
            for layer in layers
            if len(jobs := results.missing(plan.layers[layer.name], *self._share))
        ]
        self.used = self.evaluations = 0
        self.seconds = 0.0

    @property
    def _share(self) -> tuple[int, int]:
        return self._hosts.process, self._hosts.processes

    def run(self, folder: RunFolder, listener: Listener) -> None:
        process, processes = self._share
        total = sum(len(jobs[process::processes]) for jobs in self._plan.layers.values())
        missing = sum(len(one.jobs) for one in self._runs)
        listener.planned(total, total - missing)
        place = folder.place.path
        if self._config.store.checkpoint and (place is None or jax.process_count() > 1):
            # Orbax writes the arrays of all connected processes together, or not at all.
            why = "a folder on a disk" if place is None else "processes that are not connected"
            listener.note(f"The lanes' state is not saved: checkpoints need {why}.")
            place = None
        with (
            LaneCheckpoints(place, self._hosts.process) as checkpoints,
            _terminations() as asked_to_stop,
            _compiler() as compiler,
        ):
            ahead = [compiler.submit(_compile, one) for one in self._runs[:1]]
            for number, one in enumerate(self._runs):
                listener.batch(f"{one.layer.name}, {len(one.jobs)} jobs")
                ahead.pop().result()
                ahead += [compiler.submit(_compile, n) for n in self._runs[number + 1 : number + 2]]
                started = time.perf_counter()
                one.run(
                    self._results,
                    checkpoints,
                    note=listener.note,
                    finished=listener.finished,
                    advanced=listener.advanced,
                    asked_to_stop=asked_to_stop,
                )
                self.seconds += time.perf_counter() - started
                counts = one.stream.counts
                self.used += counts.used
                self.evaluations += counts.evaluations
                one.release()
            self._results.flush()
            checkpoints.clear()


@contextlib.contextmanager
def _compiler() -> Iterator[ThreadPoolExecutor]:
    """A thread to compile in. When an error ends the run, nobody waits for it."""
    compiler = ThreadPoolExecutor(1, thread_name_prefix="compile")
    try:
        yield compiler
    except BaseException:
        compiler.shutdown(wait=False, cancel_futures=True)
        raise
    compiler.shutdown()


def _compile(one: LayerRun) -> None:
    with contextlib.suppress(jax.errors.JaxRuntimeError, MemoryError):
        # Out of memory: `LayerRun.run` meets it again, and deals with it.
        one.stream.compile()


def _devices(config: RunConfig) -> list[Any]:
    """This process's devices that share the lanes."""
    local = jax.local_devices()
    if config.devices is not None and config.devices > len(local):
        raise UserError(
            f"{config.devices} devices are asked for, and this process has {len(local)} "
            f"({local[0].platform})."
        )
    return local[: config.devices]


@contextlib.contextmanager
def _terminations() -> Iterator[Callable[[], bool]]:
    """A function that tells whether SIGTERM came; machines that may be pre-empted send it."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: asked.set())
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
