"""Rendered flowers (`jaxinterp.data.an8flower`) as a concept set, drawn when they are read."""

from __future__ import annotations

import numpy as np

from jaxinterp.data.an8flower import CLASS_NAMES, COLOUR_NAMES, PARTS, VARIANTS, render
from jaxinterp.data.an8flower.splits import PREFIX
from jaxinterp.data.concepts.concept_set import Concept, ConceptSample, ConceptSet
from jaxinterp.errors import UserError

__all__ = ["read_flowers"]

_FORM = f"{PREFIX}VARIANT[:COUNT[:SIZE[:SEED]]]"
_DEFAULTS = (600, 64, 0)


def read_flowers(location: str) -> ConceptSet:
    """Parts and colours of rendered flowers, exact to the pixel.

    Concepts: the parts of a flower in the category "part" (the background is none), and the 11
    colour names in "color", as they were painted, background included. Of double-12c also its
    classes in "class", where their discriminative parts are; those of single-6c are colours.

    Args:
      location: "an8flower:VARIANT[:COUNT[:SIZE[:SEED]]]", such as "an8flower:single-6c:600:64:0";
        600 pictures of 64 px with seed 0 unless told.

    Raises:
      UserError: another form, an unknown variant, numbers that the renderer refuses.
    """
    variant, *texts = location.removeprefix(PREFIX).split(":")
    numbers = [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 10]
    if not location.startswith(PREFIX) or len(numbers) < len(texts) or len(texts) > 3:
        raise UserError(
            f"{location!r} does not name rendered flowers: the form is {_FORM}, with a variant out "
            f"of {', '.join(VARIANTS)} and whole numbers."
        )
    count, size, seed = (*numbers, *_DEFAULTS[len(numbers) :])
    if count < 1:
        raise UserError(f"At least 1 flower must be asked for, got {location!r}.")
    render(variant, 0, size=size, seed=seed)  # what is wrong is said now
    parts = [name for name in PARTS if name != "background"]
    concepts = [Concept(name, "part") for name in parts]
    concepts += [Concept(name, "color") for name in COLOUR_NAMES]
    classes = CLASS_NAMES[variant] if variant == "double-12c" else ()
    concepts += [Concept(name, "class") for name in classes]
    first_class = len(parts) + len(COLOUR_NAMES)
    of_part = np.asarray([parts.index(one) if one in parts else -1 for one in PARTS], np.int32)

    def read(position: int) -> ConceptSample:
        flower = render(variant, position, size=size, seed=seed)
        planes = {
            "part": of_part[flower.parts][None],
            "color": flower.colours.astype(np.int32)[None] + np.int32(len(parts)),
        }
        if classes:
            own = np.where(
                flower.discriminative, np.int32(first_class + flower.label), np.int32(-1)
            )
            planes["class"] = own[None]
        return ConceptSample(f"{variant}/{position:06d}", flower.image, planes)

    return ConceptSet(
        kind="rendered flowers",
        location=location,
        concepts=tuple(concepts),
        holds=(frozenset(one.category for one in concepts),) * count,
        read=read,
    )
