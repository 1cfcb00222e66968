"""What a dissection shows in a terminal."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from jaxinterp.console.duration import duration
from jaxinterp.console.live import LiveConsole
from jaxinterp.console.tables import print_whole
from jaxinterp.dissect.listener import DissectionListener
from jaxinterp.dissect.run import DissectionResult

__all__ = ["DissectionConsole"]

# Where there is no terminal, a line each time so large a share of a pass is done.
_SHARE_A_LINE = 0.25


class DissectionConsole(LiveConsole, DissectionListener):
    """Shows each pass with a bar, rate and time left, or plain lines without a terminal."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            rate="",
        )
        self._title, self._unit = "", "images"
        self._total = self._first = self._next_line = 0
        self._started = time.perf_counter()

    def note(self, text: str) -> None:
        """A line of its own."""
        self._say(text)

    def begins(self, title: str, total: int, done: int = 0, unit: str = "images") -> None:
        """A pass begins, or goes on after `done` of `total`."""
        self._title, self._total, self._first, self._unit = title, total, done, unit
        self._next_line = done + max(1, round(_SHARE_A_LINE * total))
        self._started = time.perf_counter()
        self._progress.reset(self._task, total=total, completed=done, description=title, rate="")
        if not self._console.is_terminal:
            self.note(f"{title}: {total - done} {unit}" + (f", {done} done before" if done else ""))

    def advanced(self, done: int) -> None:
        """So many of the pass are done."""
        seconds = time.perf_counter() - self._started
        rate = f"{(done - self._first) / max(seconds, 1e-9):.1f} {self._unit}/s"
        self._progress.update(self._task, completed=done, rate=rate)
        if not self._console.is_terminal and self._next_line <= done < self._total:
            self.note(f"{self._title}: {done} of {self._total}, {rate}")
            self._next_line = done + max(1, round(_SHARE_A_LINE * self._total))
        if done >= self._total and done > self._first:
            self.note(f"{self._title}: {done - self._first} {self._unit}, {duration(seconds)}")

    def close_with(self, result: DissectionResult) -> None:
        """The last words: detectors, agreement, ablation, and where the results are."""
        self._progress.stop()
        for shown in result.tables:
            table = Table(title=None, show_edge=False)
            for number, column in enumerate(shown.columns):
                table.add_column(column, justify="right" if number else "left")
            for row in shown.body:
                table.add_row(*row.cells)
            self.note("")
            self.note(shown.title)
            print_whole(self._console, table)
            if shown.note:
                self.note(shown.note)
        self.note("")
        for name, reason in result.unreadable[:5]:
            self.note(f"left out {name}: {reason}")
        if len(result.unreadable) > 5:
            self.note(f"and {len(result.unreadable) - 5} more images")
        layers = "1 layer" if result.layers == 1 else f"{result.layers} layers"
        self.note(f"{result.units} units of {layers} in {duration(result.seconds)}")
        self.note(f"units:  {result.folder}/units.parquet")
        self.note(f"report: {result.page}")
