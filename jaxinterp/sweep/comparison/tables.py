"""The tables of a comparison: what each variant's inputs do, layer by layer."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxinterp.sweep.comparison.config import ComparisonConfig
from jaxinterp.sweep.comparison.paper import Published, published

__all__ = [
    "COLUMNS",
    "NOTES",
    "ComparedLayer",
    "ComparedRow",
    "Spread",
    "cells",
    "compared_layers",
    "overview",
    "paper_cells",
    "paper_columns",
    "to_csv",
    "to_markdown",
]

Record = Mapping[str, Any]

ALL_LAYERS = "all layers"
NO_NUMBER = "-"

NOTES = (
    "SSIM (S.): similarity of the selected kernel's map with the original's; the correlation where "
    "a map's side is under 7 px. MSE (R.): mean square of all other kernels' maps. MSE (S.): mean "
    "squared error of the selected map. Mean ± standard deviation over kernels and images.",
    "The baselines' seed is the kernel's whole feature map. What arrives at the normalised input "
    "is multiplied by one scalar, for each job the one of a fixed logarithmic grid (0.01 to 10 "
    "times the gain at which it has the original's root mean square, ten a decade) that gives the "
    "highest similarity (of gains within 0.01 of it, the one with the least MSE (S.)): no "
    "choice of a scale could be kinder to them.",
    "The blank image is the mean colour: it silences everything, and so shows what MSE (R.) is "
    "worth without the similarity.",
)


class Spread(NamedTuple):
    """Mean and (population) standard deviation over jobs."""

    mean: float
    std: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ± {self.std:.3f}"


@dataclasses.dataclass(frozen=True)
class ComparedRow:
    """One kind of input in one layer.

    Attributes:
      title: the variant's, "original" or "blank image".
      reference: whether it is one of the latter two.
      jobs: how many it is over.
      similarity, mse_rest, mse_selected: over those; None if there are none.
      share: the mean of `mse_rest` as a share of the original's.
      paper: what the paper has.
    """

    title: str
    reference: bool
    jobs: int
    similarity: Spread | None
    mse_rest: Spread | None
    mse_selected: Spread | None
    share: float | None
    paper: Published | None = None


@dataclasses.dataclass(frozen=True)
class ComparedLayer:
    """A layer's table.

    Attributes:
      layer: its name, or "all layers".
      similarity_is: "ssim", "correlation", or "ssim or correlation".
      rows: the original's, the blank image's, then one a variant.
      pairs: how many pairs of a kernel and an image were asked.
      silent: how many of them are left out, the kernel being silent on the image.
      failed: how many jobs are left out, having no finite result.
    """

    layer: str
    similarity_is: str
    rows: tuple[ComparedRow, ...]
    pairs: int
    silent: int
    failed: int

    @property
    def note(self) -> str:
        text = f"{self.pairs} pairs of a kernel and an image"
        if self.silent:
            text += f", {self.silent} of them silent and left out"
        if self.failed:
            text += f"; {self.failed} jobs failed"
        if self.similarity_is == "correlation":
            text += ". The similarity is the correlation here"
        elif self.similarity_is not in ("", "ssim"):
            text += ". The similarity is SSIM or the correlation, by layer"
        return text + "."


def compared_layers(
    config: ComparisonConfig, records: Sequence[Record], layers: Sequence[str]
) -> list[ComparedLayer]:
    """The tables of all layers, and one of all together where there are several.

    Args:
      config: the comparison's.
      records: of finished jobs; those that are not for the tables are passed over.
      layers: names, in the order of the config.
    """
    records = [record for record in records if record["tabled"]]
    tables = [
        _compared(config, layer, [r for r in records if r["layer"] == layer], number)
        for number, layer in enumerate(layers)
    ]
    if len(layers) > 1:
        tables.append(_compared(config, ALL_LAYERS, records, None))
    return tables


def _compared(
    config: ComparisonConfig, layer: str, records: Sequence[Record], number: int | None
) -> ComparedLayer:
    done = [record for record in records if record["status"] == "done"]
    # The original and the blank image are the same for every variant: one record a pair.
    pairs = {(r["layer"], r["kernel"], r["image"]): r for r in done}
    asked = {(r["layer"], r["kernel"], r["image"]): r["status"] for r in records}
    original = [r["mse_rest_original"] for r in pairs.values()]
    power = float(np.mean(original)) if original else 0.0
    rows = [
        _row("original", pairs.values(), None, "mse_rest_original", None, power),
        _row(
            "blank image",
            pairs.values(),
            "similarity_blank",
            "mse_rest_blank",
            "mse_selected_blank",
            power,
        ),
    ]
    for variant in config.variants:
        own = [record for record in done if record["variant"] == variant.title]
        paper = published(config, variant, number)
        row = _row(variant.title, own, "similarity", "mse_rest", "mse_selected", power)
        rows.append(dataclasses.replace(row, reference=False, paper=paper))
    names = sorted({record["similarity_is"] for record in records}, reverse=True)
    return ComparedLayer(
        layer=layer,
        similarity_is=" or ".join(names),
        rows=tuple(rows),
        pairs=len(asked),
        silent=list(asked.values()).count("silent"),
        failed=sum(record["status"] == "failed" for record in records),
    )


def _row(
    title: str,
    records: Iterable[Record],
    similarity: str | None,
    rest: str,
    selected: str | None,
    original: float,
) -> ComparedRow:
    """Of a reference; for names that are None the values are those of a perfect copy."""
    records = list(records)
    if not records:
        return ComparedRow(title, True, 0, None, None, None, None)

    def spread(name: str | None, perfect: float) -> Spread:
        values = [perfect if name is None else record[name] for record in records]
        return Spread(float(np.mean(values)), float(np.std(values)))

    mse_rest = spread(rest, 0.0)
    return ComparedRow(
        title=title,
        reference=True,
        jobs=len(records),
        similarity=spread(similarity, 1.0),
        mse_rest=mse_rest,
        mse_selected=spread(selected, 0.0),
        share=mse_rest.mean / original if original > 0 else None,
    )


COLUMNS = ("input", "SSIM (S.)", "MSE (R.)", "of the original's", "MSE (S.)")
_PAPER_COLUMNS = ("paper's SSIM (S.)", "paper's MSE (R.)")


def cells(row: ComparedRow) -> tuple[str, ...]:
    """A row's texts, in the order of `COLUMNS`."""
    if not row.jobs:
        return (row.title, *(NO_NUMBER,) * (len(COLUMNS) - 1))
    share = NO_NUMBER if row.share is None else f"{row.share:.1%}"
    return (row.title, str(row.similarity), str(row.mse_rest), share, str(row.mse_selected))


