"""Records as a table: Parquet in row groups, or CSV. Never are all of them in memory."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jaxinterp.sweep.folder.place import partial_name

__all__ = ["columns_of", "write_csv", "write_parquet"]

Records = Callable[[], Iterable[Mapping[str, Any]]]
"""Gives the records anew each time: they are gone through twice."""

_ROWS = 8192
"""Of a row group."""

_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def columns_of(records: Iterable[Mapping[str, Any]]) -> dict[str, type]:
    """Names and types (bool, int, float or str) of all columns, in the order in which they are met.

    A column is float where it has both whole and other numbers, and where it is always null.

    Raises:
      TypeError: a value of another type, or texts and numbers in one column.
    """
    found: dict[str, type | None] = {}
    for record in records:
        for name, value in record.items():
            known = found.setdefault(name, None)
            if value is None or type(value) is known:
                continue
            kinds = {type(value), known or type(value)}
            if len(kinds) == 1 and kinds <= set(_TYPES):
                found[name] = type(value)
            elif kinds == {int, float}:
                found[name] = float
            else:
                names = ", ".join(sorted(kind.__name__ for kind in kinds))
                raise TypeError(f"the records' {name!r} is of the types {names}")
    return {name: kind or float for name, kind in found.items()}


def write_parquet(path: Path, records: Records) -> None:
    """Writes a Parquet file that appears when it is complete; there must be a record."""
    schema = pa.schema([(name, _TYPES[kind]) for name, kind in columns_of(records()).items()])
    partial = partial_name(path)
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            for rows in _blocks(records()):
                writer.write_table(pa.Table.from_pylist(rows, schema))
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_csv(path: Path, records: Records) -> None:
    """Writes a CSV file in UTF-8 with a line of names; nulls are empty."""
    columns = columns_of(records())
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for record in records():
            writer.writerow(record)


def _blocks(records: Iterable[Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    remaining = iter(records)
    while rows := [dict(record) for record in itertools.islice(remaining, _ROWS)]:
        yield rows
