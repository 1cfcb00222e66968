"""Accuracy after ablating the most and the least relevant units: the form of Figs. 5 and 6."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxinterp.report.dissection_data import DissectionReport
from jaxinterp.report.dissection_style import heading, new_figure, plain, tick_names

__all__ = [
    "WHICH",
    "AblatedAccuracy",
    "ablated_accuracies",
    "ablation_curves_figure",
    "ablation_figure",
    "original_accuracies",
    "shares_of",
]

WHICH = ("most", "random", "least")
"""The choices of units, in the order of the bars."""

_COLOUR = {"original": "#b8bec4", "most": "#d55e00", "random": "#5c6670", "least": "#0072b2"}
_LABEL = {
    "original": "no ablation",
    "most": "most relevant",
    "random": "random (mean of draws)",
    "least": "least relevant",
}
_HATCH = {"original": "", "most": "", "random": "///", "least": ".."}
MOST_CLASSES = 20
"""Of a chart; with more classes those that change most are drawn, and the chart says so."""


@dataclasses.dataclass(frozen=True)
class AblatedAccuracy:
    """The accuracy of a class after an ablation.

    Attributes:
      mean: a share; of random units the mean over the draws; NaN where it was not measured.
      low: lower end of its interval; NaN if there is none. Of random units the 2.5th percentile
        over the draws, else what the rows' interval of the drop leaves.
      high: upper end.
      draws: of random units; else 1.
    """

    mean: float
    low: float
    high: float
    draws: int


def shares_of(report: DissectionReport) -> list[float]:
    """The shares of units that were ablated, ascending, without 0."""
    return sorted({row["share"] for row in report.ablation or () if row["share"] > 0})


def original_accuracies(report: DissectionReport) -> np.ndarray:
    """The accuracy of each class without ablation, float [classes]; NaN where no row tells it."""
    found = np.full(len(report.class_names), np.nan)
    for row in report.ablation or ():
        if row["accuracy"] is not None and row["drop"] is not None:
            found[row["class"]] = row["accuracy"] + row["drop"]
    return found


def ablated_accuracies(
    report: DissectionReport, which: str, share: float, target: int | None
) -> list[AblatedAccuracy]:
    """The accuracy of every class after ablating a share of units.

    Args:
      report: with ablation.
      which: "most", "least" or "random".
      share: of the units of each layer.
      target: the class whose relevance chose the units; random units have none.

    Returns:
      an entry for each class.
    """
    rows: dict[int, list[Mapping[str, Any]]] = {}
    for row in report.ablation or ():
        same = row["which"] == which and row["share"] == share
        if same and (which == "random" or row["target_class"] == target):
            rows.setdefault(row["class"], []).append(row)
    return [_accuracy(rows.get(index, [])) for index in range(len(report.class_names))]


def _accuracy(rows: list[Mapping[str, Any]]) -> AblatedAccuracy:
    nothing = float("nan")
    values = np.array([row["accuracy"] for row in rows if row["accuracy"] is not None], float)
    if not values.size:
        return AblatedAccuracy(nothing, nothing, nothing, 0)
    mean = float(values.mean())
    if len(values) > 1:
        low, high = np.percentile(values, (2.5, 97.5))
        return AblatedAccuracy(mean, float(low), float(high), len(values))
    ends = rows[0].get("low"), rows[0].get("high")
    if None in ends or rows[0]["drop"] is None:
        return AblatedAccuracy(mean, nothing, nothing, 1)
    original = mean + rows[0]["drop"]
    return AblatedAccuracy(mean, original - ends[1], original - ends[0], 1)  # type: ignore[operator]


def ablation_figure(report: DissectionReport, target: int) -> Figure:
    """The accuracy of all classes after ablating for one; a panel for each share.

    Args:
      report: with ablation.
      target: the class for which the units were chosen; its name is set bold.

    Raises:
      ValueError: there is no ablation.
    """
    shares = shares_of(report)
    if not shares:
        raise ValueError("there is no ablation to draw")
    original = original_accuracies(report)
    accuracies = {(w, s): ablated_accuracies(report, w, s, target) for s in shares for w in WHICH}
    classes = _shown_classes(accuracies, original, target)
    wide = max(7.5, 2.0 + 0.68 * len(classes))
    figure = new_figure(wide, 1.5 + 2.1 * len(shares))
    name = report.class_names[target]
    left_out = (
        f" ({len(classes)} of {len(original)} classes)" if len(classes) < len(original) else ""
    )
    heading(figure, f"{report.network}: accuracy after ablating units for {name}{left_out}")
    panels = figure.subplots(len(shares), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, share in zip(panels, shares, strict=True):
        _bars(axes, -1.5, original[classes], "original")
        for place, which in enumerate(WHICH):
            of_class = [accuracies[which, share][index] for index in classes]
            _bars(axes, place - 0.5, np.array([one.mean for one in of_class]), which)
            _intervals(axes, np.arange(len(classes)) + 0.2 * (place - 0.5), of_class)
        axes.set(xlim=(-0.6, len(classes) - 0.4), ylim=(0, 105))
        axes.set_ylabel(f"{100 * share:.3g} % of units\naccuracy, %")
        axes.grid(axis="y", alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    tick_names(panels[-1], [report.class_names[index] for index in classes], width=wide - 1.2)
    panels[-1].get_xticklabels()[classes.index(target)].set_fontweight("bold")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=4, fontsize=9, frameon=False)
    return figure


def _shown_classes(
    accuracies: Mapping[tuple[str, float], list[AblatedAccuracy]], original: np.ndarray, target: int
) -> list[int]:
    """All classes, or the target and those that any ablation changes most."""
    if len(original) <= MOST_CLASSES:
        return list(range(len(original)))
    means = np.array([[one.mean for one in row] for row in accuracies.values()])
    change = np.nan_to_num(np.abs(means - original)).max(0)
    change[target] = np.inf
    return sorted(int(index) for index in np.argsort(-change, kind="stable")[:MOST_CLASSES])


def _bars(axes: Axes, place: float, values: np.ndarray, kind: str) -> None:
    axes.bar(
        np.arange(len(values)) + 0.2 * place,
        100 * values,
        width=0.2,
        color=_COLOUR[kind],
        hatch=_HATCH[kind],
        edgecolor="white",
        linewidth=0.4,
        label=_LABEL[kind],
    )


def _intervals(axes: Axes, places: np.ndarray, values: list[AblatedAccuracy]) -> None:
    known = [i for i, one in enumerate(values) if np.isfinite([one.low, one.high]).all()]
    if known:
        low, high = ([100 * getattr(values[i], end) for i in known] for end in ("low", "high"))
        axes.vlines(places[known], low, high, color="black", linewidth=1)


def ablation_curves_figure(report: DissectionReport) -> Figure:
    """A panel for each class: its own accuracy against the share of units ablated for it.

    Bands and bars are the intervals of `AblatedAccuracy`. At most 20 classes, the first ones.

    Raises:
      ValueError: there is no ablation.
    """
    shares = shares_of(report)
    if not shares:
        raise ValueError("there is no ablation to draw")
    original = original_accuracies(report)
    targets = sorted({r["target_class"] for r in report.ablation or ()} - {None})
    shown = (targets or list(range(len(original))))[:MOST_CLASSES]
    columns = min(5, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(max(6.0, 1.0 + 2.1 * columns), 1.6 + 1.9 * rows)
    heading(figure, f"{report.network}: accuracy of a class after ablating units for it")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    x = 100 * np.array([0.0, *shares])
    # Sizes and dashes keep lines apart that lie upon each other.
    marker = {"most": ("v", 7.5, "-"), "random": ("s", 5.5, "-"), "least": ("o", 3, "--")}
    for axes, target in zip(grid.flat, shown, strict=False):
        for which in WHICH:
            found = [ablated_accuracies(report, which, share, target)[target] for share in shares]
            start = original[target]
            mean, low, high = (
                100 * np.array([start, *(getattr(one, end) for one in found)])
                for end in ("mean", "low", "high")
            )
            colour = _COLOUR[which]
            axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            kind, size, line = marker[which]
            axes.plot(x, mean, line, c=colour, marker=kind, markersize=size, label=_LABEL[which])
        axes.set_title(plain(report.class_names[target], 28), fontsize=9, loc="left")
        axes.set(ylim=(0, 105), xticks=x)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for place, axes in enumerate(grid.flat):
        if place + columns >= len(shown):  # the last of its column
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("units ablated, %", fontsize=9)
    figure.supylabel("accuracy, %", fontsize=10)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=3, fontsize=9, frameon=False)
    return figure
