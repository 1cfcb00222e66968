"""One job as a figure in the form of the paper's Fig. 2.

matplotlib sets the text; the pictures are put between it pixel by pixel, magnified without
smoothing, so that a value of a map is a sharp square. That is also several times faster than axes.
"""

from __future__ import annotations

import functools
import io
from typing import Literal

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform
from PIL import Image

from jaxinterp.report.pixels import colour_map, display_notes, map_top, number, peak, to_bytes
from jaxinterp.report.views import JobView, MapView

__all__ = ["kernel_figure"]

_DPI = 100
_MARGIN, _GAP = 28, 20
_TITLE = 48  # two lines above the pictures of a row
_BAR, _BAR_TEXT = 12, 62
_LINE = 17
_INK, _FAINT, _ACCENT, _WARN = "#1c2127", "#5c6670", "#b3410e", "#a1101f"
_FRAME = np.array([190, 195, 200], np.uint8)
_FONT = "DejaVu Sans"  # comes with matplotlib


def kernel_figure(view: JobView) -> bytes:
    """The job as a picture: inputs above, one row per feature map below, the metrics at the foot.

    Left is before (the original input), right is after (the optimised input). The two maps of a row
    share a colour scale from 0 to the maximum of the left one, printed beside it.

    Args:
      view: the job; maps and images of any size.

    Returns:
      The bytes of a PNG, 520 to 660 px wide, to be read at 100 %.
    """
    cell = _cell(max(view.original.shape[:2]))
    notes = display_notes(view)
    metrics = _wrapped([f"{name} {number(value)}" for name, value in view.metrics.items()])
    lines = [*metrics, *notes]
    row = _TITLE + cell
    page = _Page(cell, 74 + row * (1 + len(view.maps)) + _LINE * len(lines))

    y = page.heading(view) - 20  # the first row has a one-line title
    page.text(page.left, y + 40, "original input")
    page.text(page.right, y + 40, "optimised input")
    page.picture(page.left, y + _TITLE, to_bytes(view.original))
    page.picture(page.right, y + _TITLE, to_bytes(view.optimised))
    y += row
    for item in view.maps:
        page.map_row(y, item)
        y += row
    for index, line in enumerate(lines):
        colour = _INK if index < len(metrics) else _WARN
        page.text(page.left, y + 28 + _LINE * index, line, colour=colour)
    return page.png()


def _cell(side: int) -> int:
    """The side of all pictures: near 224 px and, where that can be, a whole multiple of `side`."""
    multiple = 256 // side * side
    return multiple if multiple >= 192 else 224


def _wrapped(items: list[str], most: int = 74) -> list[str]:
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + 3 + len(item) <= most:
            lines[-1] += "   " + item
        else:
            lines.append(_shortened(item, most))
    return lines


