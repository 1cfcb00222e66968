"""Flowers of which everything is known: the picture, each pixel's part, and what makes the class.

An own renderer for the data set that VEBI describes (Oramas et al., ICLR 2019, section 4.3). In
single-6c the petals have one of six colours, which is the class; in double-12c either the petals
or the core have it, and colour and part are the class. Nothing else in a picture tells the class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from jaxinterp.data.an8flower.classes import (
    COLOUR_NAMES,
    PARTS,
    check_size,
    check_variant,
    check_whole,
    class_of,
    labels_of,
)
from jaxinterp.data.an8flower.palette import shade
from jaxinterp.data.an8flower.pose import FlowerPose, draw_pose
from jaxinterp.data.an8flower.shapes import along, ellipse, leaf, petals, stem

__all__ = ["FlowerImage", "FlowerImages", "FlowerParameters", "paint", "render", "render_many"]

_Window = tuple[slice, slice]
_Number = TypeVar("_Number", float, np.ndarray)


@dataclasses.dataclass(frozen=True, eq=False)
class FlowerParameters:
    """What a picture was drawn from.

    Attributes:
      variant, index, size, seed: as given to `render`.
      colour: colour name that defines the class.
      part: the part that has it.
      colours: colour name of each part by its name; that of "background" is the one behind all.
      pose: everything else.
    """

    variant: str
    index: int
    size: int
    seed: int
    colour: str
    part: str
    colours: dict[str, str]
    pose: FlowerPose


@dataclasses.dataclass(frozen=True, eq=False)
class FlowerImage:
    """One picture and its ground truth.

    A pixel belongs to the part that covers its centre. Pixels at an outline mix the colours of both
    sides, as antialiasing does; the part's own colour has at least half the weight, except where
    three parts meet.

    Attributes:
      image: uint8 [size, size, 3], RGB.
      label: index into `CLASS_NAMES[variant]`.
      parts: uint8 [size, size], index into `PARTS`.
      discriminative: bool [size, size], the pixels of the part that defines the class.
      colours: uint8 [size, size], index into `COLOUR_NAMES` of the colour that was painted.
      parameters: what it was drawn from.
    """

    image: np.ndarray
    label: int
    parts: np.ndarray
    discriminative: np.ndarray
    colours: np.ndarray
    parameters: FlowerParameters


class FlowerImages(NamedTuple):
    """Several pictures: `FlowerImage`'s arrays with a leading axis, labels int32 [count]."""

    images: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    discriminative: np.ndarray
    colours: np.ndarray


def render(variant: str, index: int, *, size: int = 64, seed: int = 0) -> FlowerImage:
    """Picture `index` of a variant.

    A pure function of its arguments, the same on every machine up to rounding. The geometry, light
    and background depend on `seed` and `index` alone: another size shows the same flower, another
    variant the same flower in other colours.

    Args:
      variant: "single-6c" or "double-12c".
      index: 0 or more; there is no last one.
      size: the side in pixels, at least `LEAST_SIZE`.
      seed: 0 or more; pictures of different seeds have nothing in common.

    Raises:
      UserError: an unknown variant, too small a size, a negative index or seed.
    """
    check_variant(variant)
    size, index, seed = check_size(size), check_whole(index, "index"), check_whole(seed, "seed")
    label = int(labels_of(variant, index, 1, seed=seed)[0])
    return paint(variant, index, size, seed, label)


def render_many(
    variant: str,
    count: int,
    size: int = 64,
    seed: int = 0,
    *,
    start: int = 0,
    advanced: Callable[[int], None] = lambda done: None,
) -> FlowerImages:
    """The pictures `start` to `start + count - 1`, as `render` gives them one at a time.

    The classes are balanced and shuffled (`labels_of`). Test images are those of other indices or
    of another seed.

    Args:
      variant, size, seed: as for `render`.
      count: how many, 0 or more.
      start: index of the first one.
      advanced: called with the number of pictures done after each.

    Raises:
      UserError: as `render` does.
    """
    check_variant(variant)
    size, seed = check_size(size), check_whole(seed, "seed")
    labels = labels_of(variant, start, count, seed=seed)
    shape = (len(labels), size, size)
    images = np.empty((*shape, 3), np.uint8)
    parts, colours = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    discriminative = np.empty(shape, np.bool_)
    for place, label in enumerate(labels.tolist()):
        flower = paint(variant, start + place, size, seed, label)
        images[place], parts[place], colours[place] = flower.image, flower.parts, flower.colours
        discriminative[place] = flower.discriminative
        advanced(place + 1)
    return FlowerImages(images, labels, parts, discriminative, colours)


