"""What a comparison shows in a terminal."""

from __future__ import annotations

from rich.table import Table

from jaxinterp.console.run import RunConsole
from jaxinterp.console.tables import print_whole
from jaxinterp.sweep.comparison.run import ComparisonResult
from jaxinterp.sweep.comparison.tables import COLUMNS, cells, paper_cells, paper_columns

__all__ = ["ComparisonConsole"]


class ComparisonConsole(RunConsole):
    """Shows a comparison as any run, with its own tables at the end."""

    def close_with_tables(self, result: ComparisonResult) -> None:
        """The last words: the tables, how the jobs ended, and where the report is."""
        self._progress.stop()
        for layer in result.tables:
            beside = paper_columns(layer)
            table = Table(title=None, show_edge=False)
            for number, column in enumerate((layer.layer, *COLUMNS[1:], *beside)):
                table.add_column(column, justify="right" if number else "left")
            for row in layer.rows:
                table.add_row(*cells(row), *(paper_cells(row) if beside else ()))
            print_whole(self._console, table)
            self._console.print(layer.note, soft_wrap=True)
            self._console.print()
        self._say_how_it_ended(result)
        self._console.print(f"tables: {str(result.folder).rstrip('/')}/table.md", soft_wrap=True)
        self._console.print(f"report: {result.page}", soft_wrap=True)
