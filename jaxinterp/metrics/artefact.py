"""How much of an image is the grid that strided operations leave in backward signals."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.errors import UserError

__all__ = ["grid_share", "phase_variation"]


def grid_share(signal: Array, stride: int, *, bandwidth: float = 0.02) -> Array:
    """The share of a signal's power that lies at the frequencies of a grid.

    What comes down through an operation with a stride of s is a sum of kernels s elements apart.
    Its spectrum repeats every 1/s cycles per pixel, and the repetitions of the low frequencies
    stand out as a grid (Odena et al., "Deconvolution and Checkerboard Artifacts", 2016). The grid's
    frequencies are (i / s, j / s) along the two axes, i and j whole numbers, but (0, 0). Power is
    counted up to `bandwidth` around each, after a Hann window, which keeps the image's edges out of
    the spectrum; the mean counts neither as grid nor in the total.


    Args:
      signal: [..., h, w, c], taken as float32 at least; the power is summed over the
        channels.
      stride: pixels between the grid's lines, at least 2.
      bandwidth: radius of the bands in cycles per pixel, below half of 1/stride.

    Returns:
      Shares in [0, 1], [...]; 0 for a constant signal.

    Raises:
      UserError: a stride or bandwidth out of range.

    Example:
      >>> float(grid_share(jnp.zeros((224, 224, 1)).at[::4, ::4].set(1), 4)) > 0.99
      True
    """
    _check_stride(stride)
    if not 0 < bandwidth < 0.5 / stride:
        raise UserError(
            f"With a stride of {stride} the bandwidth must lie between 0 and {0.5 / stride:g} "
            f"cycles per pixel, not be {bandwidth:g}."
        )
    signal = _as_float(signal)
    height, width = signal.shape[-3:-1]
    window = jnp.asarray(np.outer(_hann(height), _hann(width)), signal.dtype)[..., None]
    mean = (signal * window).sum((-3, -2), keepdims=True) / window.sum()
    spectrum = jnp.fft.fft2((signal - mean) * window, axes=(-3, -2))
    power = (jnp.abs(spectrum) ** 2).sum(-1)
    total = power.sum((-2, -1))
    at_grid = jnp.where(_bands(height, width, stride, bandwidth), power, 0).sum((-2, -1))
    return jnp.where(total > 0, at_grid / jnp.where(total > 0, total, 1), 0)


def phase_variation(signal: Array, stride: int) -> Array:
    """How much a signal's mean size depends on the place within a grid's cell.

    The variance over the s x s places of the mean of |signal|, divided by the square of the mean of
    all: the power of |signal| at exactly the grid's frequencies, relative to its mean. It needs no
    bandwidth, but cannot tell a grid from a picture's own texture of that period.

    Args:
      signal: float [..., h, w, c], at least one cell; sides are cut to whole cells.
      stride: pixels between the grid's lines, at least 2.

    Returns:
      [...], 0 (no grid) to s^2 - 1 (one pixel of each cell); 0 for a signal of zeros.

    Raises:
      UserError: a stride below 2, or a signal smaller than one cell.
    """
    _check_stride(stride)
    size = jnp.abs(_as_float(signal)).mean(-1)
    rows, columns = size.shape[-2] // stride, size.shape[-1] // stride
    if not rows * columns:
        raise UserError(
            f"A signal of {size.shape[-2]} x {size.shape[-1]} pixels is smaller than a cell of a "
            f"grid with stride {stride}."
        )
    size = size[..., : rows * stride, : columns * stride]
    cells = size.reshape(*size.shape[:-2], rows, stride, columns, stride).mean((-4, -2))
    mean = cells.mean((-2, -1))
    return jnp.where(mean > 0, cells.var((-2, -1)) / jnp.where(mean > 0, mean, 1) ** 2, 0)


def _check_stride(stride: int) -> None:
    if stride < 2:
        raise UserError(f"A grid has a stride of at least 2 pixels, not {stride}.")


def _as_float(signal: Array) -> Array:
    """The signal as float32 at least: a window of whole numbers is 0, and of half floats coarse."""
    signal = jnp.asarray(signal)
    return signal.astype(jnp.promote_types(signal.dtype, jnp.float32))


def _hann(length: int) -> np.ndarray:
    """The window's values inside; its zeros are just outside."""
    return np.hanning(length + 2)[1:-1]


def _bands(height: int, width: int, stride: int, bandwidth: float) -> np.ndarray:
    """Which of the frequencies of a transform, [height, width], belong to the grid."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]

    def beyond(frequency: np.ndarray) -> np.ndarray:
        """The distance from the nearest multiple of 1/stride."""
        return frequency - np.round(frequency * stride) / stride

    near_grid = np.hypot(beyond(rows), beyond(columns)) <= bandwidth
    return near_grid & (np.hypot(rows, columns) > bandwidth)
