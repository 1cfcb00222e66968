"""an8Flower: rendered flowers with exact masks, and the layouts they are kept in."""

from jaxinterp.data.an8flower.classes import (
    CLASS_NAMES,
    COLOUR_NAMES,
    COLOURS,
    LEAST_SIZE,
    PARTS,
    VARIANTS,
)
from jaxinterp.data.an8flower.render import (
    FlowerImage,
    FlowerImages,
    FlowerParameters,
    render,
    render_many,
)

__all__ = [
    "CLASS_NAMES",
    "COLOURS",
    "COLOUR_NAMES",
    "LEAST_SIZE",
    "PARTS",
    "VARIANTS",
    "FlowerImage",
    "FlowerImages",
    "FlowerParameters",
    "render",
    "render_many",
]
