"""Bilinear interpolation between a layer's grid and the grid of masks, as matrices."""

from __future__ import annotations

import numpy as np

from jaxinterp.errors import UserError

__all__ = ["bilinear_matrix"]


def bilinear_matrix(source: int, target: int) -> np.ndarray:
    """The matrix that resamples a line of `source` values bilinearly to `target` values.

    A map [h, w] becomes `bilinear_matrix(h, m) @ map @ bilinear_matrix(w, m).T`, [m, m]. A weight
    for each value of a mask [m, m] becomes one for each value of the map by the transposes,
    `bilinear_matrix(h, m).T @ mask @ bilinear_matrix(w, m)`: the sum of mask times resampled map
    equals that of resampled mask times map.

    A line's values lie at the centres of cells of equal width that fill the same length in both
    grids, and the first and last value continue to the ends. It is what PyTorch's
    `interpolate(mode="bilinear", align_corners=False)` does, which does not filter when `target` is
    less than `source`.

    Args:
        source: The number of values that there are, at least 1.
        target: The number of values wanted, at least 1.

    Returns:
        float64 [target, source]. Each row sums to 1 and has at most two values other than 0, which
        are neighbours and not negative.

    Raises:
        UserError: A size below 1.
    """
    for size, what in ((source, "source"), (target, "target")):
        if size < 1:
            raise UserError(f"The {what} grid must have at least 1 value a side, not {size}.")
    rows = np.arange(target)
    places = np.clip((rows + 0.5) * (source / target) - 0.5, 0, source - 1)
    before = np.floor(places).astype(int)
    after = np.minimum(before + 1, source - 1)
    fraction = places - before
    matrix = np.zeros((target, source))
    matrix[rows, before] = 1 - fraction
    matrix[rows, after] += fraction
    return matrix
