"""Tables that are wrapped by the terminal, never cut."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segment, Segments
from rich.table import Table

__all__ = ["print_whole"]


def print_whole(console: Console, table: Table) -> None:
    """Prints a table at its full width: what does not fit the terminal is wrapped by it, not cut.

    Rich would shorten cells to 80 columns where the output is no terminal, and a name with an
    ellipsis can neither be searched for nor copied.
    """
    needed = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    console.width = max(needed, console.width)
    segments = []
    for line in console.render_lines(table):
        segments += [*_without_padding(line), Segment.line()]
    console.print(Segments(segments), end="")


def _without_padding(line: list[Segment]) -> list[Segment]:
    """A line without the blanks at its end: a narrower terminal would show them as another one."""
    while line and not line[-1].text.strip():
        line = line[:-1]
    if not line:
        return []
    text, style, control = line[-1]
    return [*line[:-1], Segment(text.rstrip(), style, control)]
