"""CSV tables of a set, checked as they are read."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from jaxinterp.data.concepts.file_tree import FileTree
from jaxinterp.errors import UserError

__all__ = ["read_table", "whole_number"]


def read_table(tree: FileTree, name: str, *, columns: Sequence[str]) -> list[tuple[int, dict]]:
    """The rows of a CSV file with a header, each with the number of its line.

    Raises:
      UserError: the file is missing or no CSV; a column that is missing or there twice; a row with
        more or fewer cells than there are columns.
    """
    text = tree.text(name)
    try:
        table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        own = list(table.fieldnames or [])
        missing = [column for column in columns if column not in own]
        if missing:
            raise UserError(
                f"{name} of {tree.location} has no column {' and no column '.join(missing)}; "
                f"its columns: {', '.join(own) or 'none'}."
            )
        if len(set(own)) != len(own):
            raise UserError(f"{name} of {tree.location} has a column twice: {', '.join(own)}.")
        rows = []
        for row in table:
            if None in row or None in row.values():
                cells = sum(value is not None for key, value in row.items() if key is not None)
                cells += len(row.get(None, ()))  # type: ignore[call-overload]
                raise UserError(
                    f"Line {table.line_num} of {name} of {tree.location} has {cells} cells, not "
                    f"{len(own)}."
                )
            rows.append((table.line_num, row))
    except csv.Error as error:
        raise UserError(f"{name} of {tree.location} is not readable CSV: {error}.") from None
    return rows


def whole_number(text: str) -> int | None:
    """The number that a cell holds, from 0, or None if it holds something else."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
