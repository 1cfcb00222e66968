"""Detectors per layer and category, the form of the paper's Fig. 2, and the concepts found most."""

from __future__ import annotations

from collections import Counter

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from jaxinterp.methods.dissection import detectors, top_concepts
from jaxinterp.report.dissection_data import DissectionReport
from jaxinterp.report.dissection_style import (
    FAINT,
    category_colours,
    heading,
    new_figure,
    plain,
    tick_names,
)

__all__ = ["concept_figure", "concept_units", "detector_counts", "detector_figure"]


def detector_counts(report: DissectionReport) -> tuple[np.ndarray, np.ndarray]:
    """Detectors, and the different concepts that they detect, per layer and category.

    A unit whose best concept has an IoU above the cutoff counts for the category of that concept,
    and counts once. An IoU that is NaN is no detection.

    Returns:
      detectors, int [layers, categories], and different concepts, int [layers, categories].
    """
    index = {category: i for i, category in enumerate(report.categories)}
    category_of = np.array([index[category] for _, category in report.concepts], int)
    shape = (len(report.layers), len(index))
    units, concepts = np.zeros(shape, int), np.zeros(shape, int)
    for row, iou in enumerate(report.iou.values()):
        if iou.size:
            found = detectors(np.nan_to_num(iou), category_of, len(index), cutoff=report.cutoff)
            units[row], concepts[row] = found.units, found.concepts
    return units, concepts


def detector_figure(report: DissectionReport) -> Figure:
    """Stacked bars: the detectors of each layer by the category of their best concept.

    Above a bar stand its detectors and the layer's units; below, the different concepts are drawn
    in the same way, so that a layer with many detectors of one concept is told from one with many
    concepts.
    """
    found, unique = detector_counts(report)
    wide = max(7.0, 1.6 + 0.62 * len(report.layers))
    figure = new_figure(wide, 7.2)
    heading(figure, f"{report.network}: detectors per layer")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    colours = category_colours(report.categories)
    units = list(report.units.values())
    for axes, counts in ((above, found), (below, unique)):
        foot = np.zeros(len(report.layers), int)
        for index, category in enumerate(report.categories):
            values = counts[:, index]
            axes.bar(
                range(len(values)),
                values,
                bottom=foot,
                color=colours[category],
                edgecolor="white",
                linewidth=0.5,
                width=0.75,
            )
            foot += values
        axes.set_ylim(0, max(1.0, 1.14 * float(foot.max(initial=0))))
        axes.grid(axis="y", alpha=0.25, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    for layer, (count, total) in enumerate(zip(found.sum(1), units, strict=True)):
        text = f"{count}\nof {total}"
        above.annotate(
            text, (layer, count), (0, 2), textcoords="offset points", ha="center", fontsize=7.5
        )
    for layer, count in enumerate(unique.sum(1)):
        below.annotate(
            str(count),
            (layer, count),
            (0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
        )
    above.set_ylim(0, max(1.0, 1.2 * float(found.sum(1).max(initial=0))))
    above.set_ylabel(f"detectors (units with IoU > {report.cutoff:g})")
    below.set_ylabel("different concepts")
    tick_names(below, report.layers, width=wide - 1.4)
    # Every category stands in the legend, also where it has no detector: that is a finding.
    handles = [Patch(color=colours[c], label=plain(c, 28)) for c in report.categories]
    if handles:
        figure.legend(handles=handles, loc="outside right upper", fontsize=9, frameon=False)
    if not found.any():
        above.text(0.5, 0.5, "no detector", transform=above.transAxes, ha="center", color=FAINT)
    return figure


def concept_units(report: DissectionReport) -> list[tuple[int, int]]:
    """(concept, detectors) of each concept that a unit detects best, most first, then by index."""
    counts: Counter[int] = Counter()
    for values in report.iou.values():
        top = top_concepts(np.nan_to_num(values), 1)
        counts.update(int(concept) for concept in top.concepts[top.iou > report.cutoff])
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def concept_figure(report: DissectionReport, most: int = 30) -> Figure:
    """Bars: the concepts with the most detectors in all layers together, at most `most`."""
    found = concept_units(report)
    shown = found[:most]
    figure = new_figure(7.5, 1.7 + 0.24 * max(len(shown), 2))
    title = f"{report.network}: concepts with the most detectors"
    heading(figure, title, f"{len(shown)} of {len(found)} concepts that have a detector")
    axes = figure.subplots()
    colours = category_colours(report.categories)
    bars = axes.barh(
        range(len(shown)),
        [count for _, count in shown],
        color=[colours[report.concepts[concept][1]] for concept, _ in shown],
        height=0.75,
    )
    axes.bar_label(bars, padding=3, fontsize=8)
    tick_names(axes, [report.concepts[concept][0] for concept, _ in shown], along="y", most=32)
    axes.invert_yaxis()
    axes.set_xlabel(f"detectors (units with IoU > {report.cutoff:g})")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not shown:
        axes.text(0.5, 0.5, "no detector", transform=axes.transAxes, ha="center", color=FAINT)
        axes.set_xlim(0, 1)
    used = [c for c in report.categories if c in {report.concepts[i][1] for i, _ in shown}]
    if used:
        handles = [Patch(color=colours[c], label=plain(c, 28)) for c in used]
        figure.legend(handles=handles, loc="outside right upper", fontsize=9, frameon=False)
    return figure
