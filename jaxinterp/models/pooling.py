"""2x2 max pooling with its own vector-Jacobian product.

XLA differentiates `reduce_window` by select-and-scatter, which is slow on CPUs; for windows that do
not overlap the gradient is four comparisons and an interleaving.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

__all__ = ["MaxPool", "max_pool"]


@jax.custom_vjp
def max_pool(x: Array) -> Array:
    """Maximum over 2x2 windows with stride 2: [n, h, w, c] -> [n, h // 2, w // 2, c].

    A last odd row or column is dropped, as in PyTorch. Where a window's maximum occurs more than
    once, the first in row-major order takes the whole gradient, as in PyTorch; with deconvnet,
    where zeros tie, that decides which pixel lights up. A window with a NaN has the maximum NaN and
    passes no gradient.

    Raises:
      ValueError: if a side is shorter than 2.
    """
    n, height, width, channels = x.shape
    height, width = height // 2, width // 2
    if not height or not width:
        raise ValueError(f"max_pool needs maps of at least 2x2, got {x.shape[1]}x{x.shape[2]}")
    x = x[:, : 2 * height, : 2 * width, :]
    return x.reshape(n, height, 2, width, 2, channels).max((2, 4))


def _corners(x: Array) -> tuple[Array, Array, Array, Array]:
    """The four pixels of every window, in row-major order."""
    x = x[..., : x.shape[-3] // 2 * 2, : x.shape[-2] // 2 * 2, :]
    top, bottom = x[..., 0::2, :, :], x[..., 1::2, :, :]
    return (
        top[..., 0::2, :],
        top[..., 1::2, :],
        bottom[..., 0::2, :],
        bottom[..., 1::2, :],
    )


def _max_pool_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y = max_pool(x)
    return y, (x, y)


def _max_pool_backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array]:
    x, y = residuals
    free = jnp.ones(y.shape, bool)
    parts = []
    for corner in _corners(x):
        hit = free & (corner == y)
        parts.append(jnp.where(hit, dy, 0))
        free = free & ~hit
    top = _interleave(parts[0], parts[1], axis=-2)
    bottom = _interleave(parts[2], parts[3], axis=-2)
    dx = _interleave(top, bottom, axis=-3)
    padding = [(0, full - used) for full, used in zip(x.shape, dx.shape, strict=True)]
    return (jnp.pad(dx, padding),)


def _interleave(even: Array, odd: Array, *, axis: int) -> Array:
    stacked = jnp.stack([even, odd], axis=axis)
    shape = list(even.shape)
    shape[axis] *= 2
    return stacked.reshape(shape)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


class MaxPool(nnx.Module):
    """`max_pool` as a layer."""

    kernel_size, stride, padding = 2, 2, 0

    def __call__(self, x: Array) -> Array:
        return max_pool(x)
