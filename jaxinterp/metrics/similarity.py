"""How alike two feature maps are: SSIM, and correlation where a map is too small for it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = [
    "SMALLEST_SSIM_SIDE",
    "correlation",
    "map_similarity",
    "similarity_name",
    "ssim",
    "ssim_window",
]

SMALLEST_SSIM_SIDE = 7
"""Maps with a shorter side have too few windows for SSIM to mean anything."""


def ssim_window(height: int, width: int) -> int:
    """Side of the SSIM window for a map: 11, or the largest odd number that fits."""
    side = min(height, width)
    return min(11, side if side % 2 else side - 1)


def ssim(first: Array, second: Array, *, data_range: Array) -> Array:
    """Structural similarity (Wang et al. 2004), one value per pair of maps.

    Gaussian window of sigma 1.5, cut off at `ssim_window` and normalised; biased covariances; the
    mean over all windows that lie wholly inside. For maps of 11 x 11 and more this equals
    scikit-image's `structural_similarity(gaussian_weights=True, use_sample_covariance=False)`.

    Args:
      first, second: maps, float [..., h, w].
      data_range: the largest value that a map can take, [...]; the stabilisers are
        (0.01 range)^2 and (0.03 range)^2.

    Returns:
      SSIM in [-1, 1], [...].

    Raises:
      ValueError: maps with a side under 7 (use `correlation`), or shapes that differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"maps of shape {first.shape} and {second.shape} cannot be compared")
    height, width = first.shape[-2:]
    if min(height, width) < SMALLEST_SSIM_SIDE:
        raise ValueError(
            f"SSIM needs maps of at least {SMALLEST_SSIM_SIDE}x{SMALLEST_SSIM_SIDE}, "
            f"got {height}x{width}; use correlation"
        )
    window = ssim_window(height, width)
    rows = jnp.asarray(_filter_matrix(height, window), first.dtype)
    columns = jnp.asarray(_filter_matrix(width, window), first.dtype)

    def local_mean(x: Array) -> Array:
        return jnp.einsum("ph,...hw,qw->...pq", rows, x, columns, precision="highest")

    mean_1, mean_2 = local_mean(first), local_mean(second)
    variance_1 = local_mean(first * first) - mean_1 * mean_1
    variance_2 = local_mean(second * second) - mean_2 * mean_2
    covariance = local_mean(first * second) - mean_1 * mean_2
    limit = jnp.asarray(data_range)[..., None, None]
    c1, c2 = (0.01 * limit) ** 2, (0.03 * limit) ** 2
    numerator = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    denominator = (mean_1**2 + mean_2**2 + c1) * (variance_1 + variance_2 + c2)
    return (numerator / denominator).mean((-2, -1))


def _filter_matrix(side: int, window: int) -> np.ndarray:
    """[side - window + 1, side]: each row a normalised Gaussian at one position."""
    offsets = np.arange(window) - window // 2
    weights = np.exp(-0.5 * (offsets / 1.5) ** 2)
    weights /= weights.sum()
    matrix = np.zeros((side - window + 1, side))
    for position in range(len(matrix)):
        matrix[position, position : position + window] = weights
    return matrix


def correlation(first: Array, second: Array) -> Array:
    """Pearson correlation of two maps over their positions, one value per pair.

    Args:
      first, second: maps, float [..., h, w].

    Returns:
      In [-1, 1], [...]; 0 where a map is constant.
    """
    first = first - first.mean((-2, -1), keepdims=True)
    second = second - second.mean((-2, -1), keepdims=True)
    product = (first * second).sum((-2, -1))
    power = jnp.square(first).sum((-2, -1)) * jnp.square(second).sum((-2, -1))
    return jnp.where(power > 0, product * jax.lax.rsqrt(jnp.where(power > 0, power, 1)), 0)


def similarity_name(height: int, width: int) -> str:
    """What `map_similarity` computes for maps of this size: "ssim" or "correlation"."""
    return "correlation" if min(height, width) < SMALLEST_SSIM_SIDE else "ssim"


def map_similarity(original: Array, optimised: Array) -> tuple[str, Array]:
    """SSIM with the original map's largest magnitude as data range; for sides under 7, correlation.

    (After a ReLU the largest magnitude is the maximum.)

    Args:
      original, optimised: maps, float [..., h, w].

    Returns:
      ("ssim" or "correlation", values [...]). A silent original (all 0) makes no sense here:
      exclude it and count it.
    """
    name = similarity_name(*original.shape[-2:])
    if name == "correlation":
        return name, correlation(original, optimised)
    return name, ssim(original, optimised, data_range=jnp.abs(original).max((-2, -1)))
