"""Confidence intervals for shares, for paired differences, and for a comparison with random draws.

They work on the host, with NumPy, on the outcomes of single images.
"""

from __future__ import annotations

import statistics

import numpy as np

from jaxinterp.errors import UserError

__all__ = [
    "bootstrap_controls",
    "bootstrap_means",
    "excess_interval",
    "paired_interval",
    "percentile_interval",
    "resample_counts",
    "wilson_interval",
]

_VALUES_AT_ONCE = 2**23
"""Resampled values drawn at a time: 64 MiB of indices."""


def wilson_interval(
    successes: np.ndarray | int, trials: np.ndarray | int, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The interval of Wilson (1927) for a share: all p with |s/n - p| <= z sqrt(p (1 - p) / n).

    It stays within [0, 1] and has a width for 0 and for n successes too.

    Args:
      successes: how many of the trials succeeded, whole numbers from 0 to `trials`, [...].
      trials: how many there were, whole numbers broadcastable to `successes`.
      level: of confidence, in (0, 1).

    Returns:
      Lower and upper ends, float64 [...]; 0 and 1 where there was no trial.

    Raises:
      UserError: a level out of range, or successes that are negative or more than the trials.
    """
    s, n = np.broadcast_arrays(np.asarray(successes, float), np.asarray(trials, float))
    if (s < 0).any() or (s > n).any():
        raise UserError("Successes must be from 0 to the number of trials.")
    z = statistics.NormalDist().inv_cdf((1 + _checked(level)) / 2)
    some = n > 0
    n = np.where(some, n, 1)
    p = np.where(some, s, 0) / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # Exactly 0 and 1 at the ends, where rounding would leave 1e-17.
    low = np.where(some & (s > 0), centre - half, 0.0)
    high = np.where(some & (s < n), centre + half, 1.0)
    return low, high


def percentile_interval(
    values: np.ndarray, *, level: float = 0.95, axis: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The interval that holds the middle `level` of some values: of resamples, or of random draws.

    Quantiles are interpolated linearly. From 20 draws, say, a 95 % interval reaches almost from the
    least to the greatest: it describes these draws and says little about rarer ones.

    Args:
      values: float, [..., values, ...]; one at least, or the ends are not a number.
      level: of confidence, in (0, 1).
      axis: along which the values lie.

    Returns:
      Lower and upper ends, float64, without that axis.

    Raises:
      UserError: a level out of range.
    """
    values = np.asarray(values, float)
    tail = (1 - _checked(level)) / 2
    if not values.shape[axis]:
        missing = np.full(np.delete(values.shape, axis), np.nan)
        return missing, missing
    low, high = np.quantile(values, [tail, 1 - tail], axis=axis)
    return low, high


def resample_counts(generator: np.random.Generator, size: int, *, resamples: int) -> np.ndarray:
    """How often each of `size` things is drawn when `size` are drawn with replacement.

    Args:
      generator: the source of randomness.
      size: how many there are, at least 1.
      resamples: how many times, at least 1.

    Returns:
      float32 [resamples, size]; every row sums to `size`.

    Raises:
      UserError: nothing to draw from, or no resample.
    """
    if size < 1 or resamples < 1:
        raise UserError(
            f"A bootstrap needs something to draw from and resamples, not {size} and {resamples}."
        )
    rows = max(1, _VALUES_AT_ONCE // size)
    counts = np.empty((resamples, size), np.float32)
    for first in range(0, resamples, rows):
        part = counts[first : first + rows]
        drawn = generator.integers(size, size=part.shape)
        drawn += size * np.arange(len(part))[:, None]
        part[:] = np.bincount(drawn.ravel(), minlength=part.size).reshape(part.shape)
    return counts


def bootstrap_means(
    generator: np.random.Generator, outcomes: np.ndarray, *, resamples: int = 2000
) -> np.ndarray:
    """Means over resampled images, the same images for every series.

    What is computed from several series of one row (a difference, say) is thereby paired.

    Args:
      generator: the source of randomness.
      outcomes: one number for each image (right or wrong, a probability), bool or float
        [series, images], with an image at least.
      resamples: how often the images are drawn anew, with replacement.

    Returns:
      float64 [resamples, series].

    Raises:
      UserError: no image, or no resample.
    """
    outcomes = np.asarray(outcomes)
    images = outcomes.shape[-1]
    counts = resample_counts(generator, images, resamples=resamples)
    # Counts and outcomes of 0 and 1 are exact in float32 up to 2^24 images.
    sums = counts @ outcomes.T.astype(np.float32 if outcomes.dtype == bool else np.float64)
    return sums.astype(np.float64) / images


def paired_interval(
    generator: np.random.Generator,
    first: np.ndarray,
    second: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float]:
    """The percentile bootstrap's interval of mean(first) - mean(second), paired by image.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 13. Where both agree on every
    image the interval has no width: the bootstrap cannot know what other images would show.

    Args:
      generator: the source of randomness.
      first, second: one number for each image, bool or float [images].
      level: of confidence, in (0, 1).
      resamples: how often the images are drawn anew, with replacement.

    Returns:
      Lower and upper end.

    Raises:
      UserError: no images, or not the same number; a level out of range.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.ndim != 1 or first.shape != second.shape:
        raise UserError(
            f"Paired outcomes need the same images, [images] each, not {list(first.shape)} and "
            f"{list(second.shape)}."
        )
    means = bootstrap_means(generator, (first - second)[None], resamples=resamples)[:, 0]
    low, high = percentile_interval(means, level=level)
    return float(low), float(high)


def bootstrap_controls(generator: np.random.Generator, controls: np.ndarray) -> np.ndarray:
    """Means over random controls, which are drawn anew for each resample.

    Controls are themselves a sample, of random draws. Resampling images and draws counts both
    sources of chance.

    Args:
      generator: the source of randomness.
      controls: one number for each control on each set of resampled images, float
        [resamples, draws, ...], with a draw at least; from `bootstrap_means`, say.

    Returns:
      float64 [resamples, ...].

    Raises:
      UserError: no control, or no resample.
    """
    resamples, draws = controls.shape[:2]
    counts = resample_counts(generator, draws, resamples=resamples)
    return np.einsum("rd,rd...->r...", counts, controls, dtype=np.float64) / draws


def excess_interval(
    generator: np.random.Generator,
    treated: np.ndarray,
    controls: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float]:
    """The interval of mean(controls) - mean(treated): by how much more a treatment hurts.

    The percentile bootstrap over images, the same for all, and over draws (`bootstrap_controls`).

    Args:
      generator: the source of randomness.
      treated: outcomes with the treatment, bool or float [images].
      controls: outcomes with each random control, [draws, images].
      level: of confidence, in (0, 1).
      resamples: how often images and draws are drawn anew.

    Returns:
      Lower and upper end.

    Raises:
      UserError: no images or controls, or not the same number of images; a level out of range.
    """
    treated, controls = np.asarray(treated), np.asarray(controls)
    if controls.ndim != 2 or treated.shape != controls.shape[1:]:
        raise UserError(
            f"Controls need the same images, [draws, images], not {list(controls.shape)} for "
            f"{list(treated.shape)}."
        )
    means = bootstrap_means(generator, np.vstack([treated[None], controls]), resamples=resamples)
    excess = bootstrap_controls(generator, means[:, 1:]) - means[:, 0]
    low, high = percentile_interval(excess, level=level)
    return float(low), float(high)


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise UserError(f"A level of confidence lies between 0 and 1, not at {level}.")
    return level
