"""What ablating the units of one class does to every other: the whole matrix behind Figs. 5, 6."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from jaxinterp.report.dissection_ablation import (
    ablated_accuracies,
    original_accuracies,
    shares_of,
)
from jaxinterp.report.dissection_data import DissectionReport
from jaxinterp.report.dissection_relevance import heat_cells
from jaxinterp.report.dissection_style import heading, new_figure, plain, tick_names

__all__ = ["entanglement", "entanglement_figure"]


def entanglement(report: DissectionReport, which: str, share: float) -> np.ndarray:
    """The drop of accuracy in percentage points of class j after ablating for class i.

    Args:
      report: with ablation.
      which: "most" or "least"; "random" gives one row, the mean over the draws.
      share: of the units of each layer.

    Returns:
      float [classes (ablated for), classes (tested)], or [1, classes] for "random"; NaN where
      nothing was measured.
    """
    original = original_accuracies(report)
    targets = [None] if which == "random" else range(len(report.class_names))
    return np.array(
        [
            [
                100 * (before - one.mean)
                for before, one in zip(
                    original, ablated_accuracies(report, which, share, target), strict=True
                )
            ]
            for target in targets
        ]
    )


def entanglement_figure(report: DissectionReport, share: float | None = None) -> Figure:
    """The matrices of the most and of the least relevant units, and the row of random ones.

    Args:
      report: with ablation.
      share: of the units of each layer; None takes the largest.

    Raises:
      ValueError: there is no ablation, or none with this share.
    """
    shares = shares_of(report)
    if not shares or (share is not None and share not in shares):
        raise ValueError(f"there is no ablation of the share {share}; there are {shares}")
    share = shares[-1] if share is None else share
    classes = len(report.class_names)
    random = entanglement(report, "random", share)
    has_random = bool(np.isfinite(random).any())
    matrices = []
    for which in ("most", "least"):
        matrix = entanglement(report, which, share)
        matrices.append(np.vstack([matrix, random]) if has_random else matrix)
    finite = [np.abs(matrix[np.isfinite(matrix)]) for matrix in matrices]
    top = max((float(values.max()) for values in finite if values.size), default=0.0) or 1.0
    side = max(2.4, 0.42 * min(classes, 40))
    figure = new_figure(3.2 + 2 * side, 2.3 + side + 0.3 * has_random)
    heading(figure, f"{report.network}: drop of accuracy, {100 * share:.3g} % of units ablated")
    panels = figure.subplots(1, 2, sharey=True)
    names = [*report.class_names, *(["(random units)"] if has_random else [])]
    image = None
    for axes, matrix, which in zip(panels, matrices, ("most", "least"), strict=True):
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto")
        axes.set_facecolor("#d9dde1")  # where nothing was measured
        texts = [["" if np.isnan(v) else f"{round(v)}" for v in row] for row in matrix]
        heat_cells(axes, texts, 1 - np.abs(np.nan_to_num(matrix)) / top, bright=0.35)
        axes.set_title(f"{which} relevant units", fontsize=10, loc="left")
        axes.set_xlabel("class tested")
        tick_names(axes, report.class_names, width=side)
        if has_random:
            axes.axhline(classes - 0.5, color="black", linewidth=1)
    tick_names(panels[0], names, along="y")
    panels[0].set_ylabel(plain("units chosen for"))
    assert image is not None  # there are two panels
    figure.colorbar(image, ax=panels, label="drop, percentage points", pad=0.01, aspect=20)
    return figure