class _Canvas:
    """A picture in the making, painted from back to front."""

    def __init__(self, size: int, noise: np.ndarray) -> None:
        self.size = size
        self.x = ((np.arange(size, dtype=np.float32) + 0.5) / size)[None, :]
        self.y = np.ascontiguousarray(self.x.T)
        self.image = np.empty((size, size, 3), np.float32)
        self.parts = np.zeros((size, size), np.uint8)
        self.colours = np.zeros((size, size), np.uint8)
        # The lattice belongs to the picture, not to its pixels: any size shows the same texture.
        cells = len(noise) - 1
        place = self.x[0] * cells
        spread = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells + 1, dtype=np.float32)))
        self.texture = spread @ noise @ spread.T

    def window(self, x: float, y: float, reach: float) -> _Window:
        """The pixels no further than `reach` from a point, along each axis."""
        margin = reach + 1 / self.size

        def part(middle: float) -> slice:
            first = int(np.floor((middle - margin) * self.size))
            last = int(np.ceil((middle + margin) * self.size))
            return slice(max(first, 0), max(min(last, self.size), 0))

        return part(y), part(x)

    def centred(self, window: _Window, x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates about a point."""
        return self.x[:, window[1]] - x, self.y[window[0]] - y

    def fill(self, name: str, colour: np.ndarray) -> None:
        self.image[:] = colour
        self.colours[:] = COLOUR_NAMES.index(name)

    def paint(
        self,
        window: _Window,
        distance: np.ndarray,
        name: str,
        colour: np.ndarray,
        light: np.ndarray | float = 1.0,
        part: str | None = None,
    ) -> None:
        """Paints what is inside an outline; without a `part`, the parts stay as they are."""
        # A pixel is covered in proportion to how far the outline is from its centre.
        cover = np.clip(0.5 - distance * self.size, 0, 1)
        light = np.broadcast_to(np.asarray(light, np.float32), cover.shape)
        target = self.image[window]
        for channel in range(3):  # in place: several times quicker than with an axis of three
            plane = target[..., channel]
            plane += cover * (light * colour[channel] - plane)
        inside = distance <= 0
        self.colours[window][inside] = COLOUR_NAMES.index(name)
        if part is not None:
            self.parts[window][inside] = PARTS.index(part)


def paint(variant: str, index: int, size: int, seed: int, label: int) -> FlowerImage:
    """`render` without its checks, for the small masks of large pictures; the label is given."""
    pose = draw_pose(index, seed)
    colour, part = class_of(variant, label)
    # In single-6c the core is always brown. In double-12c the other candidate part is white or
    # grey, whatever the class: with one of the six colours, too, nobody could tell which of the
    # two parts defines the class, and with a fixed colour of its own it would tell the part.
    other = "brown" if variant == "single-6c" else pose.neutral
    names = {"background": pose.background_colour, "stem": "green", "leaf": "green"} | {
        one: colour if one == part else other for one in ("petals", "core")
    }
    canvas = _Canvas(size, pose.noise)
    _paint_background(canvas, pose)
    _paint_green(canvas, pose)
    draws = {one: pose.draws[0 if one == part else 1] for one in ("petals", "core")}
    _paint_head(canvas, pose, names, draws)
    light = pose.light * (1 + 0.03 * canvas.texture)
    image = np.clip(canvas.image * light[..., None] * 255 + 0.5, 0, 255).astype(np.uint8)
    return FlowerImage(
        image=image,
        label=label,
        parts=canvas.parts,
        discriminative=canvas.parts == PARTS.index(part),
        colours=canvas.colours,
        parameters=FlowerParameters(variant, index, size, seed, colour, part, names, pose),
    )


def _paint_background(canvas: _Canvas, pose: FlowerPose) -> None:
    name = pose.background_colour
    first = shade(name, pose.draws[4])
    canvas.fill(name, first)
    if pose.background == "gradient":
        ahead, _ = along(canvas.x - 0.5, canvas.y - 0.5, pose.light_angle)
        part = np.clip(0.5 + ahead, 0, 1)[..., None]
        canvas.image += part * (shade(name, pose.background_draw) - first)
    elif pose.background == "noise":
        canvas.image *= (1 + 0.16 * np.minimum(canvas.texture, 0.5))[..., None]
    for blob in pose.blobs:
        window = canvas.window(blob.x, blob.y, max(blob.semi_axes))
        ahead, across = along(*canvas.centred(window, blob.x, blob.y), blob.angle)
        outline = ellipse(ahead, across, *blob.semi_axes)
        canvas.paint(window, outline, blob.colour, shade(blob.colour, blob.shade))


def _paint_green(canvas: _Canvas, pose: FlowerPose) -> None:
    """Stem and leaves."""

    def middle(y: _Number) -> _Number:
        down = (y - pose.y) / (1 - pose.y)
        return pose.x + (pose.foot - pose.x) * down + pose.bend * down * (1 - down) * 2

    rows = slice(int(pose.y * canvas.size), canvas.size)
    y = canvas.y[rows]
    outline = stem(canvas.x, y, middle(y), pose.stem)
    light = 1 - 0.25 * np.clip((canvas.x - middle(y)) / pose.stem, -1, 1) ** 2
    window = (rows, slice(None))
    canvas.paint(window, outline, "green", shade("green", pose.draws[2]), light, "stem")
    for one in pose.leaves:
        x = middle(one.y)
        window = canvas.window(x, one.y, one.length)
        ahead, across = along(*canvas.centred(window, x, one.y), one.angle)
        outline = leaf(ahead, across, one.length, one.width * 2)
        vein = np.exp(-np.square(across * (1 / (0.12 * one.width))))
        light = 0.92 - 0.16 * vein + 0.08 * np.sign(across)
        canvas.paint(window, outline, "green", shade("green", pose.draws[3]), light, "leaf")


def _paint_head(
    canvas: _Canvas, pose: FlowerPose, names: dict[str, str], draws: dict[str, np.ndarray]
) -> None:
    """Petals and core, both in the tilted plane of the head."""
    # The longest petal, by both harmonics of its length.
    reach = pose.radius * float(1.0 + pose.uneven[0] + pose.uneven[2])
    window = canvas.window(pose.x, pose.y, reach)
    sight_x, sight_y = canvas.centred(window, pose.x, pose.y)
    x, y = along(sight_x, sight_y, pose.tilt_angle, pose.tilt)
    # Distances in the plane are between 1 and 1 / tilt times those in the picture.
    seen = pose.tilt**0.5
    ring = petals(
        x,
        y,
        radius=pose.radius,
        count=pose.petals,
        rotation=pose.rotation,
        width=pose.petal_width,
        uneven=pose.uneven,
    )
    ahead, _ = along(sight_x, sight_y, pose.light_angle)
    sun = np.clip(ahead * (1 / pose.radius), -1, 1)
    vein = np.exp(-np.square(ring.across * 6))
    rim = np.clip(ring.across, 0, 1) ** 4
    light = 0.86 + 0.12 * np.clip(ring.radius, 0, 1) + 0.04 * sun - 0.07 * vein - 0.14 * rim
    light += 0.03 * canvas.texture[window]
    colour = shade(names["petals"], draws["petals"])
    canvas.paint(window, ring.distance * seen, names["petals"], colour, light, "petals")

    radius = pose.core * pose.radius
    window = canvas.window(pose.x, pose.y, radius)
    sight_x, sight_y = canvas.centred(window, pose.x, pose.y)
    x, y = along(sight_x, sight_y, pose.tilt_angle, pose.tilt)
    ahead, _ = along(sight_x, sight_y, pose.light_angle)
    inside = np.sqrt(x * x + y * y) * (1 / radius)
    # Rows of seeds, six across the core. Where they are finer than the pixels, they fade as under
    # a blur of half a pixel; otherwise they would form other patterns there.
    wave = 19 / radius
    strength = 0.05 * np.exp(-((0.5 * wave / canvas.size) ** 2))
    seeds = strength * np.cos(x * wave) * np.cos(y * wave)
    light = 0.97 + 0.07 * ahead * (1 / radius) - 0.16 * inside**3 + seeds
    colour = shade(names["core"], draws["core"])
    outline = ellipse(x, y, radius, radius) * seen
    canvas.paint(window, outline, names["core"], colour, light, "core")
