"""What `status`, `export` and `merge` show of run folders."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from jaxinterp.console.duration import duration
from jaxinterp.console.tables import print_whole
from jaxinterp.sweep.export import Exported
from jaxinterp.sweep.merge import Merged
from jaxinterp.sweep.status import RunStatus

__all__ = ["FolderProgress", "print_exported", "print_merged", "print_status"]


class FolderProgress:
    """A bar where there is a terminal, nothing elsewhere; a context manager."""

    def __init__(self, title: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            transient=True,
            disable=not Console().is_terminal,
        )
        self._task = self._progress.add_task(title, total=None)

    def __enter__(self) -> Callable[[int, int], None]:
        self._progress.start()
        return lambda done, total: self._progress.update(self._task, completed=done, total=total)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()


def print_status(status: RunStatus) -> None:
    """A run's state: a line for each fact, a table of the layers."""
    console = Console(highlight=False, markup=False)

    def fact(name: str, value: str) -> None:
        console.print(f"{name:<10} {value}", soft_wrap=True)

    fact("run", f"{status.name} ({status.title})")
    fact("method", f"{status.method}, {status.model}")
    fact("begun", status.created or "unknown")
    table = Table(show_edge=False)
    columns = ("layer", "jobs", "done", "silent", "failed", "missing")
    for column in columns:
        table.add_column(column, justify="left" if column == "layer" else "right")
    total = status.total
    rows = [*status.layers, total] if len(status.layers) > 1 else status.layers
    for row in rows:
        numbers = (row.jobs, row.done, row.silent, row.failed, row.missing)
        table.add_row(row.layer, *(f"{number:,}" for number in numbers))
    console.print()
    print_whole(console, table)
    console.print()
    if status.processes:
        fact("at work", "; ".join(map(str, status.processes)))
    elif status.bytes is None:
        fact("at work", "not known of an object store")
    else:
        fact("at work", "no process")
    if status.last is not None:
        ago = _long(max(0.0, time.time() - status.last))
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.last))
        fact("last job", f"{stamp}, {ago} ago")
    if status.rate is not None:
        left = ""
        if total.missing and status.processes:
            left = f", {_long(60 * total.missing / status.rate)} left"
        fact("rate", f"{status.rate:,.0f} jobs/min in the last minutes of work{left}")
    if status.bytes is not None:
        fact("size", f"{_bytes(status.bytes)} on disk")
    if status.duplicates:
        fact("twice", f"{status.duplicates:,} jobs were done more than once; the last counts")
    if status.damaged is not None:
        again = ": removed, so that running again does them again" if status.damaged else ""
        fact("damaged", f"{status.damaged:,} jobs{again}")


def print_exported(exported: Exported) -> None:
    """What was written where."""
    console = Console(highlight=False, markup=False)
    for name, size in exported.files.items():
        console.print(f"{name}: {_bytes(size)}", soft_wrap=True)
    missing = f", {exported.unfinished:,} are not finished" if exported.unfinished else ""
    console.print(f"{exported.jobs:,} jobs{missing}: {exported.path}", soft_wrap=True)


def print_merged(merged: Merged) -> None:
    """What came from where."""
    console = Console(highlight=False, markup=False)
    for name, count in merged.taken.items():
        console.print(f"{count:,} jobs from {name}", soft_wrap=True)
    if merged.duplicates:
        console.print(f"{merged.duplicates:,} jobs were in several parts; the first one's count")
    if merged.damaged:
        console.print(f"{merged.damaged:,} damaged jobs were left out")
    console.print(
        f"{merged.jobs - merged.missing:,} of {merged.jobs:,} jobs: {merged.output}", soft_wrap=True
    )
    console.print(
        f"`jaxinterp run {merged.output}/config.toml` "
        f"{'does the rest and ' if merged.missing else ''}writes the report.",
        soft_wrap=True,
    )


def _long(seconds: float) -> str:
    """As `duration`, with days."""
    days, hours = divmod(round(seconds) // 3600, 24)
    return f"{days} d {hours} h" if days else duration(seconds)


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
