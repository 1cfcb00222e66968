"""The layers that the networks are built from, with torchvision's parameter names.

Images and maps are NHWC, convolution weights HWIO, dense weights [in, out]. Every layer is a small
Flax NNX module; parameters are called `weight`, `bias`, `running_mean` and `running_var`, so that a
parameter's path in a network is its name in a PyTorch checkpoint.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

__all__ = [
    "BatchNorm",
    "Conv",
    "Dropout",
    "Linear",
    "LocalResponseNorm",
    "ReLU",
    "adaptive_average_pool",
]


class Conv(nnx.Module):
    """Convolution, [n, h, w, in_channels] -> [n, h', w', out_channels].

    With `groups`, kernel k sees the input channels of its group alone: those from
    g in_channels / groups on, g = k groups // out_channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        shape = (kernel_size, kernel_size, in_channels // groups, out_channels)
        self.weight = nnx.Param(jnp.zeros(shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros((out_channels,), jnp.float32)) if bias else None
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.groups = groups

    def __call__(self, x: Array) -> Array:
        x = jax.lax.conv_general_dilated(
            x,
            self.weight[...],
            (self.stride, self.stride),
            ((self.padding, self.padding), (self.padding, self.padding)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )
        return x if self.bias is None else x + self.bias[...]


class BatchNorm(nnx.Module):
    """Batch normalisation over all axes but the last.

    `training=True` normalises by the batch's own statistics and moves the running ones towards them
    (the variance unbiased, as PyTorch does); otherwise the running statistics are used.
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-5, momentum: float = 0.1) -> None:
        self.weight = nnx.Param(jnp.ones((channels,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((channels,), jnp.float32))
        self.running_mean = nnx.BatchStat(jnp.zeros((channels,), jnp.float32))
        self.running_var = nnx.BatchStat(jnp.ones((channels,), jnp.float32))
        self.epsilon, self.momentum = epsilon, momentum

    def __call__(self, x: Array, *, training: bool = False) -> Array:
        if not training:
            scale = self.weight[...] * jax.lax.rsqrt(self.running_var[...] + self.epsilon)
            return x * scale + (self.bias[...] - self.running_mean[...] * scale)
        normalised: tuple[Array, Array, Array] = normalise_by_batch(
            x, self.weight[...], self.bias[...], self.epsilon
        )
        x, mean, variance = normalised
        count = x.size // x.shape[-1]
        unbiased = variance * (count / max(count - 1, 1))
        keep, move = 1 - self.momentum, self.momentum
        self.running_mean[...] = keep * self.running_mean[...] + move * mean
        self.running_var[...] = keep * self.running_var[...] + move * unbiased
        return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise_by_batch(
    x: Array, weight: Array, bias: Array, epsilon: float
) -> tuple[Array, Array, Array]:
    """Training-mode batch normalisation: (normalised x, batch mean, biased batch variance).

    The backward pass is written out: XLA's CPU backend fuses it into two sweeps over `x`, where the
    automatic one took five times as long. The statistics carry no gradient.
    """
    return _normalise_forward(x, weight, bias, epsilon)[0]


def _normalise_forward(x: Array, weight: Array, bias: Array, epsilon: float) -> Any:
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    variance = jnp.maximum((x * x).mean(axes) - mean * mean, 0)
    inverse = jax.lax.rsqrt(variance + epsilon)
    scale = weight * inverse
    return (x * scale + (bias - mean * scale), mean, variance), (x, mean, inverse, weight)


def _normalise_backward(epsilon: float, residuals: Any, cotangents: Any) -> tuple[Array, ...]:
    del epsilon
    x, mean, inverse, weight = residuals
    dy = cotangents[0]
    axes = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    dbias = dy.sum(axes)
    dweight = ((dy * x).sum(axes) - mean * dbias) * inverse
    scale = weight * inverse
    slope = scale * inverse * dweight / count
    dx = dy * scale - x * slope + (mean * slope - scale * dbias / count)
    return dx, dweight, dbias


normalise_by_batch.defvjp(_normalise_forward, _normalise_backward)


class Linear(nnx.Module):
    """Dense layer, [n, in_features] -> [n, out_features]."""

    def __init__(self, in_features: int, out_features: int) -> None:
        self.weight = nnx.Param(jnp.zeros((in_features, out_features), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((out_features,), jnp.float32))

    def __call__(self, x: Array) -> Array:
        return x @ self.weight[...] + self.bias[...]


class LocalResponseNorm(nnx.Module):
    """Local response normalisation across channels (Krizhevsky et al. 2012, sec. 3.3).

    y_c = x_c / (k + alpha sum_{|d - c| <= size // 2} x_d^2)^beta, [n, h, w, c] -> same shape.
    `alpha` multiplies the sum, as in the paper and in MatConvNet; PyTorch divides its own by
    `size`. `size` is odd.
    """

    def __init__(self, *, size: int = 5, k: float, alpha: float, beta: float) -> None:
        self.size, self.k, self.alpha, self.beta = size, k, alpha, beta

    def __call__(self, x: Array) -> Array:
        reach = self.size // 2
        energy = jax.lax.reduce_window(
            x * x,
            np.asarray(0, x.dtype),
            jax.lax.add,
            (1, 1, 1, self.size),
            (1, 1, 1, 1),
            ((0, 0), (0, 0), (0, 0), (reach, reach)),
        )
        return x * (self.k + self.alpha * energy) ** -self.beta


class ReLU(nnx.Module):
    """max(x, 0), the gradient at 0 being 0."""

    def __call__(self, x: Array) -> Array:
        return jax.nn.relu(x)


class Dropout(nnx.Module):
    """The identity, as in evaluation mode; it keeps torchvision's numbering."""

    def __call__(self, x: Array) -> Array:
        return x


def adaptive_average_pool(x: Array, grid: int) -> Array:
    """Average over a `grid` x `grid` partition of the map, as PyTorch's AdaptiveAvgPool2d.

    x: [n, h, w, c] -> [n, grid, grid, c]. Cell i covers rows floor(i h / grid) to
    ceil((i + 1) h / grid) - 1, so cells overlap where h is no multiple of the grid, and repeat
    where h is smaller.
    """
    if grid == 1:
        return x.mean((1, 2), keepdims=True)
    if x.shape[1] == x.shape[2] == grid:
        return x
    rows = _averaging_matrix(x.shape[1], grid).astype(x.dtype)
    columns = _averaging_matrix(x.shape[2], grid).astype(x.dtype)
    return jnp.einsum("ph,qw,nhwc->npqc", rows, columns, x)


def _averaging_matrix(side: int, grid: int) -> np.ndarray:
    matrix = np.zeros((grid, side))
    for cell in range(grid):
        start, stop = cell * side // grid, -(-(cell + 1) * side // grid)
        matrix[cell, start:stop] = 1 / (stop - start)
    return matrix