def paper_columns(table: ComparedLayer) -> tuple[str, ...]:
    """The titles of the paper's columns, if the paper has anything for this table."""
    return _PAPER_COLUMNS if any(row.paper for row in table.rows) else ()


def paper_cells(row: ComparedRow) -> tuple[str, str]:
    """The paper's figures for a row, empty where it has none."""
    if row.paper is None:
        return "", ""
    paper = row.paper
    return (
        f"{paper.similarity:.2f} ± {paper.similarity_std:.2f}",
        f"{paper.mse_rest:.2f} ± {paper.mse_rest_std:.2f}",
    )


def overview(
    tables: Sequence[ComparedLayer],
) -> tuple[tuple[str, ...], list[tuple[tuple[str, ...], bool]]]:
    """All layers side by side, as in the paper's Table 1.

    Returns:
      (columns, rows), a row being its texts and whether it is a reference.
    """
    titles = [f"{table.layer} {name}" for table in tables for name in ("SSIM (S.)", "MSE (R.)")]
    rows = []
    for same in zip(*(table.rows for table in tables), strict=True):
        texts = [same[0].title]
        for row in same:
            both = (row.similarity, row.mse_rest)
            texts += [NO_NUMBER if spread is None else f"{spread.mean:.3f}" for spread in both]
        rows.append((tuple(texts), same[0].reference))
    return ("input", *titles), rows


def to_markdown(config: ComparisonConfig, tables: Sequence[ComparedLayer]) -> str:
    """All tables in Markdown; the variant with the highest similarity is set in bold."""
    lines = [f"# {_escaped(config.title)}", ""]
    columns, rows = overview(tables)
    lines += ["| " + " | ".join(map(_escaped, columns)) + " |"]
    lines += ["| --- " + "| ---: " * (len(columns) - 1) + "|"]
    lines += ["| " + " | ".join(map(_escaped, texts)) + " |" for texts, _ in rows]
    lines.append("")
    for table in tables:
        columns = (*COLUMNS, *paper_columns(table))
        lines += [f"## {_escaped(table.layer)}", ""]
        lines += [
            "| " + " | ".join(columns) + " |",
            "| --- " + "| ---: " * (len(columns) - 1) + "|",
        ]
        best = max(
            (row.similarity.mean for row in table.rows if row.similarity and not row.reference),
            default=None,
        )
        for row in table.rows:
            texts = list(cells(row))
            if row.similarity and not row.reference and row.similarity.mean == best:
                texts[1] = f"**{texts[1]}**"
            texts[0] = _escaped(texts[0])
            if paper_columns(table):
                texts += paper_cells(row)
            lines.append("| " + " | ".join(texts) + " |")
        lines += ["", table.note, ""]
    lines += ["## Notes", "", *(f"- {note}" for note in NOTES), ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def to_csv(tables: Sequence[ComparedLayer]) -> str:
    """All tables as one in CSV, a line for each layer and input, numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measures = ("similarity", "mse_rest", "mse_selected")
    writer.writerow(
        [
            *("layer", "input", "reference", "similarity_is", "jobs"),
            *(f"{name}_{part}" for name in measures for part in ("mean", "std")),
            "mse_rest_of_original",
            *(f"paper_{name}" for name in Published._fields),
        ]
    )
    for table in tables:
        for row in table.rows:
            spreads = [value for name in measures for value in getattr(row, name) or (None, None)]
            writer.writerow(
                [
                    *(table.layer, row.title, row.reference, table.similarity_is, row.jobs),
                    *spreads,
                    row.share,
                    *(row.paper or (None,) * len(Published._fields)),
                ]
            )
    return text.getvalue()