class _Page:
    """A figure addressed in pixels from the top left corner."""

    def __init__(self, cell: int, height: int) -> None:
        self.cell, self.height = cell, height
        self.left, self.right = _MARGIN, _MARGIN + cell + _GAP
        self.bar = self.right + cell + 16
        self.width = width = self.bar + _BAR + _BAR_TEXT
        self.pictures: list[tuple[int, int, np.ndarray]] = []  # x, y, uint8 [h, w, 3]
        self.figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
        self.canvas = FigureCanvasAgg(self.figure)

    def heading(self, view: JobView) -> int:
        """Layer, kernel, image, status; returns where the rows begin."""
        place = f"{view.layer}, kernel {view.kernel}"
        self.text(_MARGIN, 30, _shortened(place, 44), size=12, weight="bold")
        self.text(_MARGIN, 50, _shortened(view.image, 60), colour=_FAINT)
        if view.status != "done":
            self.text(
                self.width - _MARGIN, 30, view.status, colour=_WARN, weight="bold", align="right"
            )
        return 56

    def map_row(self, y: int, item: MapView) -> None:
        """The title, both maps and their colour scale."""
        top, highest = y + _TITLE, map_top(item)
        colour, weight = (_ACCENT, "bold") if item.selected else (_INK, "normal")
        label = _shortened(item.label, 40) + (" (selected)" if item.selected else "")
        self.text(self.left, y + 25, label, colour=colour, weight=weight)
        for x, name, values in (
            (self.left, "before", item.before),
            (self.right, "after", item.after),
        ):
            self.picture(x, top, colour_map(values, highest))
            self.text(x, y + 41, f"{name}, peak {number(peak(values))}", colour=_FAINT)
        if item.selected:
            mark = np.empty((self.cell + _TITLE - 14, 3, 3), np.uint8)
            mark[:] = np.round(np.array(to_rgb(_ACCENT)) * 255)
            self.pictures.append((self.left - 11, y + 14, mark))
        ramp = colour_map(np.linspace(1.0, 0.0, self.cell)[:, None], 1.0)
        self.pictures.append((self.bar, top, np.repeat(ramp, _BAR, axis=1)))
        self.text(self.bar + _BAR + 6, top + 10, number(highest), colour=_FAINT)
        self.text(self.bar + _BAR + 6, top + self.cell, "0", colour=_FAINT)

    def picture(self, x: int, y: int, pixels: np.ndarray) -> None:
        """Draws uint8 [h, w, 3] as large as the cell at (x, y) and centred in it, with a frame."""
        pixels = _scaled(pixels, self.cell)
        height, width = pixels.shape[:2]
        x, y = x + (self.cell - width) // 2, y + (self.cell - height) // 2
        framed = np.broadcast_to(_FRAME, (height + 2, width + 2, 3)).copy()
        framed[1:-1, 1:-1] = pixels
        self.pictures.append((x - 1, y - 1, framed))

    def text(
        self,
        x: int,
        y: int,
        content: str,
        *,
        colour: str = _INK,
        size: float = 9,
        weight: str = "normal",
        align: Literal["left", "right"] = "left",
    ) -> None:
        """Text whose baseline begins at (x, y). It is never taken for mathematics or TeX."""
        text = Text(
            x,
            self.height - y,
            _printable(content),
            color=colour,
            fontsize=size,
            fontweight=weight,
            fontfamily=_FONT,
            horizontalalignment=align,
            verticalalignment="baseline",
            parse_math=False,
            usetex=False,
        )
        text.set_transform(IdentityTransform())
        self.figure.add_artist(text)

    def png(self) -> bytes:
        self.canvas.draw()
        page = Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB")
        for x, y, picture in self.pictures:
            page.paste(Image.fromarray(picture), (x, y))
        content = io.BytesIO()
        # Repeated pixels compress well at the lowest level, in half the time.
        page.save(content, "PNG", dpi=(_DPI, _DPI), compress_level=1)
        return content.getvalue()


def _scaled(pixels: np.ndarray, cell: int) -> np.ndarray:
    """The longer side made `cell` px: pixels repeated, or averaged if there are too many."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    if cell % side == 0:
        return pixels.repeat(cell // side, axis=0).repeat(cell // side, axis=1)
    size = (max(1, round(width * cell / side)), max(1, round(height * cell / side)))
    method = Image.Resampling.BOX if side > cell else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(pixels).resize(size, method))


def _shortened(text: str, most: int) -> str:
    """Cut in the middle: the beginning and the end of a path tell more than its middle."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2 - 1]}...{text[-(most - most // 2 - 2) :]}"


@functools.cache
def _known_characters() -> frozenset[int]:
    font = font_manager.get_font(font_manager.findfont(_FONT))
    return frozenset(font.get_charmap())


def _printable(text: str) -> str:
    """The text with a box for each character the font lacks, which would warn in every figure."""
    known = _known_characters()
    return "".join(c if ord(c) in known and c.isprintable() else "\N{WHITE SQUARE}" for c in text)
