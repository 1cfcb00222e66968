"""A unit's IoU with the concept of a class against its relevance, or its effect, for that class."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from jaxinterp.metrics.ranks import weighted_rank_correlation
from jaxinterp.report.dissection_data import DissectionReport
from jaxinterp.report.dissection_style import FAINT, heading, new_figure, plain

__all__ = ["effect_figure", "relevance_scatter_figure"]

_COLUMNS = 4
# Without the light end of the scale, which would not be seen on white.
_COLOURS = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.88, 256)))
MOST_PANELS = 12
"""Classes beyond these are not drawn; the figure says so."""


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation in [-1, 1]; ties get their mean rank.

    Args:
      first: float [n].
      second: float [n]; pairs with a value that is not finite are left out.

    Returns:
      NaN for less than three pairs, or where one side is constant.
    """
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 3:
        return float("nan")
    first, second = first[known].astype(np.float64), second[known].astype(np.float64)
    return float(weighted_rank_correlation(first, second, np.ones(len(first))))


def relevance_scatter_figure(report: DissectionReport) -> Figure:
    """A panel for each class that has a concept: each unit of each layer is a point.

    Relevance is on a logarithmic axis; values under a hundred-thousandth of the largest are drawn
    there. The panel's title gives the rank correlation over all units, and the mean of the layers'.

    Raises:
      ValueError: there is no relevance, or no class has a concept.
    """
    if report.relevance is None:
        raise ValueError("there is no relevance to draw")
    figure, panels = _panels(report, report.relevance, "IoU and relevance of units")
    for axes, index in panels:
        values = np.concatenate([v[:, index] for v in report.relevance.values()])
        positive = values[np.isfinite(values) & (values > 0)]
        high = float(positive.max()) if positive.size else 1.0
        low = max(float(positive.min()), high * 1e-5) if positive.size else 0.1
        axes.set(yscale="log", ylim=(low / 1.6, high * 1.6))
        _points(axes, report, report.relevance, index, floor=low)
    figure.supylabel("relevance for the class", fontsize=10)
    return figure


def effect_figure(report: DissectionReport) -> Figure:
    """A panel for each class that has a concept: IoU against what the unit's ablation costs.

    Raises:
      ValueError: there are no effects, or no class has a concept.
    """
    if report.effects is None:
        raise ValueError("there are no effects to draw")
    figure, panels = _panels(report, report.effects, "IoU of units and effect of their ablation")
    for axes, index in panels:
        axes.axhline(0, color=FAINT, linewidth=0.8)
        _points(axes, report, report.effects, index, floor=None)
    figure.supylabel(plain(report.effect_name), fontsize=10)
    return figure


def _panels(
    report: DissectionReport, by_layer: Mapping[str, np.ndarray], title: str
) -> tuple[Figure, list[tuple[Axes, int]]]:
    """A figure with axes for each class that has a concept, with its title and colours."""
    classes = [i for i, concept in enumerate(report.class_concepts) if concept >= 0]
    layers = [layer for layer in report.layers if layer in by_layer]
    if not classes or not layers:
        raise ValueError("no class has a concept, or no layer has values")
    shown = classes[:MOST_PANELS]
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(max(5.5, 1.4 + 2.75 * columns), 1.3 + 2.75 * rows)
    left_out = f" ({len(shown)} of {len(classes)} classes)" if len(shown) < len(classes) else ""
    heading(figure, f"{report.network}: {title}{left_out}")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, index in zip(grid.flat, shown, strict=False):
        concept = report.class_concepts[index]
        ious = [report.iou[layer][:, concept] for layer in layers]
        values = [by_layer[layer][:, index] for layer in layers]
        pooled = _rank_correlation(np.concatenate(ious), np.concatenate(values))
        within = [_rank_correlation(a, b) for a, b in zip(ious, values, strict=True)]
        known = [one for one in within if np.isfinite(one)]
        mean = float(np.mean(known)) if known else float("nan")
        name, word = report.class_names[index], report.concepts[concept][0]
        heading_text = plain(name if name == word else f"{name} ~ {word}", 34)
        axes.set_title(
            f"{heading_text}\nrank correlation {_signed(pooled)}\nmean of layers {_signed(mean)}",
            fontsize=9,
            loc="left",
        )
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.tick_params(labelsize=8)
        axes.locator_params(axis="x", nbins=4)
        axes.spines[["top", "right"]].set_visible(False)
    units = sum(report.units[layer] for layer in layers)
    figure.supxlabel(f"IoU with the class's concept; n = {units} units a panel", fontsize=10)
    norm = BoundaryNorm(np.arange(len(layers) + 1) - 0.5, 256)
    scale = ScalarMappable(norm, _COLOURS)
    step = -(-len(layers) // 20)
    bar = figure.colorbar(scale, ax=grid.ravel().tolist(), aspect=40, pad=0.01)
    bar.set_ticks(range(0, len(layers), step), labels=[plain(x, 20) for x in layers[::step]])
    bar.ax.tick_params(labelsize=8)
    bar.ax.invert_yaxis()
    return figure, list(zip(grid.flat, shown, strict=False))


def _points(
    axes: Axes,
    report: DissectionReport,
    by_layer: Mapping[str, np.ndarray],
    index: int,
    *,
    floor: float | None,
) -> None:
    layers = [layer for layer in report.layers if layer in by_layer]
    colours = _COLOURS(np.linspace(0, 1, max(len(layers), 2)))
    for layer, colour in zip(layers, colours, strict=False):
        iou = report.iou[layer][:, report.class_concepts[index]]
        values = by_layer[layer][:, index]
        if floor is not None:
            values = np.maximum(values, floor)  # NaN stays, and is not drawn
        axes.scatter(iou, values, s=9, color=colour, alpha=0.65, linewidths=0)
    axes.set_xlim(left=0)


def _signed(value: float) -> str:
    return f"{value:+.2f}" if np.isfinite(value) else "\N{EN DASH}"
