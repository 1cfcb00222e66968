"""Rendered flowers as labelled images, for what evaluates a network."""

from __future__ import annotations

from jaxinterp.data.an8flower.classes import CLASS_NAMES, check_variant, labels_of
from jaxinterp.data.an8flower.render import render
from jaxinterp.data.an8flower.splits import PREFIX, SPLIT_COUNTS, SPLIT_SEEDS
from jaxinterp.data.labelled import LabelledImage, LabelledImages, SourceClass
from jaxinterp.errors import UserError, nearest

__all__ = ["flower_split", "read_labelled_flowers"]

_SIZE = 64


def flower_split(location: str, split: str | None) -> tuple[str, int, int]:
    """What `an8flower:VARIANT[:COUNT]` and a split stand for: variant, number of images, seed.

    Raises:
      UserError: an unknown variant or split, a number below 1.
    """
    variant, _, text = location.removeprefix(PREFIX).partition(":")
    check_variant(variant)
    split = split or "test"
    if split not in SPLIT_SEEDS:
        raise UserError(nearest(split, SPLIT_SEEDS, kind="split of an8Flower"))
    if text and not (text.isascii() and text.isdigit() and 0 < int(text) < 10**9):
        raise UserError(f"{location}: after the variant comes the number of images, not {text!r}.")
    return variant, int(text) if text else SPLIT_COUNTS[split], SPLIT_SEEDS[split]


def read_labelled_flowers(location: str, *, split: str | None = None) -> LabelledImages:
    """The flowers of `an8flower:VARIANT[:COUNT]`, 64 px, "test" unless another split is named.

    Raises:
      UserError: an unknown variant or split, a number below 1.
    """
    variant, count, seed = flower_split(location, split)
    labels = labels_of(variant, 0, count, seed=seed)

    def read(position: int) -> LabelledImage:
        flower = render(variant, position, size=_SIZE, seed=seed)
        return LabelledImage(f"{variant}/{position}", int(labels[position]), flower.image)

    return LabelledImages(
        kind="rendered flowers",
        location=location,
        classes=tuple(SourceClass(name) for name in CLASS_NAMES[variant]),
        count=count,
        read=read,
        split=split or "test",
    )
