"""What a run shows in a terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from jaxinterp.console.duration import duration
from jaxinterp.console.live import LiveConsole
from jaxinterp.console.tables import print_whole
from jaxinterp.sweep.run import Listener, RunResult

if TYPE_CHECKING:
    from jaxinterp.sweep.comparison.run import ComparisonResult

__all__ = ["RunConsole"]

_SECONDS_A_LINE = 15


class RunConsole(LiveConsole, Listener):
    """Shows a run: a bar with rate and time left, or plain lines where there is no terminal."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            TimeElapsedColumn(),
            description="preparing",
            status="",
        )
        self._planned = self._before = self._stored = self._failed = self._new = 0
        self._started = self._said = time.perf_counter()
        self._title = ""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        done = self._before + self._stored
        if error is not None and done:
            self._say(f"{done} of {self._planned} jobs are stored; the same command does the rest.")

    def note(self, text: str) -> None:
        self._say(text)

    def planned(self, jobs: int, finished: int) -> None:
        self._planned, self._before = jobs, finished
        self._started = time.perf_counter()
        self._progress.update(self._task, total=jobs, completed=finished)
        kept = f", {finished} of them done before" if finished else ""
        self._console.print(f"{jobs} jobs{kept}")

    def batch(self, title: str) -> None:
        self._say_where_it_stands()
        self._title = title
        self._progress.update(self._task, description=title)

    def advanced(self, jobs: float) -> None:
        done = self._stored + jobs
        seconds = time.perf_counter() - self._started
        left = self._planned - self._before - done
        status = ""
        if done:
            status = f"{60 * done / seconds:.0f} jobs/min, {duration(seconds / done * left)} left"
        self._progress.update(self._task, completed=self._before + done, status=status)

    def finished(self, records: Sequence[dict[str, Any]]) -> None:
        self._stored += len(records)
        self._failed += sum(record["status"] == "failed" for record in records)
        self._new += len(records)
        # Without a terminal a line now and then; with one, the bar tells.
        if not self._console.is_terminal and time.perf_counter() - self._said > _SECONDS_A_LINE:
            self._say_where_it_stands()

    def _say_where_it_stands(self) -> None:
        """A line, if jobs have ended since the last one."""
        if not self._new:
            return
        seconds = time.perf_counter() - self._started
        failed = f", {self._failed} failed" if self._failed else ""
        layer = self._title.split(",", 1)[0]
        self._console.print(
            f"{self._before + self._stored}/{self._planned} jobs, {layer}{failed}, "
            f"{60 * self._stored / seconds:.0f} jobs/min, {duration(seconds)}",
            soft_wrap=True,
        )
        self._new = self._failed = 0
        self._said = time.perf_counter()

    def close_with(self, result: RunResult) -> None:
        """The last words: how the jobs ended, the table, and where the report is."""
        self._say_where_it_stands()
        self._progress.stop()
        table = Table(title=None, show_edge=False)
        for column in ("layer", "input", "similarity", "MSE of the rest", "of the original's"):
            table.add_column(column, justify="left" if column in ("layer", "input") else "right")
        for layer, rows in result.tables.items():
            for row in rows:
                table.add_row(layer, *row)
        if result.tables:
            print_whole(self._console, table)
        self._say_how_it_ended(result)
        if not math.isnan(result.occupancy):
            devices = f"{result.devices} device" + "s" * (result.devices > 1)
            self._console.print(
                f"lanes {result.occupancy:.0%} occupied, "
                f"{result.rate:.0f} lane steps/s on {devices}"
            )
        if result.page is None:
            self._console.print(
                f"{result.left} jobs are left to other processes, or to the same command again; "
                "the report is written when all are done.",
                soft_wrap=True,
            )
        else:
            self._console.print(f"report: {result.page}", soft_wrap=True)

    def _say_how_it_ended(self, result: RunResult | ComparisonResult) -> None:
        silent = f", {result.silent} silent" if result.silent else ""
        failed = f", {result.failed} failed" if result.failed else ""
        self._console.print(
            f"{result.done} of {result.jobs} jobs done{silent}{failed} in "
            f"{duration(result.seconds)}"
        )
