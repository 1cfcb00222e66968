"""The variants of an8Flower: their classes, and the names of parts and colours."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import numpy as np

from jaxinterp.errors import UserError, nearest

__all__ = [
    "CLASS_NAMES",
    "COLOURS",
    "COLOUR_NAMES",
    "LEAST_SIZE",
    "MOST_SIZE",
    "PARTS",
    "VARIANTS",
    "check_size",
    "check_variant",
    "check_whole",
    "class_of",
    "labels_of",
]

COLOURS: tuple[str, ...] = ("red", "orange", "yellow", "pink", "purple", "blue")
"""The colours that tell classes apart; no other part of a picture has one of them."""

PARTS: tuple[str, ...] = ("background", "petals", "core", "stem", "leaf")
"""What a pixel can show, by the index in `FlowerImage.parts`."""

COLOUR_NAMES: tuple[str, ...] = (
    "black",
    "blue",
    "brown",
    "grey",
    "green",
    "orange",
    "pink",
    "purple",
    "red",
    "white",
    "yellow",
)
"""The 11 basic colour terms, in the order of van de Weijer et al. (2009)."""

_COLOURED: Mapping[str, tuple[str, ...]] = {
    "single-6c": ("petals",),
    "double-12c": ("petals", "core"),
}

VARIANTS: tuple[str, ...] = tuple(_COLOURED)
"""VEBI, section 4.3: one fixed part changes its colour, or one of two parts is coloured."""

CLASS_NAMES: Mapping[str, tuple[str, ...]] = {
    "single-6c": COLOURS,
    "double-12c": tuple(f"{colour} {part}" for part in ("petals", "core") for colour in COLOURS),
}
"""The classes of each variant, by label."""

LEAST_SIZE = 32
"""Least side of a picture in pixels: the thinnest stem is then one pixel wide."""

MOST_SIZE = 4096
"""Largest side: a picture is painted with several samples a pixel."""

# Apart from any index's own stream of random numbers.
_LABELS = 0x1ABE15


def check_variant(variant: str) -> None:
    """Raises `UserError` if there is no such variant."""
    if variant not in VARIANTS:
        raise UserError(nearest(str(variant), VARIANTS, kind="variant of an8Flower"))


def check_size(size: int) -> int:
    """The side of a picture; `UserError` unless it is a whole number that can be rendered."""
    size = check_whole(size, "size")
    if size > MOST_SIZE:
        raise UserError(f"The size of an an8Flower picture is at most {MOST_SIZE} px, got {size}.")
    if size < LEAST_SIZE:
        raise UserError(
            f"The size of an an8Flower picture must be at least {LEAST_SIZE} (px), got {size}: "
            "a smaller one would lose the stem."
        )
    return size


def check_whole(value: int, name: str, *, least: int = 0) -> int:
    """A whole number of at least `least`, or a `UserError` that names it."""
    try:
        whole = operator.index(value)
    except TypeError:
        whole = least - 1
    if whole < least or isinstance(value, bool | np.bool_):
        raise UserError(f"The {name} must be a whole number of at least {least}, got {value!r}.")
    return whole


def class_of(variant: str, label: int) -> tuple[str, str]:
    """The colour and the part that define a class, such as ("red", "petals")."""
    part, colour = divmod(label, len(COLOURS))
    return COLOURS[colour], _COLOURED[variant][part]


def labels_of(variant: str, start: int, count: int, *, seed: int = 0) -> np.ndarray:
    """The labels of the pictures `start` to `start + count - 1`: int32 [count].

    Each run of as many indices as there are classes, counted from 0, holds every class once, in an
    order of its own. So the classes of the first n pictures differ by at most one in their numbers.

    Raises:
      UserError: an unknown variant; a negative number.
    """
    check_variant(variant)
    start, count, seed = (
        check_whole(value, name)
        for value, name in ((start, "index"), (count, "number of images"), (seed, "seed"))
    )
    classes = len(CLASS_NAMES[variant])
    first, last = start // classes, (start + count - 1) // classes
    runs = [
        np.argsort(np.random.default_rng((_LABELS, seed, classes, run)).random(classes))
        for run in range(first, last + 1)
    ]
    if count == 0:
        return np.zeros(0, np.int32)
    skip = start - first * classes
    return np.concatenate(runs)[skip : skip + count].astype(np.int32)
