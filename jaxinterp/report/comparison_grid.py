"""A grid of inputs and feature maps with headings: the form of the paper's Fig. 4 to 8.

The pictures are magnified without smoothing, so that a value of a map is a sharp square.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import textwrap
from collections.abc import Sequence
from typing import TypeAlias

import matplotlib
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from jaxinterp.report.pixels import colour_map, to_bytes

__all__ = [
    "Cell",
    "DifferenceCell",
    "GridGroup",
    "GridRow",
    "MapCell",
    "PictureCell",
    "grid_figure",
    "stretched",
]

_MARGIN, _GAP, _GUTTER = 24, 10, 118
_INK, _FAINT, _FRAME = (28, 33, 39), (92, 102, 112), (190, 195, 200)
_GREY = 128  # where a value is not finite


@dataclasses.dataclass(frozen=True, eq=False)
class PictureCell:
    """An input, float [h, w, 3], clipped to [0, 1] for display."""

    pixels: np.ndarray
    caption: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class MapCell:
    """A feature map, float [h, w], drawn from 0 to `top`."""

    values: np.ndarray
    top: float
    caption: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class DifferenceCell:
    """A difference of maps, float [h, w], from `-top` (blue) over 0 (white) to `top` (red)."""

    values: np.ndarray
    top: float
    caption: str = ""


Cell: TypeAlias = PictureCell | MapCell | DifferenceCell | None
"""None leaves the place empty."""


@dataclasses.dataclass(frozen=True, eq=False)
class GridRow:
    """A row: the text at its left, and a cell for each column."""

    label: str
    cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class GridGroup:
    """Rows that belong together, under a title (none if it is empty)."""

    title: str
    rows: tuple[GridRow, ...]


def stretched(pixels: np.ndarray) -> np.ndarray:
    """Pixels scaled and shifted so that all but the extreme values fill [0, 1] (Fig. 8).

    The lowest and the highest hundredth of the values end below 0 and above 1. One scale for all
    channels, so that hues stay. A picture of one colour is left as it is; values that are not
    finite do not count.
    """
    finite = pixels[np.isfinite(pixels)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 0.0)
    return (pixels - low) / (high - low) if high > low else pixels


def grid_figure(
    title: str, columns: Sequence[str], groups: Sequence[GridGroup], note: str = ""
) -> bytes:
    """Draws a grid.

    Args:
      title: its heading.
      columns: a heading for each column.
      groups: the rows.
      note: a sentence at the foot.

    Returns:
      The bytes of a PNG.

    Raises:
      ValueError: there is nothing to draw, or a row with another number of cells than columns.
    """
    rows = [row for group in groups for row in group.rows]
    for row in rows:
        if len(row.cells) != len(columns):
            raise ValueError(f"row {row.label!r} has {len(row.cells)} cells, not {len(columns)}")
    shown = [cell for row in rows for cell in row.cells if cell is not None]
    if not shown:
        raise ValueError("there is nothing to draw")
    inputs = [cell.pixels.shape[:2] for cell in shown if isinstance(cell, PictureCell)]
    maps = [cell.values.shape for cell in shown if not isinstance(cell, PictureCell)]
    side = _side(max(map(max, inputs or maps)))
    width = 2 * _MARGIN + _GUTTER + len(columns) * (side + _GAP) - _GAP
    width = max(width, 480)
    headings = [_lines(heading, side, 11) for heading in columns]
    heading_height = 15 * max(map(len, headings))
    notes = textwrap.wrap(note, max(40, (width - 2 * _MARGIN) // 7))
    height = _MARGIN + 30 + heading_height + _GAP
    for group in groups:
        height += 26 if group.title else 0
        height += sum(side + _caption_height(row) + _GAP for row in group.rows) + 6
    height += 16 * len(notes) + _MARGIN

    page = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(page)
    _text(pen, _MARGIN, _MARGIN - 6, _fitting(title, width - 2 * _MARGIN, 15), 15, _INK, bold=True)
    y = _MARGIN + 30
    for index, lines in enumerate(headings):
        for line, text in enumerate(lines):
            top = y + heading_height - 15 * (len(lines) - line)
            _text(pen, _left(index, side), top, text, 11, _INK, bold=True)
    y += heading_height + _GAP
    for group in groups:
        if group.title:
            _text(pen, _MARGIN, y + 4, _fitting(group.title, width - 2 * _MARGIN, 13), 13, _INK)
            y += 26
        for row in group.rows:
            for line, text in enumerate(_lines(row.label, _GUTTER - 8, 11)):
                _text(pen, _MARGIN, y + 15 * line, text, 11, _FAINT)
            for index, cell in enumerate(row.cells):
                if cell is None:
                    continue
                x = _left(index, side)
                picture = _scaled(_pixels(cell), side)
                pen.rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=_FRAME)
                page.paste(picture, (x, y))
                if cell.caption:
                    _text(pen, x, y + side + 2, _fitting(cell.caption, side, 10), 10, _FAINT)
            y += side + _caption_height(row) + _GAP
        y += 6
    for line in notes:
        _text(pen, _MARGIN, y, line, 11, _FAINT)
        y += 16
    content = io.BytesIO()
    page.save(content, "PNG", optimize=True)
    return content.getvalue()


def _side(pixels: int) -> int:
    """The side of all cells: near 128 px and, where that can be, a whole multiple of `pixels`."""
    multiple = 160 // pixels * pixels
    return multiple if multiple >= 96 else min(pixels, 160)


def _left(column: int, side: int) -> int:
    return _MARGIN + _GUTTER + column * (side + _GAP)


def _caption_height(row: GridRow) -> int:
    return 16 if any(cell is not None and cell.caption for cell in row.cells) else 0


def _pixels(cell: PictureCell | MapCell | DifferenceCell) -> np.ndarray:
    """uint8 [h, w, 3]."""
    if isinstance(cell, PictureCell):
        return to_bytes(np.broadcast_to(cell.pixels, (*cell.pixels.shape[:2], 3)))
    top = cell.top if cell.top > 0 else 1.0
    if isinstance(cell, MapCell):
        return colour_map(cell.values, top)
    share = np.clip(np.nan_to_num(cell.values / top), -1, 1) / 2 + 0.5
    colours = matplotlib.colormaps["RdBu_r"](share, bytes=True)[..., :3]
    return np.where(np.isfinite(cell.values)[..., None], colours, _GREY).astype(np.uint8)


def _scaled(pixels: np.ndarray, side: int) -> Image.Image:
    longest = max(pixels.shape[:2])
    size = [max(1, round(length * side / longest)) for length in pixels.shape[1::-1]]
    method = Image.Resampling.BOX if longest > side else Image.Resampling.NEAREST
    return Image.fromarray(pixels).resize((size[0], size[1]), method)


@functools.cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    properties = font_manager.FontProperties(
        family="DejaVu Sans", weight="bold" if bold else "normal"
    )
    return ImageFont.truetype(font_manager.findfont(properties), size)


def _text(
    pen: ImageDraw.ImageDraw,
    x: int,
    y: int,
    text: str,
    size: int,
    colour: tuple[int, int, int],
    *,
    bold: bool = False,
) -> None:
    pen.text((x, y), text, font=_font(size, bold), fill=colour)


def _fitting(text: str, width: int, size: int) -> str:
    """One line, cut in the middle where it is too long."""
    text = " ".join(text.split())
    font = _font(size, True)
    short = text
    keep = len(text)
    while keep > 4 and font.getlength(short) > width:
        keep -= 1
        short = f"{text[: keep // 2]}…{text[len(text) - (keep - keep // 2 - 1) :]}"
    return short


def _lines(text: str, width: int, size: int, most: int = 3) -> list[str]:
    """At most so many lines; the last takes what is left, cut in the middle."""
    font = _font(size, True)
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < most - 1:
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        lines.append(_fitting(" ".join(words[:count]), width, size))
        words = words[count:]
    if words:
        lines.append(_fitting(" ".join(words), width, size))
    return lines or [""]
