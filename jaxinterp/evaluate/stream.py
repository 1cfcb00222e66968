"""Images decoded ahead of the device, in batches of one shape, in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Generator, Sequence

import numpy as np

from jaxinterp.data.decode_ahead import decode_ahead
from jaxinterp.data.labelled import LabelledImages
from jaxinterp.data.labelled_pixels import labelled_pixels
from jaxinterp.data.open_image import UnreadableImage

__all__ = ["Batch", "Geometry", "Unreadable", "batches"]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What is cut out of each image; see `evaluation_crop`."""

    resize: int
    size: int
    channels: int = 3


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """An image that could not be had, and why, in words."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Images of one size.

    Attributes:
      pixels: uint8 [batch_size, size, size, channels]; zeros after the last image.
      labels: int32 [batch_size], the source's; 0 after the last image.
      filled: how many images are in it, from the front.
      unreadable: those that failed since the batch before.
    """

    pixels: np.ndarray
    labels: np.ndarray
    filled: int
    unreadable: tuple[Unreadable, ...]


def batches(
    source: LabelledImages, positions: Sequence[int], *, geometry: Geometry, batch_size: int
) -> Generator[Batch]:
    """The images at `positions`, in their order; every batch has the same shape.

    They are read ahead (`decode_ahead`). An unreadable image leaves no gap; the last batch is
    filled up with zeros, so that nothing is compiled for its size, and may hold no image at all if
    the last ones were unreadable.
    """
    shape = (geometry.size, geometry.size, geometry.channels)
    read = functools.partial(_decode, source, geometry=geometry)
    pixels, labels = np.zeros((batch_size, *shape), np.uint8), np.zeros(batch_size, np.int32)
    filled, unreadable = 0, []
    with contextlib.closing(decode_ahead(read, positions, batch_size=batch_size)) as stream:
        for _, future in stream:
            result = future.result()
            if isinstance(result, Unreadable):
                unreadable.append(result)
                continue
            pixels[filled], labels[filled] = result
            filled += 1
            if filled == batch_size:
                yield Batch(pixels, labels, filled, tuple(unreadable))
                # New arrays: the device may still be copying the old ones.
                pixels, labels = np.zeros_like(pixels), np.zeros_like(labels)
                filled, unreadable = 0, []
        if filled or unreadable:
            yield Batch(pixels, labels, filled, tuple(unreadable))


def _decode(
    source: LabelledImages, position: int, geometry: Geometry
) -> tuple[np.ndarray, int] | Unreadable:
    name = f"image {position}"
    try:
        labelled = source.read(position)
        name = labelled.name
        return labelled_pixels(labelled, **dataclasses.asdict(geometry)), labelled.label
    except UnreadableImage as error:
        return Unreadable(name, str(error))
