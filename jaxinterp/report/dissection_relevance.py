"""Relevance of each layer for each class as a heat map: the form of the paper's Fig. 4."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxinterp.report.dissection_data import DissectionReport
from jaxinterp.report.dissection_style import heading, new_figure, tick_names
from jaxinterp.report.pixels import COLOUR_MAP, number

__all__ = ["heat_cells", "layer_relevance", "relevance_figure"]


def layer_relevance(report: DissectionReport) -> tuple[tuple[str, ...], np.ndarray]:
    """The relevance of each layer: the sum over its units, which NaN do not enter.

    Returns:
      the layers that have relevance, in the network's order, and float64 [layers, classes].
    """
    relevance = report.relevance or {}
    layers = tuple(layer for layer in report.layers if layer in relevance)
    sums = [np.nansum(relevance[layer].astype(np.float64), axis=0) for layer in layers]
    return layers, np.array(sums).reshape(len(layers), len(report.class_names))


def relevance_figure(report: DissectionReport, *, per_class: bool = False) -> Figure:
    """A row for each class, a column for each layer; the numbers are written if there is room.

    Args:
      report: with relevance.
      per_class: divide the values of a class by the largest of them, so that a class with little
        relevance in all layers shows its own pattern.

    Raises:
      ValueError: there is no relevance.
    """
    layers, values = layer_relevance(report)
    if not values.size:
        raise ValueError("there is no relevance to draw")
    values = values.T
    name = "relevance, sum over units"
    if per_class:
        most = values.max(1, keepdims=True)
        values = values / np.where(most > 0, most, 1.0)
        name = "share of the class's largest"
    wide = max(6.5, 2.6 + 0.52 * len(layers))
    figure = new_figure(wide, max(3.4, 1.9 + 0.32 * len(values)))
    heading(figure, f"{report.network}: relevance of layers for classes")
    axes = figure.subplots()
    top = float(values.max())
    image = axes.imshow(values, cmap=COLOUR_MAP, vmin=0, vmax=top if top > 0 else 1, aspect="auto")
    texts = [[f"{v:.2f}" if per_class else number(float(v)) for v in row] for row in values]
    heat_cells(axes, texts, values / top if top > 0 else values, bright=0.6)
    tick_names(axes, layers, width=wide - 2.4)
    tick_names(axes, report.class_names, along="y")
    figure.colorbar(image, ax=axes, label=name, pad=0.01, aspect=15)
    return figure


def heat_cells(axes: Axes, texts: list[list[str]], shade: np.ndarray, *, bright: float) -> None:
    """Writes a text into each cell, dark where `shade` is above `bright`; none in large matrices.

    Args:
      axes: with the matrix drawn by `imshow`.
      texts: for each row and column.
      shade: float [rows, columns], how light the cell's colour is.
      bright: the bound between white and dark text.
    """
    if max(shade.shape) > 24:
        return
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            colour = "black" if shade[row, column] > bright else "white"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
