"""A table of results, before it is drawn."""

from __future__ import annotations

import dataclasses

__all__ = ["BenchTable"]


@dataclasses.dataclass(frozen=True)
class BenchTable:
    """A table of results.

    Attributes:
      columns: their titles.
      rows: their cells, as many in each row as there are columns.
      notes: sentences that belong below it.

    Raises:
      ValueError: a row of another length.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells in {len(self.columns)} columns: {row}")

    def markdown(self) -> str:
        """The table and its notes as Markdown, without a line break at the end."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        # A bar in a cell would begin another.
        drawn = ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in lines]
        for note in self.notes:
            drawn += ["", note]
        return "\n".join(drawn)
