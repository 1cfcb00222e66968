"""The files of a dissection's results in its run folder, and reading them back.

    dissection.json    names, classes, settings, agreement, completeness, what the page says
    iou.npz            for each layer float [units, concepts]
    thresholds.npz     for each layer float [units]
    relevance.npz      for each layer float [units, classes]
    effects.npz        for each layer float [units, classes]
    units.parquet      a row for each unit: the above as a table
    ablation.parquet   a row for each ablation and class
    examples.npz       images, maps and masks of the units to look at

`config.toml` is read from the folder, and written by the run.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jaxinterp.errors import UserError
from jaxinterp.methods.dissection import top_concepts
from jaxinterp.report.dissection_data import (
    Completeness,
    DissectionReport,
    ExamplePicture,
    UnitExample,
)
from jaxinterp.report.replace_file import replace_file
from jaxinterp.report.views import Table

__all__ = ["read_dissection", "unit_columns", "write_dissection"]

_TOP = 5
"""So many concepts of a unit are in its row."""

_ARRAYS = ("iou", "thresholds", "relevance", "effects")
_TEXTS = ("title", "network", "cutoff", "images", "effect_name")


def write_dissection(folder: Path, report: DissectionReport) -> None:
    """Writes the files; each appears under its name only when it is complete.

    Files of results that the report does not have are not written.

    Args:
      folder: is created if it is missing.
      report: the results.

    Raises:
      UserError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _ARRAYS:
            arrays = getattr(report, name)
            if arrays is not None:
                replace_file(folder / f"{name}.npz", _npz(arrays))
        replace_file(folder / "units.parquet", _parquet(pa.table(unit_columns(report))))
        if report.ablation:
            table = pa.Table.from_pylist([_plain(dict(row)) for row in report.ablation])
            replace_file(folder / "ablation.parquet", _parquet(table))
        if report.examples:
            replace_file(folder / "examples.npz", _npz(_example_arrays(report.examples)))
        content = json.dumps(_description(report), indent=1, ensure_ascii=False, allow_nan=False)
        # Last: a folder with this file has all the others. Names may hold what UTF-8 cannot.
        replace_file(folder / "dissection.json", content.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(
            f"The results cannot be written to {folder}: {error.strerror or error}."
        ) from error


def read_dissection(folder: Path) -> DissectionReport:
    """The report of a run folder, as `write_dissection` was given it.

    Numbers in `agreement` that are not finite come back as None.

    Raises:
      UserError: the folder has no results of a dissection, or they are damaged.
    """
    folder = Path(folder)
    if not (folder / "dissection.json").is_file():
        raise UserError(
            f"{folder} has no results of a dissection: there is no file dissection.json in it."
        )
    try:
        saved = json.loads((folder / "dissection.json").read_text(encoding="utf-8"))
        arrays = {n: _load(folder / f"{n}.npz") if saved["has"][n] else None for n in _ARRAYS}
        ablation = None
        if saved["has"]["ablation"]:
            ablation = ()
            if (folder / "ablation.parquet").is_file():
                ablation = tuple(pq.read_table(folder / "ablation.parquet").to_pylist())
        pixels = _load(folder / "examples.npz") if saved["examples"] else {}
        config = folder / "config.toml"
        read: dict[str, Any] = {**{name: saved[name] for name in _TEXTS}, **arrays}
        return DissectionReport(
            **read,
            concepts=tuple((name, category) for name, category in saved["concepts"]),
            class_names=tuple(saved["class_names"]),
            class_concepts=tuple(saved["class_concepts"]),
            class_images=tuple(saved["class_images"]),
            agreement=saved["agreement"],
            ablation=ablation,
            completeness=tuple(Completeness(**one) for one in saved["completeness"]),
            examples=_examples(saved["examples"], pixels),
            facts=tuple((name, value) for name, value in saved["facts"]),
            notes=tuple(saved["notes"]),
            tables=tuple(_table(**one) for one in saved["tables"]),
            config_toml=config.read_text(encoding="utf-8") if config.is_file() else "",
        )
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile, pa.ArrowException) as e:
        raise UserError(f"The results of the dissection in {folder} are damaged: {e}.") from e


