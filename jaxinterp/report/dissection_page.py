"""A dissection's results as one HTML page: tables, figures, and a table of all units.

The page is self-contained, as that of any run. Its figures are written beside it, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from jaxinterp.errors import UserError
from jaxinterp.report.comparison_page import Drawing
from jaxinterp.report.dissection_ablation import ablation_curves_figure, ablation_figure, shares_of
from jaxinterp.report.dissection_data import DissectionReport
from jaxinterp.report.dissection_detectors import concept_figure, detector_figure
from jaxinterp.report.dissection_entanglement import entanglement_figure
from jaxinterp.report.dissection_relevance import relevance_figure
from jaxinterp.report.dissection_scatter import effect_figure, relevance_scatter_figure
from jaxinterp.report.dissection_style import png
from jaxinterp.report.dissection_tables import summary_tables, unit_rows, whole_range
from jaxinterp.report.dissection_units import unit_figure
from jaxinterp.report.page_frame import asset, page_environment, script_hash
from jaxinterp.report.pixels import number
from jaxinterp.report.replace_file import replace_file

__all__ = ["dissection_drawings", "write_dissection_page"]

_ROWS = 6
"""Units of one figure."""

_MOST_TARGETS = 12
"""Classes with a chart of their own; the matrix has them all."""


def write_dissection_page(folder: Path, report: DissectionReport) -> Path:
    """Writes `folder/index.html` and `folder/figures/*.png`.

    Each file appears under its name only when it is complete; files already there are replaced,
    others are left alone.

    Args:
      folder: is created if it is missing.
      report: the results.

    Returns:
      The path of the page.

    Raises:
      UserError: the folder cannot be written.
    """
    page = Path(folder) / "index.html"
    drawings = list(dissection_drawings(report))
    try:
        (page.parent / "figures").mkdir(parents=True, exist_ok=True)
        for drawing in drawings:
            replace_file(page.parent / "figures" / drawing.name, drawing.png)
        # Names come from the file system and may hold what UTF-8 cannot.
        replace_file(page, _html(report, drawings).encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(
            f"The report cannot be written to {folder}: {error.strerror or error}."
        ) from error
    return page


def dissection_drawings(report: DissectionReport) -> Iterator[Drawing]:
    """The figures that the results allow, in the order of the page."""
    units = sum(report.units.values())
    seen = f"{units} units, {report.images} images" if report.images else f"{units} units"
    if report.concepts:
        yield Drawing(
            "detectors.png",
            "Detectors of each layer by the category of the concept that the unit detects best "
            "(Fig. 2 of the paper), above in units, below in different concepts. Over a bar: "
            f"detectors of the layer's units. {seen}.",
            png(detector_figure(report)),
        )
        yield Drawing(
            "concepts.png",
            f"The concepts with the most detectors in all layers together. {seen}.",
            png(concept_figure(report)),
        )
    examples = [example for example in report.examples if example.pictures]
    for first in range(0, len(examples), _ROWS):
        shown = tuple(examples[first : first + _ROWS])
        names = "; ".join(f"{one.layer} unit {one.unit}, {one.concept}" for one in shown)
        yield Drawing(
            f"units_{first // _ROWS + 1}.png",
            "Units over annotated images (Fig. 3 of the paper): lit and outlined in yellow where "
            f"the unit is active, outlined in blue where the concept is annotated. {names}.",
            unit_figure(report, shown),
        )
    yield from _relevance_drawings(report)
    yield from _ablation_drawings(report)


def _relevance_drawings(report: DissectionReport) -> Iterator[Drawing]:
    has_concept = any(concept >= 0 for concept in report.class_concepts)
    if report.relevance and report.class_names:
        images = ""
        if report.class_images:
            images = f" Means over {whole_range(report.class_images)} images of a class."
        yield Drawing(
            "relevance_layers.png",
            "Relevance of each layer for each class, Eq. 3 summed over the layer's units (Fig. 4 "
            f"of the paper).{images}",
            png(relevance_figure(report)),
        )
        yield Drawing(
            "relevance_layers_per_class.png",
            "The same, each class divided by its largest value, so that the layers of a class can "
            "be compared where its relevance is low.",
            png(relevance_figure(report, per_class=True)),
        )
        if has_concept:
            yield Drawing(
                "iou_relevance.png",
                "Each point a unit: its IoU with the class's concept, and its relevance for the "
                "class (logarithmic). Spearman's rank correlation over all units, and the mean of "
                f"that of each layer.{images}",
                png(relevance_scatter_figure(report)),
            )
    if report.effects and has_concept:
        yield Drawing(
            "iou_effect.png",
            "Each point a unit: its IoU with the class's concept, and what its ablation alone does "
            f"to the class ({report.effect_name}); above 0 the class suffers.",
            png(effect_figure(report)),
        )


def _ablation_drawings(report: DissectionReport) -> Iterator[Drawing]:
    if not shares_of(report):
        return
    rows = report.ablation or ()
    tested = f"Tested on {whole_range([row['images'] for row in rows])} images of a class."
    targets = sorted({row["target_class"] for row in rows} - {None})
    bars = "Lines on bars: of random units 95 % of the draws, else the interval of the drop."
    yield Drawing(
        "ablation_curves.png",
        "Accuracy of each class after ablating, in each layer, the units most and least relevant "
        f"for it and random ones. Bands: 95 % of the draws, or the interval of the drop. {tested}",
        png(ablation_curves_figure(report)),
    )
    yield Drawing(
        "entanglement.png",
        "Drop of accuracy in percentage points: rows are the classes for which units were ablated, "
        f"columns the classes tested; red is a loss. Below, the mean of random units. {tested}",
        png(entanglement_figure(report)),
    )
    for target in targets[:_MOST_TARGETS]:
        name = report.class_names[target]
        yield Drawing(
            f"ablation_{target}_{re.sub(r'[^A-Za-z0-9.-]+', '_', name).strip('._')[:60]}.png",
            f"Accuracy of all classes after ablating for {name} (Figs. 5 and 6 of the paper). "
            f"{bars} {tested}",
            png(ablation_figure(report, target)),
        )


def _html(report: DissectionReport, drawings: list[Drawing]) -> str:
    environment = page_environment()
    environment.filters["number"] = number
    environment.filters["numeric_columns"] = _numeric_columns
    script = asset("dissection.js")
    rows = unit_rows(report)
    content: dict[str, Any] = {
        "report": report,
        "tables": summary_tables(report),
        "drawings": drawings,
        "rows": rows,
        "total": sum(report.units.values()),
        "with_concepts": bool(report.concepts),
        "with_relevance": report.relevance is not None,
        "with_effects": report.effects is not None,
        "style": Markup(asset("page.css")),
        "script": Markup(script),
        "script_hash": script_hash(script),
    }
    return environment.get_template("dissection.html.j2").render(content)


def _numeric_columns(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Whether all cells of a column begin as a number does, or are dashes."""
    begins = re.compile(r"[-+\u2212]?[\d.]|[\u2013-]?$")
    return [all(begins.match(cell) for cell in cells) for cells in zip(*rows, strict=True)]
