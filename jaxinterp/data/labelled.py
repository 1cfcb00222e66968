"""Labelled images, wherever they come from: what every source of an evaluation looks like."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

__all__ = ["LabelledImage", "LabelledImages", "SourceClass"]


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image as its source holds it, not decoded yet.

    Attributes:
      name: in messages; a file's path below the source, or a number.
      label: index into the source's `classes`.
      content: a file, the bytes of one, or pixels uint8 [h, w, 3].
    """

    name: str
    label: int
    content: Path | bytes | np.ndarray


@dataclasses.dataclass(frozen=True)
class SourceClass:
    """What a source knows of one of its classes.

    Attributes:
      key: what it calls the class: a folder's name, a TFDS label's name, a number.
      synset: WordNet's id, if it is said apart from the key.
      name: for people, if it is said apart from the key.
    """

    key: str
    synset: str | None = None
    name: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledImages:
    """A set of labelled images of any size, read one at a time.

    Attributes:
      kind: what was recognised, in words ("class folders").
      location: the path or name that was given.
      classes: by label, in the source's own order.
      count: how many images.
      read: the image at a position from 0 to count - 1; may be called from several threads. It
        raises `UnreadableImage` if this one cannot be had.
      split: of the source, if it has several.
      notes: what else the user should know, a sentence each.
    """

    kind: str
    location: str
    classes: tuple[SourceClass, ...]
    count: int
    read: Callable[[int], LabelledImage]
    split: str | None = None
    notes: tuple[str, ...] = ()
