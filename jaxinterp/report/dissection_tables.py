"""The tables of a dissection's page: layers, concepts, classes, agreement, and every unit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxinterp.methods.dissection import top_concepts
from jaxinterp.report.dissection_ablation import (
    WHICH,
    AblatedAccuracy,
    ablated_accuracies,
    original_accuracies,
    shares_of,
)
from jaxinterp.report.dissection_data import DissectionReport
from jaxinterp.report.dissection_detectors import concept_units, detector_counts
from jaxinterp.report.pixels import number
from jaxinterp.report.views import Table

__all__ = ["MOST_UNITS", "UnitRow", "summary_tables", "unit_rows", "whole_range"]

MOST_UNITS = 5_000
"""The page lists so many units at most; a browser sorts them at once."""

_MOST_CONCEPTS = 20
_NONE = "\N{EN DASH}"


@dataclasses.dataclass(frozen=True)
class UnitRow:
    """A unit in the page's table.

    Attributes:
      layer: its name.
      unit: channel of the layer, from 0.
      concept: its best concept, with an IoU above 0; empty if there is none.
      category: of the concept.
      iou: of unit and concept; NaN if there is none.
      detector: whether the IoU is above the report's cutoff.
      second: its second concept with the IoU, as a text.
      threshold: the unit is active where its map is above it.
      relevant: the class for which it is most relevant; empty if there is none.
      relevance: for this class.
      affected: the class that loses most when it is ablated alone.
      effect: on this class.
    """

    layer: str
    unit: int
    concept: str
    category: str
    iou: float
    detector: bool
    second: str
    threshold: float
    relevant: str
    relevance: float
    affected: str
    effect: float


def unit_rows(report: DissectionReport, most: int = MOST_UNITS) -> list[UnitRow]:
    """A row for each unit, in the order of layers and units.

    Args:
      report: the results.
      most: where there are more units, those with the highest IoU.
    """
    rows = [row for layer in report.layers for row in _layer_rows(report, layer)]
    if len(rows) <= most:
        return rows
    order = np.argsort([-np.nan_to_num(row.iou) for row in rows], kind="stable")[:most]
    return [rows[index] for index in sorted(order)]


def _layer_rows(report: DissectionReport, layer: str) -> list[UnitRow]:
    top = top_concepts(np.nan_to_num(report.iou[layer]), 2)
    rows = []
    for unit in range(report.units[layer]):
        (first, second), (iou, second_iou) = top.concepts[unit], top.iou[unit]
        relevant, relevance = _best_class(report, report.relevance, layer, unit)
        affected, effect = _best_class(report, report.effects, layer, unit)
        concept, category = report.concepts[first] if first >= 0 else ("", "")
        rows.append(
            UnitRow(
                layer=layer,
                unit=unit,
                concept=concept,
                category=category,
                iou=float(iou) if first >= 0 else float("nan"),
                detector=bool(first >= 0 and iou > report.cutoff),
                second=f"{report.concepts[second][0]} {second_iou:.3f}" if second >= 0 else "",
                threshold=float(report.thresholds[layer][unit]),
                relevant=relevant,
                relevance=relevance,
                affected=affected,
                effect=effect,
            )
        )
    return rows


def _best_class(
    report: DissectionReport, by_layer: Mapping[str, np.ndarray] | None, layer: str, unit: int
) -> tuple[str, float]:
    """The class with the highest value above 0, and the value."""
    if by_layer is None or layer not in by_layer or not report.class_names:
        return "", float("nan")
    values = np.nan_to_num(by_layer[layer][unit])
    best = int(values.argmax())
    if values[best] <= 0:
        return "", float("nan")
    return report.class_names[best], float(values[best])


def summary_tables(report: DissectionReport) -> list[Table]:
    """The tables above the figures; those without results are left out."""
    tables = [_layers(report), _concepts(report), _classes(report), *report.tables]
    tables += _agreement(report)
    return [table for table in tables if table is not None and table.rows]


def _layers(report: DissectionReport) -> Table | None:
    found, unique = detector_counts(report)
    by_name = {one.layer: one for one in report.completeness}
    columns = ["layer", "units"]
    if report.concepts:
        columns += ["detectors", *report.categories, "different concepts", "mean best IoU"]
    if by_name:
        columns += ["completeness, median", "95th percentile"]
    rows = []
    for index, (layer, units) in enumerate(report.units.items()):
        row = [layer, str(units)]
        if report.concepts:
            best = np.nan_to_num(report.iou[layer]).max(1)
            share = f" ({found[index].sum() / units:.0%})" if units else ""
            row += [f"{found[index].sum()}{share}", *map(str, found[index])]
            row += [str(unique[index].sum()), f"{best.mean():.3f}" if units else _NONE]
        if by_name:
            one = by_name.get(layer)
            row += [number(one.median), number(one.high)] if one else [_NONE, _NONE]
        rows.append(tuple(row))
    note = ""
    if report.concepts:
        note = (
            f"A detector is a unit whose best concept has an IoU above {report.cutoff:g}; it "
            "counts for the category of that concept. "
        )
    if by_name:
        images = max(one.images for one in by_name.values())
        note += (
            "Completeness: by how much the integrated gradients miss the change of the class "
            f"probability, absolute, over {images} images. Where a layer is bypassed by a skip "
            "connection, this is what the skip carries."
        )
    return Table("Layers", tuple(columns), tuple(rows), note.strip())


def _concepts(report: DissectionReport) -> Table | None:
    found = concept_units(report)
    rows = []
    for concept, count in found[:_MOST_CONCEPTS]:
        best = {
            layer: np.nan_to_num(values[:, concept])
            for layer, values in report.iou.items()
            if len(values)
        }
        layer = max(best, key=lambda name: best[name].max())
        unit = int(best[layer].argmax())
        name, category = report.concepts[concept]
        rows.append(
            (name, category, str(count), f"{best[layer][unit]:.3f}", f"{layer}, unit {unit}")
        )
    note = f"The first {len(rows)} of {len(found)} concepts that have a detector."
    columns = ("concept", "category", "detectors", "highest IoU", "of")
    return Table("Concepts with the most detectors", columns, tuple(rows), note)


def _classes(report: DissectionReport) -> Table | None:
    shares = shares_of(report)
    if not shares:
        return None
    original = original_accuracies(report)
    targets = sorted({row["target_class"] for row in report.ablation or ()} - {None})
    columns = ["class", "no ablation"]
    columns += [f"{which} {100 * share:.3g} %" for share in shares for which in WHICH]
    rows = []
    for target in targets:
        cells = [report.class_names[target], _percent(float(original[target]))]
        for share in shares:
            for which in WHICH:
                cells.append(_cell(ablated_accuracies(report, which, share, target)[target]))
        rows.append(tuple(cells))
    draws = max(row.draws for row in ablated_accuracies(report, "random", shares[0], None))
    random = f" (the mean of {draws} draws, with the range of 95 % of them)" if draws > 1 else ""
    images = whole_range([row["images"] for row in report.ablation or ()])
    note = (
        "Accuracy of a class in per cent, after ablating the units most relevant for it, random "
        f"units{random} and the least relevant ones. Images of a class: {images}."
    )
    return Table("Accuracy after ablating units for a class", tuple(columns), tuple(rows), note)


def whole_range(values: Sequence[int]) -> str:
    """The least and the largest of whole numbers, as "3 to 5", or "3" if they are the same."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _cell(found: AblatedAccuracy) -> str:
    if found.draws > 1:
        return f"{100 * found.mean:.1f} ({100 * found.low:.0f} to {100 * found.high:.0f})"
    return _percent(found.mean)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if np.isfinite(share) else _NONE


def _agreement(report: DissectionReport) -> list[Table]:
    if not report.agreement:
        return []
    note = str(report.agreement.get("note", ""))
    tables: list[Table] = []
    summary: dict[str, Any] = dict(report.agreement.get("summary") or {})
    measures: dict[str, dict[str, Any]] = summary.pop("measures", None) or {}
    if measures:
        keys = list(next(iter(measures.values())))
        rows = [
            (_words(name), *(_text(one.get(key)) for key in keys)) for name, one in measures.items()
        ]
        columns = ("measure", *map(_words, keys))
        tables.append(Table("Agreement of IoU and relevance", columns, tuple(rows), note))
    rows = tuple((_words(name), _text(value)) for name, value in summary.items())
    tables.append(Table("Agreement: further figures", ("figure", "value"), rows))
    layers: list[dict[str, Any]] = list(report.agreement.get("rows") or ())
    if layers:
        rows = tuple(tuple(_text(row.get(key)) for key in layers[0]) for row in layers)
        columns = tuple(map(_words, layers[0]))
        tables.append(Table("Agreement by layer", columns, rows, "" if measures else note))
    return tables


def _words(key: str) -> str:
    return key.replace("_", " ")


def _text(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, int | float):
        return number(value)
    return str(value)
