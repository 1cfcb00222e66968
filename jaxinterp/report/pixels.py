"""Arrays as pictures: clipping, the colour scale of feature maps, small files in a page."""

from __future__ import annotations

import base64
import functools
import io
import math

import matplotlib
import numpy as np
from PIL import Image

from jaxinterp.report.views import JobView, MapView

__all__ = [
    "COLOUR_MAP",
    "clipped_share",
    "colour_map",
    "display_notes",
    "image_uri",
    "map_top",
    "map_uri",
    "number",
    "peak",
    "to_bytes",
]

COLOUR_MAP = "viridis"
"""Perceptually uniform, and readable with any colour vision."""

_GREY = 128  # where a value is not finite
_CLIP_MARGIN = 0.02
# The pages' maps use 63 colours and grey: PNG stores the palette in every file.
_PAGE_COLOURS = 63


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Floats clipped to [0, 1] as uint8 of the same shape; what is not finite becomes mid grey."""
    scaled = np.where(np.isfinite(pixels), np.clip(pixels, 0.0, 1.0) * 255 + 0.5, _GREY)
    return scaled.astype(np.uint8)


def clipped_share(pixels: np.ndarray) -> float:
    """The share, in [0, 1], of values that are clipped for display: outside [0, 1].

    Values less than 0.02 outside are not counted: nobody sees the difference.
    """
    clipped = (pixels < -_CLIP_MARGIN) | (pixels > 1 + _CLIP_MARGIN)
    return float(np.count_nonzero(clipped & np.isfinite(pixels))) / pixels.size


def display_notes(view: JobView) -> list[str]:
    """What the display of the two inputs does not show truly, as short sentences."""
    notes = []
    for name, pixels in (("original", view.original), ("optimised", view.optimised)):
        lost = 1.0 - float(np.count_nonzero(np.isfinite(pixels))) / pixels.size
        if lost > 0:
            notes.append(f"{lost:.1%} of the {name} input's values are not finite: drawn grey.")
        clipped = clipped_share(pixels)
        if clipped >= 0.005:
            notes.append(f"{clipped:.1%} of the {name} input's values are outside [0, 1]: clipped.")
    return notes


def map_top(view: MapView) -> float:
    """The upper end of the colour scale of both maps, which starts at 0.

    It is the maximum of `before`; where that is nowhere positive, the maximum of `after`, so that
    activity out of nothing is seen; else 1.
    """
    for values in (view.before, view.after):
        highest = peak(values)
        if highest > 0:
            return highest
    return 1.0


def colour_map(values: np.ndarray, top: float) -> np.ndarray:
    """A map [h, w] as colours, uint8 [h, w, 3]: 0 (and below) to `top` (and above)."""
    return _colours(256)[_levels(values, top, 256)]


@functools.cache
def _colours(count: int) -> np.ndarray:
    """`count` colours of the scale, and grey for what is not finite: uint8 [count + 1, 3]."""
    colours = matplotlib.colormaps[COLOUR_MAP](np.linspace(0, 1, count), bytes=True)[:, :3]
    return np.vstack([colours, np.full((1, 3), _GREY)]).astype(np.uint8)


def _levels(values: np.ndarray, top: float, count: int) -> np.ndarray:
    with np.errstate(over="ignore"):  # far above a tiny scale is at its top
        scaled = np.clip(values / top, 0.0, 1.0) * (count - 1) + 0.5
    return np.where(np.isfinite(values), scaled, count).astype(np.int64)


def image_uri(pixels: np.ndarray, *, most: int = 128) -> str:
    """An image [H, W, 3] as a data URI: PNG up to 64 px, beyond that JPEG of at most `most` px."""
    image = Image.fromarray(to_bytes(pixels))
    if max(image.size) <= 64:
        return _uri(image, "PNG")
    image = _shrunk(image, most, Image.Resampling.BOX)
    return _uri(image, "JPEG", quality=88, subsampling=0)


def map_uri(values: np.ndarray, top: float, *, most: int = 64) -> str:
    """A feature map [h, w] as a data URI of a PNG of at most `most` px, scaled from 0 to `top`."""
    if max(values.shape) > most:
        step = math.ceil(max(values.shape) / most)
        values = _block_means(values, step)
    if values.size <= 144:  # the palette would be the larger part of the file
        return _uri(Image.fromarray(colour_map(values, top)), "PNG")
    image = Image.fromarray(_levels(values, top, _PAGE_COLOURS).astype(np.uint8))
    image.putpalette(_colours(_PAGE_COLOURS).tobytes())
    return _uri(image, "PNG")


def _block_means(values: np.ndarray, step: int) -> np.ndarray:
    height, width = values.shape
    padded = np.pad(values, ((0, -height % step), (0, -width % step)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    return blocks.mean(axis=(1, 3))


def _shrunk(image: Image.Image, most: int, filter: Image.Resampling) -> Image.Image:
    if max(image.size) <= most:
        return image
    scale = most / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, filter)


def _uri(image: Image.Image, kind: str, **options: int) -> str:
    content = io.BytesIO()
    image.save(content, kind, **options)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{encoded}"


def peak(values: np.ndarray) -> float:
    """The largest finite value; NaN if there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else math.nan


def number(value: float | None) -> str:
    """Three significant digits for reading, an int in full; a dash for None and NaN.

    >>> number(0.12345), number(1234.5), number(2e-7)
    ('0.123', '1234', '2e-07')
    """
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else "-\N{INFINITY}"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return f"{value:.2g}"
