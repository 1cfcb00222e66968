"""A run's results as files that other programs read: CSV, Parquet, .npy, .npz.

However large the run, only a block of it is in memory at a time.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np

from jaxinterp.errors import UserError, nearest
from jaxinterp.sweep.folder.place import partial_name
from jaxinterp.sweep.folder.results import Results
from jaxinterp.sweep.folder.table import columns_of, write_csv, write_parquet
from jaxinterp.sweep.recorded_run import RecordedRun, open_recorded

__all__ = ["ExportFormat", "Exported", "export_run"]

ExportFormat = Literal["csv", "parquet", "npz"]

_BLOCK_BYTES = 32 * 2**20


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
      path: the folder, or the .npz file.
      jobs: how many jobs are in it.
      unfinished: how many of those that were chosen have no result yet.
      files: names and sizes in bytes; of an .npz file its members.
    """

    path: Path
    jobs: int
    unfinished: int
    files: dict[str, int]


def export_run(
    address: str,
    output: str,
    *,
    format: ExportFormat = "csv",
    layers: Sequence[str] = (),
    kernels: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Writes the finished jobs of a run.

    "csv" and "parquet" make a folder with `jobs.csv` or `jobs.parquet` and an array `NAME.npy` of
    each kind (images, traces): float32 [jobs, ...], row i of the same job as row i of the table.
    "npz" makes one file with the same arrays, and one for each column of the table (text as
    fixed-width unicode, missing numbers as NaN).

    Args:
      address: the run folder.
      output: what to make; it must not be there.
      format: of the table.
      layers: only these; none given stands for all.
      kernels: only these, such as "0-7, 12".
      progress: called with (rows of arrays written, rows to write).

    Raises:
      UserError: no such run, layer or kernel; nothing finished; a damaged chunk; `output` exists.
      OSError: it cannot be written, such as on a full disk; what was written is removed.
    """
    path = Path(os.path.expanduser(output))
    if format == "npz" and path.suffix != ".npz":
        path = path.with_name(f"{path.name}.npz")
    if path.exists():
        raise UserError(f"{path} exists already: give another place.")
    with open_recorded(address) as run:
        chosen = _chosen(run, layers, kernels)
        finished = chosen[run.results.done[chosen]]
        if not len(finished):
            raise UserError(f"None of the {len(chosen)} jobs chosen in {address} is finished yet.")
        partial = partial_name(path)
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            write = _write_npz if format == "npz" else _write_folder
            files = write(partial, run.results, finished, format, progress)
            os.replace(partial, path)
        finally:
            _remove(partial)
    return Exported(path, len(finished), len(chosen) - len(finished), files)


def _chosen(run: RecordedRun, layers: Sequence[str], kernels: str | None) -> np.ndarray:
    """Indices of the jobs asked for, in the order of the plan."""
    for layer in layers:
        if layer not in run.layers:
            raise UserError(nearest(layer, run.layers, kind="layer"))
    names = [layer for layer in run.layers if layer in layers or not layers]
    chosen = np.concatenate([np.asarray(run.layers[layer], np.int64) for layer in names])
    if kernels is None:
        return chosen
    wanted = _parse_kernels(kernels)
    own = np.array([run.plan[int(index)].kernel for index in chosen])
    for first, last in wanted:
        if not ((own >= first) & (own <= last)).any():
            text = str(first) if first == last else f"{first}-{last}"
            raise UserError(
                f"There is no job of kernel {text} in {', '.join(names)} of {run.folder.name}; "
                f"the kernels are {_listed(np.unique(own))}."
            )
    mask = np.zeros(len(own), bool)
    for first, last in wanted:
        mask |= (own >= first) & (own <= last)
    return chosen[mask]


def _parse_kernels(text: str) -> list[tuple[int, int]]:
    """First and last of each range."""
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UserError(f"The kernels are {text!r}: give numbers and ranges such as 0-7,12.")
        ranges.append((int(match[1]), int(match[2] or match[1])))
    return ranges


def _listed(numbers: np.ndarray) -> str:
    """Numbers as ranges, at most a handful."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    parts = [
        f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0])
        for part in np.split(numbers, breaks)
    ]
    return ", ".join(parts[:12]) + (" and more" if len(parts) > 12 else "")


def _write_folder(
    folder: Path,
    results: Results,
    jobs: np.ndarray,
    format: ExportFormat,
    progress: Callable[[int, int], None],
) -> dict[str, int]:
    folder.mkdir()
    table = folder / f"jobs.{format}"
    (write_csv if format == "csv" else write_parquet)(table, lambda: results.records(jobs))
    for number, name in enumerate(results.arrays):
        with (folder / f"{name}.npy").open("wb") as file:
            _write_array(file, results, name, jobs, _part(progress, number, results, jobs))
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def _write_npz(
    file: Path,
    results: Results,
    jobs: np.ndarray,
    format: ExportFormat,
    progress: Callable[[int, int], None],
) -> dict[str, int]:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for number, name in enumerate(results.arrays):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                part = _part(progress, number, results, jobs)
                _write_array(cast("IO[bytes]", member), results, name, jobs, part)
        for name, column in _columns(results, jobs):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(cast("IO[bytes]", member), column, allow_pickle=False)
        return {info.filename: info.file_size for info in archive.infolist()}


def _part(
    progress: Callable[[int, int], None], number: int, results: Results, jobs: np.ndarray
) -> Callable[[int], None]:
    """Progress within one of the arrays."""
    return lambda rows: progress(number * len(jobs) + rows, len(results.arrays) * len(jobs))


def _write_array(
    file: IO[bytes], results: Results, name: str, jobs: np.ndarray, progress: Callable[[int], None]
) -> None:
    """An array in NumPy's format, a block at a time."""
    shape = (len(jobs), *results.arrays[name].shape)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    rows = max(1, _BLOCK_BYTES // max(1, 4 * int(np.prod(shape[1:]))))
    for start in range(0, len(jobs), rows):
        block = jobs[start : start + rows]
        file.write(np.ascontiguousarray(results.read_many(name, block), "<f4").tobytes())
        progress(start + len(block))


def _columns(results: Results, jobs: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The table's columns, one at a time: the records are gone through anew for each."""
    taken = set(results.arrays)
    for name, kind in columns_of(results.records(jobs)).items():
        values: Iterable[Any] = (record.get(name) for record in results.records(jobs))
        if kind is str:
            column = _texts(results, jobs, name)
        elif kind is bool:
            column = np.fromiter((bool(value) for value in values), bool, len(jobs))
        else:
            numbers = (np.nan if value is None else value for value in values)
            column = np.fromiter(numbers, np.float64, len(jobs))
            if kind is int and not np.isnan(column).any():
                column = column.astype(np.int64)
        # A column and an array of one name would be one member of the file.
        yield f"job_{name}" if name in taken else name, column


def _texts(results: Results, jobs: np.ndarray, name: str) -> np.ndarray:
    def texts() -> Iterator[str]:
        return (record.get(name) or "" for record in results.records(jobs))

    return np.fromiter(texts(), f"U{max(map(len, texts())) or 1}", len(jobs))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
