"""The program that counts pixels in a batch: of units, of concepts, and of both (paper 004, Eq. 1).

At a share of 0.005 hardly any pixel is active. The masks' grid is cut into tiles, and a unit is
upsampled in a tile only if a value above its threshold takes part there: upsampled values are
weighted means, so elsewhere none can lie above. In each image and tile the active units are put
first, and a loop whose length the data decide takes them in chunks. All shapes are fixed.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxinterp.methods.dissection_upsampling import Mode, Upsampling, check_mode

__all__ = ["BatchCounts", "counter"]


class BatchCounts(NamedTuple):
    """What `counter` counts in n images, in pixels of the masks' grid.

    Attributes:
      intersection: by layer, int32 [n, units, k]: of the unit's mask and each present concept's.
      activated: by layer, int32 [n, units]: of the unit's mask.
      labelled: int32 [n, k]: of each present concept's mask.
      peak: by layer, float32 [n, units]: the largest value of the unit's own map.
    """

    intersection: dict[str, Array]
    activated: dict[str, Array]
    labelled: Array
    peak: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """What is computed together: a chunk of units in a tile of about this side, in pixels."""

    tile: int
    chunk: int


# A chunk in a tile fits a CPU core's own cache; on other devices the loop has to be short.
_SIZES = {"cpu": _Sizes(28, 32)}
_OTHER_SIZES = _Sizes(56, 512)


def counter(
    upsamplings: Mapping[str, Upsampling],
    *,
    mode: Mode = "paper",
    chunk: int | None = None,
    tile: int | None = None,
) -> Callable[..., BatchCounts]:
    """A pure function that counts in one batch, for all layers at once; to be jitted.

    A unit u is active at a pixel where S_u > T_u, with S_u its upsampled map. (The paper prints
    M = A >= T, but defines T by P(a > T); with >=, a unit of which T = 0 would be active
    everywhere. Both original programs use >.)

    Args:
      upsamplings: of the layers that are counted, all to one grid.
      mode: in "paper" a concept's mask is a set of pixels; in "v1" and "lite" a pixel that carries
        a concept in two planes counts twice, as in the original programs.
      chunk: units that are upsampled together.
      tile: side of the squares into which the grid is cut, roughly, in pixels. Speed and memory
        depend on these two, and nothing else but roundings at the threshold.

    Returns:
      `count(maps, thresholds, labels, present, whole, filled) -> BatchCounts` with `maps` by layer
      float [n, h, w, units], `thresholds` by layer float32 [units] (NaN: never active), `labels`
      int32 [n, planes, grid height, grid width] (-1: none), `present` int32 [n, k] (-1: none),
      `whole` bool [n, k] (the concept covers the whole image) and `filled` int32 []: images after
      the first `filled` ones are padding and count nothing. Counts are exact for grids of fewer
      than 2^24 pixels.

    Raises:
      UserError: an unknown mode.
    """
    check_mode(mode)
    sizes = _SIZES.get(jax.default_backend(), _OTHER_SIZES)
    groups: dict[Any, tuple[Upsampling, list[str]]] = {}
    for name, one in upsamplings.items():
        groups.setdefault(one.key, (one, []))[1].append(name)
    parts = [
        _Part(one, layers, tile or sizes.tile, chunk or sizes.chunk)
        for one, layers in groups.values()
    ]

    def count(
        maps: Mapping[str, Array],
        thresholds: Mapping[str, ArrayLike],
        labels: ArrayLike,
        present: ArrayLike,
        whole: ArrayLike,
        filled: ArrayLike,
    ) -> BatchCounts:
        labels, present, whole = map(jnp.asarray, (labels, present, whole))
        real = jnp.arange(len(present)) < filled
        present = jnp.where(real[:, None], present, -1)
        masks_of = functools.partial(_concept_masks, repeat=mode != "paper")
        masks = jax.vmap(masks_of)(labels, present, whole)
        labelled = masks.sum((1, 2)).astype(jnp.int32)
        masks = jnp.concatenate([masks, jnp.ones_like(masks, shape=(*masks.shape[:3], 1))], -1)
        intersection, activated, peak = {}, {}, {}
        for part in parts:
            highest = {name: maps[name].max((1, 2)) for name in part.layers}
            counts = part.count(maps, thresholds, masks, real)
            start = 0
            for name in part.layers:
                end = start + maps[name].shape[-1]
                intersection[name] = counts[:, start:end, :-1]
                activated[name] = counts[:, start:end, -1]
                start = end
            peak |= highest
        return BatchCounts(intersection, activated, labelled, peak)

    return count


def _concept_masks(labels: Array, present: Array, whole: Array, *, repeat: bool) -> Array:
    """float32 [grid height, grid width, k]: 1 where the concept is, or in how many planes."""
    hits = (labels[..., None] == present) & (present >= 0)
    masks = hits.sum(0) if repeat else hits.any(0)
    return jnp.where(whole & (present >= 0), 1.0, masks.astype(jnp.float32))


class _Tiles:
    """One axis of the grid in equal pieces, and the stretch of the map that each one needs.

    Attributes:
      side: pixels of a piece; the last may reach over the grid's end.
      first: int32 [pieces], where the stretches begin.
      span: their length.
      matrices: float32 [pieces, side, span], the upsampling.
    """

    def __init__(self, matrix: np.ndarray, side: int) -> None:
        grid, size = matrix.shape
        self.side = -(-grid // max(1, round(grid / side)))
        pieces = -(-grid // self.side)  # none of them empty
        padded = np.zeros((pieces * self.side, size), np.float32)
        padded[:grid] = matrix
        blocks = padded.reshape(pieces, self.side, size)
        ends = [np.flatnonzero(block.any(0))[[0, -1]] for block in blocks]
        self.span = max(int(last - first) + 1 for first, last in ends)
        self.first = np.array([min(first, size - self.span) for first, _ in ends], np.int32)
        self.matrices = np.stack(
            [block[:, at : at + self.span] for block, at in zip(blocks, self.first, strict=True)]
        )
        self.needed = [slice(int(first), int(last) + 1) for first, last in ends]

    def __len__(self) -> int:
        return len(self.first)


class _Part:
    """Layers that are upsampled alike, treated as one with all their units."""

    def __init__(
        self, upsampling: Upsampling, layers: Sequence[str], tile: int, chunk: int
    ) -> None:
        self.layers = layers
        self._rows = _Tiles(upsampling.rows, tile)
        self._columns = _Tiles(upsampling.columns, tile)
        self._chunk = chunk

    def count(
        self,
        maps: Mapping[str, Array],
        thresholds: Mapping[str, ArrayLike],
        masks: Array,
        real: Array,
    ) -> Array:
        """int32 [n, units, k + 1] from masks [n, grid height, grid width, k + 1]."""
        values = jnp.concatenate([maps[name] for name in self.layers], -1)
        limits = jnp.concatenate([jnp.asarray(thresholds[name]) for name in self.layers])
        images, _, _, units = values.shape
        tiles = len(self._rows) * len(self._columns)
        chunk = min(self._chunk, units)
        order, number = self._active(values, limits, real, chunk)
        ends = jnp.cumsum((number + chunk - 1) // chunk)
        masks = self._cut(masks)

        def one_chunk(item: Array, counts: Array) -> Array:
            place = (ends <= item).sum()
            image, tile = place // tiles, place % tiles
            row, column = tile // len(self._columns), tile % len(self._columns)
            begun = jnp.where(place > 0, ends[place - 1], 0)
            first = (item - begun) * chunk
            chosen = jax.lax.dynamic_slice(order, (place, first), (1, chunk))[0]
            above = self._upsample(values, image, row, column, chosen) > limits[chosen][:, None]
            found = jnp.einsum("ycx,yxk->ck", above.astype(jnp.float32), masks[image, tile])
            inside = first + jnp.arange(chunk) < number[place]
            chosen = jnp.where(inside, chosen, units)  # which is dropped
            return counts.at[image, chosen].add(found.astype(jnp.int32), mode="drop")

        counts = jnp.zeros((images, units, masks.shape[-1]), jnp.int32)
        return jax.lax.fori_loop(0, ends[-1], one_chunk, counts)

    def _active(self, values: Array, limits: Array, real: Array, chunk: int) -> tuple[Array, Array]:
        """(order [n tiles, units and padding], number [n tiles]): active units first."""
        units = values.shape[-1]
        bands = [values[:, at].max(1) for at in self._rows.needed]
        peaks = [band[:, columns].max(1) for band in bands for columns in self._columns.needed]
        active = jnp.stack(peaks, 1) > limits
        active = (active & real[:, None, None]).reshape(-1, units)
        upto = jnp.cumsum(active, -1)
        padded = units + -units % chunk
        target = jnp.where(active, upto - 1, padded)
        order = jnp.zeros((len(active), padded), jnp.int32)
        order = order.at[jnp.arange(len(active))[:, None], target].set(
            jnp.arange(units, dtype=jnp.int32), mode="drop"
        )
        return order, upto[:, -1]

    def _cut(self, masks: Array) -> Array:
        """[n, grid height, grid width, k] to [n, tiles, height, width, k], filled up with 0."""
        rows, columns = self._rows, self._columns
        images, height, width, concepts = masks.shape
        short = (len(rows) * rows.side - height, len(columns) * columns.side - width)
        masks = jnp.pad(masks, ((0, 0), (0, short[0]), (0, short[1]), (0, 0)))
        shape = (images, len(rows), rows.side, len(columns), columns.side, concepts)
        masks = masks.reshape(shape).transpose(0, 1, 3, 2, 4, 5)
        return masks.reshape(images, -1, rows.side, columns.side, concepts)

    def _upsample(
        self, values: Array, image: Array, row: Array, column: Array, chosen: Array
    ) -> Array:
        """[height, chunk, width] of a tile: the order in which no product transposes.

        Never in less than float32: units stand or fall with single roundings at the threshold.
        """
        rows, columns = self._rows, self._columns
        top, left = jnp.asarray(rows.first)[row], jnp.asarray(columns.first)[column]

        def of_unit(unit: Array) -> Array:
            shape = (1, rows.span, columns.span, 1)
            return jax.lax.dynamic_slice(values, (image, top, left, unit), shape)[0, :, :, 0]

        own = jax.vmap(of_unit, out_axes=1)(chosen).astype(jnp.float32)
        if not _is_identity(rows.matrices):
            flat = own.reshape(rows.span, -1)
            flat = jnp.dot(jnp.asarray(rows.matrices)[row], flat, precision="highest")
            own = flat.reshape(rows.side, *own.shape[1:])
        if not _is_identity(columns.matrices):
            flat = own.reshape(-1, columns.span)
            flat = jnp.dot(flat, jnp.asarray(columns.matrices)[column].T, precision="highest")
            own = flat.reshape(*own.shape[:2], columns.side)
        return own


def _is_identity(matrices: np.ndarray) -> bool:
    return bool((matrices == np.eye(*matrices.shape[1:])).all())
