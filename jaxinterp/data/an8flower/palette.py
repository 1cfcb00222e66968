"""Shades that people call by one of the 11 basic colour names, drawn at random."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

import numpy as np

__all__ = ["BACKGROUNDS", "NEUTRALS", "shade"]

BACKGROUNDS: tuple[str, ...] = ("grey", "brown", "black", "white")
"""Colours of backgrounds and clutter: none of the classes' and not the leaves'."""

NEUTRALS: tuple[str, ...] = ("white", "grey")
"""Colours of the part that does not define the class."""

# Hue in degrees, saturation and value as lowest and highest. Lighting and texture darken a shade
# to about 0.75 of its value, so that values start high where a darker shade has another name.
_SHADES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "red": ((352, 364), (0.85, 0.97), (0.78, 0.95)),
    "orange": ((22, 31), (0.88, 1.0), (0.94, 1.0)),
    "yellow": ((51, 58), (0.75, 0.95), (0.92, 1.0)),
    "pink": ((325, 340), (0.38, 0.52), (0.95, 1.0)),
    "purple": ((272, 288), (0.60, 0.80), (0.60, 0.82)),
    "blue": ((212, 232), (0.75, 0.95), (0.72, 0.95)),
    "green": ((95, 130), (0.60, 0.85), (0.45, 0.70)),
    "brown": ((20, 32), (0.45, 0.65), (0.38, 0.48)),
    "grey": ((0, 360), (0.0, 0.06), (0.50, 0.68)),
    "white": ((0, 360), (0.0, 0.03), (0.97, 1.0)),
    "black": ((0, 360), (0.0, 0.20), (0.05, 0.13)),
}


def shade(name: str, draw: np.ndarray) -> np.ndarray:
    """A shade of a colour name.

    Args:
      name: one of `classes.COLOUR_NAMES`.
      draw: float [3] in [0, 1), the places in the ranges of hue, saturation and value.

    Returns:
      float32 [3], RGB in [0, 1].
    """
    hue, saturation, value = (
        low + (high - low) * float(part)
        for (low, high), part in zip(_SHADES[name], draw, strict=True)
    )
    return np.asarray(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value), np.float32)
