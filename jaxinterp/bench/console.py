"""What a measurement shows in a terminal."""

from __future__ import annotations

import time

from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from jaxinterp.bench.table import BenchTable
from jaxinterp.console.live import LiveConsole
from jaxinterp.console.tables import print_whole

__all__ = ["BenchConsole"]


class BenchConsole(LiveConsole):
    """Shows what is being measured: a spinner with the last line, or plain lines if piped."""

    def __init__(self) -> None:
        super().__init__(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            description="preparing",
        )
        self._started = time.perf_counter()

    def say(self, text: str) -> None:
        """What happens now, or what was found."""
        seconds = time.perf_counter() - self._started
        self._progress.update(self._task, description=text)
        self._console.print(f"{seconds:6.1f} s  {text}", soft_wrap=True)

    def show(self, title: str, results: BenchTable) -> None:
        """A case's table."""
        table = Table(title=title, title_justify="left", show_edge=False)
        for number, column in enumerate(results.columns):
            table.add_column(column, justify="right" if number > 1 else "left")
        for row in results.rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        self._console.print()
        print_whole(self._console, table)
        for note in results.notes:
            self._console.print(note, soft_wrap=True)
        self._console.print()

    def note(self, text: str) -> None:
        """A line without the time."""
        self._console.print(text, soft_wrap=True)
