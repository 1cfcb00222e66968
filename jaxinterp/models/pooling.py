"""Max pooling with its own vector-Jacobian product.

XLA differentiates `reduce_window` by select-and-scatter, which took thirteen times as long on a CPU
(3x3 windows with stride 2 of maps 112 x 112 x 64).
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

__all__ = ["MaxPool", "Padding", "max_pool"]

Padding = tuple[tuple[int, int], tuple[int, int]]
"""Pixels added ((above, below), (left, right))."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(
    x: Array, window: int = 2, stride: int = 2, padding: Padding = ((0, 0), (0, 0))
) -> Array:
    """Maximum over square windows: [n, h, w, c] -> [n, h', w', c].

    h' = (h + padding - window) // stride + 1: rows and columns that fill no window are dropped, as
    in PyTorch, and padding never is a maximum. Where a window's maximum occurs more than once, the
    first in row-major order takes the whole gradient, as in PyTorch; with deconvnet, where zeros
    tie, that decides which pixel lights up. A window with a NaN has the maximum NaN and passes no
    gradient.

    Args:
      x: maps, floating-point.
      window: side of the windows.
      stride: from one window to the next.
      padding: pixels around the map, above and below, left and right.

    Raises:
      ValueError: if a padded side is shorter than the window.
    """
    height, width = (side + sum(pad) for side, pad in zip(x.shape[1:3], padding, strict=True))
    if min(height, width) < window:
        raise ValueError(f"max_pool needs maps of at least {window}x{window}, got {height}x{width}")
    return jax.lax.reduce_window(
        x,
        np.asarray(-np.inf, x.dtype),
        jax.lax.max,
        (1, window, window, 1),
        (1, stride, stride, 1),
        ((0, 0), *padding, (0, 0)),
    )


def _max_pool_forward(
    x: Array, window: int, stride: int, padding: Padding
) -> tuple[Array, tuple[Array, Array]]:
    y: Array = max_pool(x, window, stride, padding)
    return y, (x, y)


def _max_pool_backward(
    window: int, stride: int, padding: Padding, residuals: tuple[Array, Array], dy: Array
) -> tuple[Array]:
    """Place by place in the window: the windows whose first maximum stands there send dy to it.

    Pixels whose row and column leave the same remainders modulo the stride form a phase. Within a
    phase a place of the window is a shift, so that the whole gradient is additions of shifted maps
    and one interleaving of the phases.
    """
    x, y = residuals
    n, rows, columns, channels = y.shape
    *_, height, width, _ = x.shape
    (above, below), (left, right) = padding
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)), constant_values=-np.inf)
    phase_rows = -(-(height + above + below) // stride)
    phase_columns = -(-(width + left + right) // stride)
    zero = jnp.zeros((n, phase_rows, phase_columns, channels), dy.dtype)
    phases = [[zero] * stride for _ in range(stride)]
    free = jnp.ones(y.shape, bool)
    for a in range(window):
        for b in range(window):
            stop = (n, a + (rows - 1) * stride + 1, b + (columns - 1) * stride + 1, channels)
            place = jax.lax.slice(padded, (0, a, b, 0), stop, (1, stride, stride, 1))
            hit = free & (place == y)
            free = free & ~hit
            down, across = a // stride, b // stride
            shift = (
                (0, 0),
                (down, phase_rows - rows - down),
                (across, phase_columns - columns - across),
                (0, 0),
            )
            part = jnp.pad(jnp.where(hit, dy, 0), shift)
            phases[a % stride][b % stride] = phases[a % stride][b % stride] + part
    lines = [jnp.stack(line, axis=3) for line in phases]
    dx = jnp.stack(lines, axis=2).reshape(n, phase_rows * stride, phase_columns * stride, channels)
    return (dx[:, above : above + height, left : left + width],)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


class MaxPool(nnx.Module):
    """`max_pool` as a layer; `padding` is of all sides alike, or as `max_pool` takes it."""

    def __init__(
        self, *, kernel_size: int = 2, stride: int = 2, padding: int | Padding = 0
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def __call__(self, x: Array) -> Array:
        padding = self.padding
        sides = ((padding, padding),) * 2 if isinstance(padding, int) else padding
        return max_pool(x, self.kernel_size, self.stride, sides)
