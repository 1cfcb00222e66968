"""What single units respond to, over annotated images: the form of the paper's Fig. 3."""

from __future__ import annotations

import numpy as np
from PIL import Image

from jaxinterp.report.comparison_grid import Cell, GridGroup, GridRow, PictureCell, grid_figure
from jaxinterp.report.dissection_data import DissectionReport, ExamplePicture, UnitExample

__all__ = ["lit_picture", "unit_figure"]

_SIDE = 160  # px of a picture
# Yellow and blue are told apart by any colour vision; each has a dark rim against bright images.
_ACTIVE, _MASK, _RIM = (255, 221, 0), (0, 158, 255), (16, 20, 24)
_DIMMED = 0.45
_NOTE = (
    "Each row is a unit. Bright, with a yellow outline: where the unit is active, its upsampled "
    "map above its threshold. Blue outline: where the concept is annotated. The rest is dimmed. "
    "Below: the share of the picture that is active, and the share of that inside the mask."
)


def unit_figure(report: DissectionReport, examples: tuple[UnitExample, ...]) -> bytes:
    """A row for each unit: images with the active region lit and the concept's mask outlined.

    Args:
      report: gives the title.
      examples: the rows; the longest sets the number of columns.

    Returns:
      The bytes of a PNG.

    Raises:
      ValueError: there is no picture.
    """
    columns = max((len(example.pictures) for example in examples), default=0)
    groups: dict[str, list[GridRow]] = {}
    for example in examples:
        cells: list[Cell] = [None] * columns
        for column, picture in enumerate(example.pictures):
            cells[column] = PictureCell(
                lit_picture(picture, example.threshold), _caption(picture, example.threshold)
            )
        label = f"unit {example.unit}: {example.concept}, IoU {example.iou:.3f}"
        groups.setdefault(example.layer, []).append(GridRow(label, tuple(cells)))
    return grid_figure(
        f"{report.network}: units over annotated images",
        [""] * columns,
        [GridGroup(layer, tuple(rows)) for layer, rows in groups.items()],
        _NOTE,
    )


def _caption(picture: ExamplePicture, threshold: float) -> str:
    """The share of the picture that is active, and the share of that which is the concept."""
    active = picture.activation > threshold
    if not active.any():
        return "not active"
    return f"active {active.mean():.1%}, in mask {picture.mask[active].mean():.0%}"


def lit_picture(picture: ExamplePicture, threshold: float) -> np.ndarray:
    """The image, lit where the unit is active, with the outlines of that region and of the mask.

    Args:
      picture: image, map and mask.
      threshold: the unit is active where its map is above it.

    Returns:
      float [160, w, 3] or [h, 160, 3] in [0, 1]; the longer side is 160 px.
    """
    height, width = picture.image.shape[:2]
    scale = _SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.BICUBIC if scale > 1 and height > 48 else Image.Resampling.BOX
    pixels = np.asarray(Image.fromarray(picture.image).resize(size, method), np.float64)
    active = _resized(picture.activation > threshold, size)
    mask = _resized(picture.mask, size)
    pixels = np.where(active[..., None], pixels, pixels * _DIMMED)
    for region, colour in ((mask, _MASK), (active, _ACTIVE)):
        outline = _edge(region, 2)
        if 2 * outline.sum() > region.sum():  # small pieces, which it would hide
            pixels[_edge(region, 1)] = colour
        else:
            pixels[_edge(region, 3)] = _RIM
            pixels[outline] = colour
    return pixels / 255


def _resized(region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cells of the mask grid as squares: the region that was counted, not a smooth one."""
    image = Image.fromarray(region.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(image).astype(bool)


def _edge(region: np.ndarray, thick: int) -> np.ndarray:
    """The outermost `thick` pixels of a region; at the image's border too, so that it is closed."""
    inner = np.pad(region, 1)
    for _ in range(thick):
        shrunk = inner.copy()
        for axis in (0, 1):
            for step in (-1, 1):
                shrunk &= np.roll(inner, step, axis)
        inner = shrunk
    return region & ~inner[1:-1, 1:-1]
