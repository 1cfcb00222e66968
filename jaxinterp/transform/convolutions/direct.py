"""Convolutions as XLA computes them, and gradients written as convolutions without dilation."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxinterp.transform.convolutions.geometry import Geometry, Pair

__all__ = [
    "direct",
    "flip",
    "make_dense",
    "matrix_product",
    "phase_filters",
    "phase_gradient",
]

_NUMBERS = ("NHWC", "HWIO", "NHWC")


def direct(x: jax.Array, weights: jax.Array, geometry: Geometry) -> jax.Array:
    """[n, h, w, channels], [.., .., channels / groups, kernels] -> [n, h', w', kernels]."""
    return jax.lax.conv_general_dilated(
        x,
        weights,
        geometry.strides,
        geometry.padding,
        dimension_numbers=_NUMBERS,
        feature_group_count=geometry.groups,
    )


def flip(weights: jax.Array) -> jax.Array:
    """The filter with which the input's gradient is a convolution; for one group.

    Written out, and not left to XLA: it brings the transposed filter into the layout of its fast
    code in a program's entry computation only, and not in loops.
    """
    return jnp.transpose(weights[::-1, ::-1], (0, 1, 3, 2))


def make_dense(weights: jax.Array, groups: int) -> jax.Array:
    """[h, w, channels / groups, kernels] -> [h, w, channels, kernels], zero between groups."""
    high, wide, channels, kernels = weights.shape
    own = weights.reshape(high, wide, channels, groups, kernels // groups)
    own = jnp.moveaxis(own, 3, 2)
    same = jnp.eye(groups, dtype=bool)[:, None, :, None]
    dense = jnp.where(same, own[:, :, :, :, None, :], 0)
    return dense.reshape(high, wide, groups * channels, kernels)


def matrix_product(x: jax.Array, weights: jax.Array, geometry: Geometry) -> jax.Array:
    """A 1x1 convolution without padding, [1, 1, channels, kernels], as one product."""
    down, across = geometry.strides
    x = x[:, ::down, ::across]
    return (x.reshape(-1, geometry.channels) @ weights[0, 0]).reshape(
        *x.shape[:3], geometry.kernels
    )


def phase_filters(weights: jax.Array, strides: Pair) -> list[jax.Array]:
    """The filters of `phase_gradient`: one for each remainder of a pixel's place by the stride.

    [h, w, channels, kernels] -> ceil((h - a) / stride) x ceil((w - b) / stride) taps each, of
    kernels x channels; none for a remainder that no tap reaches.
    """
    down, across = strides
    return [
        flip(weights[a::down, b::across])
        for a in range(min(down, weights.shape[0]))
        for b in range(min(across, weights.shape[1]))
    ]


def phase_gradient(dy: jax.Array, filters: Sequence[jax.Array], geometry: Geometry) -> jax.Array:
    """The gradient [n, h, w, channels] of the input of a strided convolution.

    Pixels whose places (counted from the padding's edge) leave the same remainders modulo the
    strides form a phase. Within a phase the gradient is a convolution with stride 1 of every
    stride-th tap, where XLA's own form is one of an output with zeros between its elements.
    """
    n, channels = dy.shape[0], geometry.channels
    (above, _), (left, _) = geometry.padding
    down, across = geometry.strides
    rows = -(-(geometry.size[0] + above) // down)
    columns = -(-(geometry.size[1] + left) // across)
    reached = iter(filters)
    lines = []
    for a in range(down):
        line = []
        for b in range(across):
            if a < geometry.window[0] and b < geometry.window[1]:
                taps = next(reached)
                high, wide = taps.shape[:2]
                padding = (
                    (high - 1, rows - dy.shape[1]),
                    (wide - 1, columns - dy.shape[2]),
                )
                phase = jax.lax.conv_general_dilated(
                    dy, taps, (1, 1), padding, dimension_numbers=_NUMBERS
                )
            else:
                phase = jnp.zeros((n, rows, columns, channels), dy.dtype)
            line.append(phase)
        lines.append(jnp.stack(line, axis=3))
    dx = jnp.stack(lines, axis=2).reshape(n, rows * down, columns * across, channels)
    return dx[:, above : above + geometry.size[0], left : left + geometry.size[1]]
