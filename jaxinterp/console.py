"""What the commands show in a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from jaxinterp.sweep.run import Listener, RunResult

if TYPE_CHECKING:
    from jaxinterp.train.evaluate import Evaluation

__all__ = ["RunConsole", "print_evaluation", "print_layers", "print_models"]


class RunConsole(Listener):
    """Shows a run: a bar with rate and time left, or plain lines where there is no terminal."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("preparing", total=None, status="")
        self._planned = self._before = self._stored = 0
        self._started = time.perf_counter()

    def __enter__(self) -> RunConsole:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()
        done = self._before + self._stored
        if error is not None and done:
            self._console.print(
                f"{done} of {self._planned} jobs are stored; the same command does the rest.",
                soft_wrap=True,
            )

    def note(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)  # a path stays whole

    def planned(self, jobs: int, finished: int) -> None:
        self._planned, self._before = jobs, finished
        self._started = time.perf_counter()
        self._progress.update(self._task, total=jobs, completed=finished)
        kept = f", {finished} of them done before" if finished else ""
        self._console.print(f"{jobs} jobs{kept}")

    def batch(self, title: str) -> None:
        self._progress.update(self._task, description=title)

    def advanced(self, jobs: float) -> None:
        done = self._stored + jobs
        seconds = time.perf_counter() - self._started
        left = self._planned - self._before - done
        status = ""
        if done:
            status = f"{60 * done / seconds:.0f} jobs/min, {_duration(seconds / done * left)} left"
        self._progress.update(self._task, completed=self._before + done, status=status)

    def finished(self, records: Sequence[dict[str, Any]]) -> None:
        self._stored += len(records)
        seconds = time.perf_counter() - self._started
        layer = records[0]["layer"]
        bad = sum(record["status"] == "failed" for record in records)
        failed = f", {bad} failed" if bad else ""
        self._console.print(
            f"{self._before + self._stored}/{self._planned} jobs, {layer}{failed}, "
            f"{60 * self._stored / seconds:.0f} jobs/min, {_duration(seconds)}",
            soft_wrap=True,
        )
        self._progress.update(self._task, description="report")

    def close_with(self, result: RunResult) -> None:
        """The last words: how the jobs ended, the table, and where the report is."""
        self._progress.stop()
        table = Table(title=None, show_edge=False)
        for column in ("layer", "input", "similarity", "MSE of the rest", "of the original's"):
            table.add_column(column, justify="left" if column in ("layer", "input") else "right")
        for layer, rows in result.tables.items():
            for row in rows:
                table.add_row(layer, *row)
        _print_whole(self._console, table)
        silent = f", {result.silent} silent" if result.silent else ""
        failed = f", {result.failed} failed" if result.failed else ""
        self._console.print(
            f"{result.done} of {result.jobs} jobs done{silent}{failed} in "
            f"{_duration(result.seconds)}"
        )
        self._console.print(f"report: {result.page}", soft_wrap=True)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _print_whole(console: Console, table: Table) -> None:
    """Prints a table at its full width: what does not fit the terminal is wrapped by it, not cut.

    Rich would shorten cells to 80 columns where the output is no terminal, and a name with an
    ellipsis can neither be searched for nor copied.
    """
    needed = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    console.width = max(needed, console.width)
    console.print(table)


def print_models() -> None:
    """A line for every network."""
    from jaxinterp.models.registry import ARCHITECTURES

    table = Table(show_edge=False)
    for column in ("name", "input", "classes", ""):
        table.add_column(column)
    for architecture in ARCHITECTURES.values():
        side = architecture.preprocess.size
        table.add_row(
            architecture.name, f"{side} px", str(architecture.classes), architecture.summary
        )
    _print_whole(Console(highlight=False, markup=False), table)


def print_layers(name: str) -> None:
    """The layer table of one network.

    Raises:
      UserError: an unknown name.
    """
    from flax import nnx

    from jaxinterp.models.registry import find_architecture

    architecture = find_architecture(name)
    table = Table(
        title=architecture.summary,
        title_justify="left",
        show_edge=False,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # narrow enough for 80 columns
    )
    columns = ("layer", "alias", "kind", "kernels", "stride", "receptive\nfield", "padding", "axis")
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:3] else "right")
    for layer in nnx.eval_shape(architecture.build).layers():
        table.add_row(
            layer.name,
            layer.alias,
            layer.kind,
            str(layer.channels),
            *(
                "-" if v is None else str(v)
                for v in (layer.stride, layer.receptive_field, layer.padding)
            ),
            str(layer.channel_axis),
        )
    _print_whole(Console(highlight=False, markup=False), table)


def print_evaluation(evaluation: Evaluation) -> None:
    """Accuracies: overall, then each class."""
    console = Console(highlight=False, markup=False)
    console.print(
        f"top-1 {evaluation.top1:.2%}, top-5 {evaluation.top5:.2%} of {evaluation.images} images"
    )
    table = Table(show_edge=False)
    table.add_column("class")
    table.add_column("images", justify="right")
    table.add_column("top-1", justify="right")
    for name, count, accuracy in evaluation.classes:
        table.add_row(name, str(count), f"{accuracy:.1%}")
    _print_whole(console, table)
