"""Winograd's minimal filtering for 3x3 convolutions with strides 1.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015): Y = A^T [(G g G^T) *
(B^T d B)] A for tiles d of 6x6 pixels that give 4x4 outputs, or of 4x4 that give 2x2. The products
over channels are one matrix product for each of the 36 (16) places of a tile, with 1/4 (4/9) of the
multiplications of the convolution itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp.transform.convolutions.geometry import Geometry

__all__ = ["FOUR", "TWO", "Tiles", "transform_filter", "winograd"]


class Tiles(NamedTuple):
    """The matrices of F(m x m, 3x3): `outputs` is m."""

    outputs: int
    inward: np.ndarray
    filters: np.ndarray
    outward: np.ndarray


TWO = Tiles(
    2,
    np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], float),
    np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], float),
    np.array([[1, 1, 1, 0], [0, 1, -1, -1]], float),
)
FOUR = Tiles(
    4,
    np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        float,
    ),
    np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
    np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
             float),
)  # fmt: skip


def transform_filter(weights: jax.Array, tiles: Tiles) -> list[jax.Array]:
    """[3, 3, channels, kernels] -> one matrix [channels, kernels] for each place of a tile."""
    matrix = jnp.asarray(tiles.filters, weights.dtype)
    both = jnp.einsum("ia,jb,abck->ijck", matrix, matrix, weights, precision="highest")
    return [both[i, j] for i in range(both.shape[0]) for j in range(both.shape[1])]


def winograd(
    x: jax.Array, filters: Sequence[jax.Array], geometry: Geometry, tiles: Tiles
) -> jax.Array:
    """The convolution [n, h, w, channels] -> [n, h', w', kernels], the filter being transformed.

    One product for each place rather than one batch of them: XLA's CPU backend runs the 36 beside
    each other, and writes every transformed map from its own loop. Stacked, they took up to twice
    as long.
    """
    m, side = tiles.outputs, tiles.outputs + 2
    n, channels, kernels = geometry.images, geometry.channels, geometry.kernels
    high, wide = geometry.out_size
    down, across = -(-high // m), -(-wide // m)
    (above, _), (left, _) = geometry.padding
    # Whole blocks of m x m pixels, one more than there are tiles: a tile is a block and the first
    # two rows and columns of the next.
    below = m * (down + 1) - above - geometry.size[0]
    right = m * (across + 1) - left - geometry.size[1]
    zero = jnp.zeros((), x.dtype)
    x = jax.lax.pad(x, zero, ((0, 0, 0), (above, below, 0), (left, right, 0), (0, 0, 0)))
    x = x.reshape(n, down + 1, m, across + 1, m, channels)
    lines = [x[:, place // m : place // m + down, place % m] for place in range(side)]
    lines = [_combine(row, lines) for row in tiles.inward]
    products = []
    for line in lines:
        columns = [line[:, :, place // m : place // m + across, place % m] for place in range(side)]
        for row in tiles.inward:
            maps = _combine(row, columns).reshape(n * down * across, channels)
            products.append(maps @ filters[len(products)])
    grid = [products[side * i : side * (i + 1)] for i in range(side)]
    rows = []
    for out in tiles.outward:
        line = [_combine(out, [grid[i][j] for i in range(side)]) for j in range(side)]
        cells = [_combine(row, line).reshape(n, down, across, kernels) for row in tiles.outward]
        rows.append(jnp.stack(cells, axis=3))
    y = jnp.stack(rows, axis=2).reshape(n, m * down, m * across, kernels)
    return y[:, :high, :wide]


def _combine(row: np.ndarray, arrays: Sequence[jax.Array]) -> jax.Array:
    """The sum of some arrays, each times a number; those times 0 are not read."""
    total = None
    for factor, array in zip(row.tolist(), arrays, strict=True):
        if factor == 0:
            continue
        term = array if factor == 1 else factor * array
        total = term if total is None else total + term
    assert total is not None
    return total
