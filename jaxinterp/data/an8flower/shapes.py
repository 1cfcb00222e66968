"""The outlines of a flower's parts, as signed distances.

All lengths are fractions of the picture's side. A distance is negative inside; near the outline it
is right to first order, which is what antialiasing needs.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["Petals", "along", "ellipse", "leaf", "petals", "stem"]


def along(
    x: np.ndarray, y: np.ndarray, angle: float, squeeze: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across a direction; those along it are divided by `squeeze`."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return (cosine * x + sine * y) * (1 / squeeze), cosine * y - sine * x


def ellipse(x: np.ndarray, y: np.ndarray, first: float, second: float) -> np.ndarray:
    """Signed distance from an ellipse about the origin with these semi-axes."""
    inside = np.sqrt(np.square(x * (1 / first)) + np.square(y * (1 / second)))
    slope = np.sqrt(np.square(x * (1 / first**2)) + np.square(y * (1 / second**2)))
    # At the centre both are 0; any distance well inside will do there.
    return inside * (inside - 1) / np.maximum(slope, 1e-6) - 1e-6


class Petals:
    """A ring of petals, all folded onto one.

    Attributes:
      distance: signed distance from the union of the petals.
      radius: distance from the centre over that of the petal's tip.
      across: distance from the petal's middle line over its half width.
    """

    def __init__(self, distance: np.ndarray, radius: np.ndarray, across: np.ndarray) -> None:
        self.distance = distance
        self.radius = radius
        self.across = across


def petals(
    x: np.ndarray,
    y: np.ndarray,
    *,
    radius: float,
    count: int,
    rotation: float,
    width: float,
    uneven: np.ndarray,
) -> Petals:
    """Ellipses around the origin, one every full turn over `count`.

    Args:
      x, y: coordinates about the centre.
      radius: from the centre to the tip of an average petal.
      count: of petals.
      rotation: direction of one petal, radians.
      width: half width over half the spacing of petals at the petal's middle.
      uneven: float [4], amplitude and phase of the first and second harmonic of the length.
    """
    angle = np.arctan2(y, x) - rotation
    length = 1 + uneven[0] * np.cos(angle + uneven[1]) + uneven[2] * np.cos(2 * angle + uneven[3])
    spacing = 2 * math.pi / count
    folded = angle - spacing * np.round(angle * (1 / spacing))
    distance = np.sqrt(x * x + y * y) / length
    ahead, across = distance * np.cos(folded), distance * np.sin(folded)
    first, middle = 0.46 * radius, 0.54 * radius
    second = width * middle * math.sin(spacing / 2)
    return Petals(
        ellipse(ahead - middle, across, first, second),
        distance * (1 / radius),
        np.abs(across) * (1 / second),
    )


def stem(x: np.ndarray, y: np.ndarray, middle: np.ndarray, half_width: float) -> np.ndarray:
    """Signed distance from a band of constant width around a steep curve.

    Args:
      x: float [1, w]; y: float [h, 1], coordinates.
      middle: float [h, 1], where the curve is at each y.
      half_width: of the band.
    """
    step = y[1, 0] - y[0, 0]
    slope = np.gradient(middle[:, 0], step)[:, None]
    return np.abs(x - middle) / np.sqrt(1 + slope * slope) - half_width


def leaf(ahead: np.ndarray, across: np.ndarray, length: float, width: float) -> np.ndarray:
    """Signed distance from a leaf with two pointed ends, the first at the origin.

    Args:
      ahead, across: coordinates along and across its middle line.
      length: from end to end.
      width: of the widest place, from edge to edge.
    """
    part = ahead * (1 / length)
    edge = 2 * width * part * (1 - part)
    slope = (2 * width / length) * (1 - 2 * part)
    return (np.abs(across) - edge) / np.sqrt(1 + slope * slope)
