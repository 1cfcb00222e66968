"""What varies from flower to flower, in units of the picture's side: place, size, pose, light."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from jaxinterp.data.an8flower.palette import BACKGROUNDS, NEUTRALS

__all__ = ["Blob", "FlowerPose", "Leaf", "draw_pose"]

KINDS: tuple[str, ...] = ("plain", "gradient", "noise", "clutter")
"""Kinds of background, equally frequent."""


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A leaf: it starts on the stem at height `y` and points along `angle` (radians, 0 right)."""

    y: float
    angle: float
    length: float
    width: float


@dataclasses.dataclass(frozen=True, eq=False)
class Blob:
    """An ellipse of clutter: centre, semi-axes, direction of the first one, colour name, shade."""

    x: float
    y: float
    semi_axes: tuple[float, float]
    angle: float
    colour: str
    shade: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class FlowerPose:
    """Everything about a flower but the colour of its class.

    Lengths are fractions of the picture's side, x to the right and y down, angles are radians.

    Attributes:
      x, y: centre of the head.
      radius: from the centre to the tip of an average petal.
      petals: how many, 5 to 9.
      rotation: of the petals in the plane of the head.
      tilt, tilt_angle: the head is seen shortened to the fraction `tilt` along `tilt_angle`.
      petal_width: a petal's half width over half the spacing of petals at its widest place.
      uneven: float32 [4], amplitudes and phases that make some petals longer than others.
      core: radius of the core over `radius`.
      foot, bend: the stem ends at x = foot on the lower border; how far it bends sideways.
      stem: half its width.
      leaves: one or two.
      background: one of plain, gradient, noise, clutter.
      background_colour: its colour name.
      blobs: the clutter, from back to front.
      light: brightness of the scene; light_angle: where the light comes from.
      neutral: colour name of a part that does not define the class.
      draws: float [5, 3] in [0, 1), places in the ranges of shades: class, neutral part, stem,
        leaf, background; `background_draw`: float [3], of the gradient's other end.
      noise: float32 [25, 25] in [-1, 1], the lattice of the texture.
    """

    x: float
    y: float
    radius: float
    petals: int
    rotation: float
    tilt: float
    tilt_angle: float
    petal_width: float
    uneven: np.ndarray
    core: float
    foot: float
    bend: float
    stem: float
    leaves: tuple[Leaf, ...]
    background: str
    background_colour: str
    blobs: tuple[Blob, ...]
    light: float
    light_angle: float
    neutral: str
    draws: np.ndarray
    background_draw: np.ndarray
    noise: np.ndarray


def draw_pose(index: int, seed: int) -> FlowerPose:
    """The pose of picture `index`: the same for every variant and size."""
    # Only `random` is used of the generator: NumPy does not change its stream between releases
    # without need, and every number keeps its place when a range is changed.
    generator = np.random.default_rng((seed, index))
    numbers = iter(generator.random(64).tolist())

    def between(low: float, high: float) -> float:
        return low + (high - low) * next(numbers)

    def one_of(choices: tuple[str, ...]) -> str:
        return choices[int(next(numbers) * len(choices))]

    radius = between(0.15, 0.31)
    x = between(radius + 0.03, 0.97 - radius)
    # The head stays above 0.70, where the leaves begin.
    y = between(radius + 0.03, max(radius + 0.05, 0.68 - radius))
    leaves = []
    side = 1.0 if next(numbers) < 0.5 else -1.0
    both = next(numbers) < 0.5
    for number in range(2):
        up = between(0.25, 0.9)
        leaf = Leaf(
            y=between(0.80, 0.93),
            angle=-up if side > 0 else math.pi + up,
            length=between(0.20, 0.32),
            width=between(0.045, 0.07),
        )
        if number == 0 or both:
            leaves.append(leaf)
        side = -side
    fixed = {
        "radius": radius,
        "x": x,
        "y": y,
        "petals": 5 + int(next(numbers) * 5),
        "rotation": between(0.0, 2 * math.pi),
        "tilt": between(0.65, 1.0),
        "tilt_angle": between(0.0, math.pi),
        "petal_width": between(0.80, 1.15),
        "core": between(0.32, 0.66),
        # Not so far from below the head that the stem lies down.
        "foot": min(max(x + between(-0.2, 0.2), 0.2), 0.8),
        "bend": between(-0.12, 0.12),
        "stem": between(0.016, 0.026),
        "background": one_of(KINDS),
        "background_colour": one_of(BACKGROUNDS),
        "light": between(0.86, 1.0),
        "light_angle": between(0.0, 2 * math.pi),
        "neutral": one_of(NEUTRALS),
        "uneven": np.asarray(
            [between(0, 0.06), between(0, 7), between(0, 0.06), between(0, 7)], np.float32
        ),
    }
    draws = generator.random((6, 3))
    noise = 2 * generator.random((25, 25), np.float32) - 1
    blobs = []
    if fixed["background"] == "clutter":
        for row in generator.random((4 + int(next(numbers) * 6), 9)):
            colour = BACKGROUNDS[int(row[0] * len(BACKGROUNDS))]
            axes = (0.04 + 0.14 * row[3], 0.04 + 0.10 * row[4])
            blobs.append(Blob(row[1], row[2], axes, math.pi * row[5], colour, row[6:9]))
    return FlowerPose(
        **fixed,
        leaves=tuple(leaves),
        draws=draws[:5],
        background_draw=draws[5],
        blobs=tuple(blobs),
        noise=noise,
    )
