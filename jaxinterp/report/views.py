"""What a report shows, as plain data: the callers fill these in, the drawing code reads them."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

__all__ = ["JobView", "MapView", "ReportHead", "Table", "TableRow"]


@dataclasses.dataclass(frozen=True, eq=False)
class MapView:
    """The feature map of one kernel for the original and for the optimised input.

    Attributes:
      label: such as "kernel 20".
      before: float [h, w], for the original input; NaN is drawn grey.
      after: float [h, w], for the optimised input.
      selected: whether this is the kernel that the job is about.

    Raises:
      ValueError: a map that is not two-dimensional, or has no values.
    """

    label: str
    before: np.ndarray
    after: np.ndarray
    selected: bool

    def __post_init__(self) -> None:
        for name, values in (("before", self.before), ("after", self.after)):
            if values.ndim != 2 or not values.size:
                raise ValueError(f"{name} must be [h, w], got shape {values.shape}.")


@dataclasses.dataclass(frozen=True, eq=False)
class JobView:
    """One kernel and one image: what went in, what came out, what it scored.

    Attributes:
      job: the job's content hash.
      layer: the tap's name, such as "relu4_3".
      kernel: counted from 0.
      image: the image's name, shown as it is; it may be any text.
      original: float [H, W, 3], nominally in [0, 1].
      optimised: float [H, W, 3], nominally in [0, 1]; clipped for display, which is said.
      maps: the selected kernel's map first, then those of other kernels.
      metrics: the score of each metric, in the order to show; None where it is not defined.
      status: "done"; "silent" (the kernel does not answer to this image); "failed".
      trace: float [points, terms], the loss terms over the steps, or None.
      trace_terms: the names of the terms.

    Raises:
      ValueError: an unknown status, an array of another shape.
    """

    job: str
    layer: str
    kernel: int
    image: str
    original: np.ndarray
    optimised: np.ndarray
    maps: tuple[MapView, ...]
    metrics: dict[str, float | None]
    status: Literal["done", "silent", "failed"] | str
    trace: np.ndarray | None = None
    trace_terms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.status not in ("done", "silent", "failed"):
            raise ValueError(f"status must be done, silent or failed, got {self.status!r}.")
        for name, pixels in (("original", self.original), ("optimised", self.optimised)):
            if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
                raise ValueError(f"{name} must be [H, W, 3], got shape {pixels.shape}.")
        if self.trace is not None and self.trace.shape[1:] != (len(self.trace_terms),):
            raise ValueError(
                f"trace must be [points, {len(self.trace_terms)}] (one column per name in "
                f"trace_terms), got shape {self.trace.shape}."
            )


@dataclasses.dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
      cells: one text per column.
      reference: whether it is only there to compare with (the blank image, the original); drawn
        apart from the rows of the methods.
    """

    cells: tuple[str, ...]
    reference: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the report's head.

    Attributes:
      title: its heading.
      columns: the columns' names.
      rows: rows, or plain tuples of texts.
      note: a sentence below it, on how the numbers were made.

    Raises:
      ValueError: a row with another number of cells than there are columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[TableRow | tuple[str, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.body:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"The table {self.title!r} has {len(self.columns)} columns, "
                    f"a row has {len(row.cells)}: {row.cells}."
                )

    @property
    def body(self) -> tuple[TableRow, ...]:
        """The rows, all of them as `TableRow`."""
        return tuple(r if isinstance(r, TableRow) else TableRow(tuple(r)) for r in self.rows)


@dataclasses.dataclass(frozen=True)
class ReportHead:
    """What stands above the results.

    Attributes:
      title: such as "Suppression".
      subtitle: a line below it.
      facts: names and values: model, sha256 of the weights, device, versions, wall time.
      config_toml: the configuration as it was run.
    """

    title: str
    subtitle: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    config_toml: str = ""
