"""Labelled images for relevance and ablation, with the masks of what they show if there are any."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Generator, Sequence

import numpy as np

from jaxinterp.data.decode_ahead import decode_ahead
from jaxinterp.data.open_image import UnreadableImage

__all__ = ["ClassBatch", "ClassImages", "class_batches"]


@dataclasses.dataclass(frozen=True, eq=False)
class ClassImages:
    """Images of known classes, read one at a time.

    Attributes:
      location: where they come from, for people.
      names: of the images.
      classes: int [count], the class of each, an index into the run's classes.
      read: `read(position)` gives the pixels uint8 [s, s, c] at the network's size and the mask
        bool [m, m] of what the image shows, or None.
    """

    location: str
    names: tuple[str, ...]
    classes: np.ndarray
    read: Callable[[int], tuple[np.ndarray, np.ndarray | None]]

    def __len__(self) -> int:
        return len(self.names)

    def first_of_each(self, per_class: int | None) -> ClassImages:
        """At most so many images of each class, the first ones."""
        if per_class is None:
            return self
        seen: collections.Counter[int] = collections.Counter()
        kept = []
        for position, own in enumerate(self.classes.tolist()):
            seen[own] += 1
            if seen[own] <= per_class:
                kept.append(position)
        return self.subset(kept)

    def subset(self, positions: Sequence[int]) -> ClassImages:
        """Only the images at these positions."""
        chosen = list(positions)
        read = self.read
        return ClassImages(
            self.location,
            tuple(self.names[position] for position in chosen),
            self.classes[chosen],
            lambda position: read(chosen[position]),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ClassBatch:
    """Images of one shape.

    Attributes:
      pixels: uint8 [batch_size, s, s, c]; zeros after the last image.
      classes: int32 [batch_size]; -1 after the last image.
      masks: float32 [batch_size, m, m], ones where no mask is known; zeros after the last image.
      positions: int [filled], of the images in their source.
      stop: how many images of the source are done with this batch.
      unreadable: name and reason of those that failed since the batch before.
    """

    pixels: np.ndarray
    classes: np.ndarray
    masks: np.ndarray
    positions: np.ndarray
    stop: int
    unreadable: tuple[tuple[str, str], ...]

    @property
    def filled(self) -> int:
        """How many images are in it, from the front."""
        return len(self.positions)


def class_batches(
    images: ClassImages,
    *,
    shape: tuple[int, int, int],
    mask_size: int,
    batch_size: int,
    start: int = 0,
) -> Generator[ClassBatch]:
    """The images from position `start`, read ahead (`decode_ahead`); every batch has one shape.

    A batch is no larger than the number of images. An unreadable image leaves no gap; the last
    batch is filled up with zeros.
    """
    batch_size = max(1, min(batch_size, len(images)))
    ready: list[tuple[int, np.ndarray, np.ndarray | None]] = []
    failed: list[tuple[str, str]] = []

    def batch(stop: int) -> ClassBatch:
        pixels = np.zeros((batch_size, *shape), np.uint8)
        masks = np.zeros((batch_size, mask_size, mask_size), np.float32)
        positions = np.array([position for position, _, _ in ready], int)
        for place, (_, image, mask) in enumerate(ready):
            pixels[place] = image
            masks[place] = 1 if mask is None else mask
        padding = np.full(batch_size - len(ready), -1, np.int32)
        classes = np.concatenate([images.classes[positions].astype(np.int32), padding])
        return ClassBatch(pixels, classes, masks, positions, stop, tuple(failed))

    left = range(start, len(images))
    with contextlib.closing(decode_ahead(images.read, left, batch_size=batch_size)) as stream:
        for position, future in stream:
            try:
                ready.append((position, *future.result()))
            except UnreadableImage as error:
                failed.append((images.names[position], str(error)))
            if len(ready) == batch_size:
                yield batch(position + 1)
                ready, failed = [], []
        if ready or failed:
            yield batch(len(images))
