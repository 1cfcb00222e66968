"""Labelled images decoded ahead of the device, in batches of few shapes, in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Generator, Sequence
from typing import Literal

import numpy as np
from PIL import Image

from jaxinterp.data.concepts.colours import name_colours
from jaxinterp.data.concepts.concept_set import ConceptSample, ConceptSet
from jaxinterp.data.decode_ahead import decode_ahead
from jaxinterp.data.evaluation_crop import evaluation_crop
from jaxinterp.data.images import SkippedFile
from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.errors import UserError

__all__ = ["ConceptBatch", "Fit", "concept_batches", "decode_concept_image"]

Fit = Literal["crop", "squash"]

_PRESENT_STEP = 16


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptBatch:
    """Images of one size, with what they show.

    Attributes:
      images: uint8 [n, s, s, 3], RGB; zeros after the last image.
      labels: int32 [n, planes, m, m], the concept at each pixel of the mask grid, -1 where there is
        none. A concept may be in several planes of an image. Planes of -1 fill up.
      present: int32 [n, k], the concepts that the image shows on this grid, each once, in rising
        order, then -1.
      whole: bool [n, k], whether present[i, j] holds for the whole image: then its mask is all ones
        and `labels` does not have it.
      categories: bool [n, categories], whether the image may carry labels of the category, even if
        none falls on the grid.
      filled: how many images are in it, from the front; the others have no labels.
      names: of those images.
      positions: int32 [filled], of those images in the set.
      unreadable: images that failed since the batch before.
    """

    images: np.ndarray
    labels: np.ndarray
    present: np.ndarray
    whole: np.ndarray
    categories: np.ndarray
    filled: int
    names: tuple[str, ...]
    positions: np.ndarray
    unreadable: tuple[SkippedFile, ...]


@dataclasses.dataclass(frozen=True)
class _Geometry:
    size: int
    mask_size: int
    fit: Fit
    resize: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Decoded:
    """One image of a batch: arrays as there, without n."""

    name: str
    position: int
    image: np.ndarray
    labels: np.ndarray
    present: np.ndarray
    whole: np.ndarray

    def mask_of(self, concept: int) -> np.ndarray:
        """bool [m, m]: where the image shows a concept."""
        if self.whole[self.present == concept].any():
            return np.ones(self.labels.shape[1:], bool)
        return (self.labels == concept).any(0)


def concept_batches(
    concept_set: ConceptSet,
    *,
    size: int,
    mask_size: int,
    fit: Fit = "crop",
    batch_size: int,
    resize: int | None = None,
    positions: Sequence[int] | None = None,
    start: int = 0,
) -> Generator[ConceptBatch]:
    """The images of a set in their order, resized for a network, with their labels.

    Images are resized with Pillow's antialiased bilinear filter. "crop" is torchvision's evaluation
    transform (`evaluation_crop`): the shorter side to `resize`, then the centre square; "squash"
    resizes to a square whatever the shape, which is what Network Dissection's PyTorch code does.
    Masks are sampled once, at the nearest pixel of the original mask to the centre of each cell of
    the grid over the same square. Colours are named by the mean of the resized image over each
    cell, in 8 bits.

    A pool of threads reads at most two batches ahead. An unreadable image leaves no gap. Numbers of
    planes and of present concepts are rounded up (1, 2, 4, 8, ...; multiples of 16) and never
    shrink, so that a pass compiles for few shapes.

    Args:
      concept_set: where the images come from.
      size: side of the images, in pixels.
      mask_size: side of the grid of labels.
      fit: "crop" or "squash".
      batch_size: images in a batch; the last one is filled up.
      resize: the shorter side before a crop; without it `size`.
      positions: which images, in this order; without it all.
      start: how many of them were done before and are left out.

    Raises:
      UserError: a size below 1 or an unknown `fit`; a mask or a label that contradicts the set, as
        soon as it is met.
    """
    if min(size, mask_size, batch_size, resize or size) < 1 or start < 0:
        raise UserError("size, mask_size, resize and batch_size must be at least 1, start 0.")
    if fit not in ("crop", "squash"):
        raise UserError(f"fit must be 'crop' or 'squash', not {fit!r}.")
    geometry = _Geometry(size, mask_size, fit, resize or size)
    chosen = list(range(concept_set.count) if positions is None else positions)[start:]
    return _stream(concept_set, chosen, geometry, batch_size)


def _stream(
    concept_set: ConceptSet, positions: Sequence[int], geometry: _Geometry, batch_size: int
) -> Generator[ConceptBatch]:
    decoded: list[_Decoded] = []
    unreadable: list[SkippedFile] = []
    least = (1, _PRESENT_STEP)
    read = functools.partial(_decode, concept_set, geometry=geometry)
    with contextlib.closing(decode_ahead(read, positions, batch_size=batch_size)) as stream:
        for _, future in stream:
            result = future.result()
            if isinstance(result, SkippedFile):
                unreadable.append(result)
                continue
            decoded.append(result)
            if len(decoded) == batch_size:
                batch = _collate(decoded, unreadable, concept_set, geometry, batch_size, least)
                least = (batch.labels.shape[1], batch.present.shape[1])
                yield batch
                decoded, unreadable = [], []
        if decoded or unreadable:
            yield _collate(decoded, unreadable, concept_set, geometry, batch_size, least)


def _collate(
    decoded: Sequence[_Decoded],
    unreadable: Sequence[SkippedFile],
    concept_set: ConceptSet,
    geometry: _Geometry,
    batch_size: int,
    least: tuple[int, int],
) -> ConceptBatch:
    size, side = geometry.size, geometry.mask_size
    planes = max([least[0], *(len(one.labels) for one in decoded)])
    planes = 1 << (planes - 1).bit_length()
    width = max([least[1], *(len(one.present) for one in decoded)])
    width = -(-width // _PRESENT_STEP) * _PRESENT_STEP
    images = np.zeros((batch_size, size, size, 3), np.uint8)
    labels = np.full((batch_size, planes, side, side), -1, np.int32)
    present = np.full((batch_size, width), -1, np.int32)
    whole = np.zeros((batch_size, width), bool)
    names = concept_set.categories
    categories = np.zeros((batch_size, len(names)), bool)
    for i, one in enumerate(decoded):
        images[i] = one.image
        labels[i, : len(one.labels)] = one.labels
        present[i, : len(one.present)] = one.present
        whole[i, : len(one.whole)] = one.whole
        categories[i] = [name in concept_set.holds[one.position] for name in names]
    return ConceptBatch(
        images=images,
        labels=labels,
        present=present,
        whole=whole,
        categories=categories,
        filled=len(decoded),
        names=tuple(one.name for one in decoded),
        positions=np.asarray([one.position for one in decoded], np.int32),
        unreadable=tuple(unreadable),
    )


def decode_concept_image(
    concept_set: ConceptSet, position: int, *, size: int, mask_size: int, fit: Fit = "crop"
) -> _Decoded:
    """One image of a set and its labels, as `concept_batches` has them.

    Raises:
      UnreadableImage: a file of it is missing or broken.
      UserError: as `concept_batches`.
    """
    decoded = _decode(concept_set, position, _Geometry(size, mask_size, fit, size))
    if isinstance(decoded, SkippedFile):
        raise UnreadableImage(decoded.reason)
    return decoded


def _decode(concept_set: ConceptSet, position: int, geometry: _Geometry) -> _Decoded | SkippedFile:
    name = f"image {position}"
    try:
        sample = concept_set.read(position)
        name = sample.name
        image, columns, rows = _fit(sample.image, geometry)
    except UnreadableImage as error:
        return SkippedFile(name, str(error))
    labels = _labels(sample, image, columns, rows, geometry.mask_size)
    # One more place, for -1, which indexes it from the end.
    seen = np.zeros(len(concept_set.concepts) + 1, bool)
    seen[labels] = True
    seen[-1] = False
    if sample.whole:
        overlapping = seen[list(sample.whole)].any()
        seen[list(sample.whole)] = True
        if overlapping:
            labels[np.isin(labels, sample.whole)] = -1
    present = np.flatnonzero(seen).astype(np.int32)
    return _Decoded(name, position, image, labels, present, np.isin(present, sample.whole))


def _fit(pixels: np.ndarray, geometry: _Geometry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The image for the network, and where the centres of the grid's columns and rows lie.

    Places are shares of the original's width and height, in [0, 1) where they are in it.
    """
    size = geometry.size
    image = Image.fromarray(pixels)
    centres = (np.arange(geometry.mask_size) + 0.5) / geometry.mask_size
    if geometry.fit == "squash":
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image), centres, centres
    cropped = evaluation_crop(image, resize=geometry.resize, size=size)
    shorter, longer = min(image.size), max(image.size)
    scaled = [
        geometry.resize if side == shorter else int(geometry.resize * longer / shorter)
        for side in image.size
    ]
    columns, rows = ((_first(side, size) + centres * size) / side for side in scaled)
    return cropped, columns, rows


def _first(side: int, size: int) -> int:
    """The place of a crop's first pixel along a side, as in `evaluation_crop`."""
    missing = max(size - side, 0)
    return round((side + missing - size) / 2) - missing // 2


def _labels(
    sample: ConceptSample, image: np.ndarray, columns: np.ndarray, rows: np.ndarray, side: int
) -> np.ndarray:
    """int32 [planes, m, m]: the sample's planes on the grid, then that of the colours."""
    inside = ((rows >= 0) & (rows < 1))[:, None] & ((columns >= 0) & (columns < 1))
    found = []
    for planes in sample.planes.values():
        height, width = planes.shape[1:]
        at_row = np.clip((rows * height).astype(np.int64), 0, height - 1)
        at_column = np.clip((columns * width).astype(np.int64), 0, width - 1)
        found.append(planes[:, at_row[:, None], at_column])
    if sample.colour_bins is not None:
        cells = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
        found.append(name_colours(np.asarray(cells), sample.colour_bins)[None])
    if not found:
        return np.full((0, side, side), -1, np.int32)
    return np.where(inside, np.concatenate(found), np.int32(-1))