def unit_columns(report: DissectionReport) -> dict[str, pa.Array]:
    """The columns of `units.parquet`: a row for each unit, in the order of layers and units.

    layer, unit, threshold, detector; concept_1, category_1, iou_1 and so on for the best five
    concepts (null where there are fewer); `relevance.CLASS` and `effect.CLASS` for each class (null
    for layers without).
    """
    layers = report.layers
    tops = [top_concepts(np.nan_to_num(report.iou[layer]), _TOP) for layer in layers]
    columns: dict[str, Any] = {
        "layer": [layer for layer in layers for _ in range(report.units[layer])],
        "unit": [unit for layer in layers for unit in range(report.units[layer])],
        "threshold": _joined([report.thresholds[layer] for layer in layers]),
        "detector": _joined([top.iou[:, 0] > report.cutoff for top in tops]),
    }
    for rank in range(min(_TOP, len(report.concepts))):
        found = [int(concept) for top in tops for concept in top.concepts[:, rank]]
        for column, place in (("concept", 0), ("category", 1)):
            columns[f"{column}_{rank + 1}"] = pa.array(
                [report.concepts[concept][place] if concept >= 0 else None for concept in found],
                pa.string(),
            )
        columns[f"iou_{rank + 1}"] = _joined(
            [np.where(top.iou[:, rank] > 0, top.iou[:, rank], np.nan) for top in tops]
        )
    for name, by_layer in (("relevance", report.relevance), ("effect", report.effects)):
        if by_layer is None:
            continue
        for index, title in enumerate(report.class_names):
            columns[f"{name}.{title}"] = _joined(
                [
                    by_layer[layer][:, index]
                    if layer in by_layer
                    else np.full(report.units[layer], np.nan)
                    for layer in layers
                ]
            )
    # from_pandas: NaN becomes null.
    return {name: pa.array(values, from_pandas=True) for name, values in columns.items()}


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Not by `np.savez`, which cannot take a layer named as one of its arguments."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, values in arrays.items():
            member = io.BytesIO()
            np.save(member, values, allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return content.getvalue()


def _load(path: Path) -> dict[str, np.ndarray]:
    # Given a path, NumPy leaves a damaged file open.
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def _description(report: DissectionReport) -> dict[str, Any]:
    has = {name: getattr(report, name) is not None for name in (*_ARRAYS, "ablation")}
    return _plain(
        {
            **{name: getattr(report, name) for name in _TEXTS},
            "has": has,
            "layers": report.units,
            "class_names": report.class_names,
            "class_concepts": report.class_concepts,
            "class_images": report.class_images,
            "agreement": report.agreement,
            "completeness": [vars(one) for one in report.completeness],
            "examples": [
                {
                    **{k: v for k, v in vars(one).items() if k != "pictures"},
                    "pictures": [picture.name for picture in one.pictures],
                }
                for one in report.examples
            ],
            "facts": report.facts,
            "notes": report.notes,
            "tables": [
                {**vars(one), "rows": [row.cells for row in one.body]} for one in report.tables
            ],
            "concepts": report.concepts,
        }
    )


def _table(title: str, columns: list[str], rows: list[list[str]], note: str) -> Table:
    return Table(title, tuple(columns), tuple(tuple(row) for row in rows), note)


def _plain(value: Any) -> Any:
    """What JSON and Arrow take: NumPy's numbers as Python's, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _example_arrays(examples: tuple[UnitExample, ...]) -> dict[str, np.ndarray]:
    return {
        f"{row}.{column}.{kind}": getattr(picture, kind)
        for row, example in enumerate(examples)
        for column, picture in enumerate(example.pictures)
        for kind in ("image", "activation", "mask")
    }


def _examples(
    saved: list[dict[str, Any]], pixels: dict[str, np.ndarray]
) -> tuple[UnitExample, ...]:
    return tuple(
        UnitExample(
            **{key: value for key, value in one.items() if key != "pictures"},
            pictures=tuple(
                ExamplePicture(
                    name, *(pixels[f"{r}.{c}.{kind}"] for kind in ("image", "activation", "mask"))
                )
                for c, name in enumerate(one["pictures"])
            ),
        )
        for r, one in enumerate(saved)
    )
