"""Ranks of scores: with ties, under repeated drawing, and the best few of them."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["average_ranks", "hypergeometric_tail", "top_membership", "weighted_rank_correlation"]


def average_ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1, the lowest first; equal scores share the mean of their ranks.

    Args:
        scores: float [n], no NaN.

    Returns:
        float64 [n].
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places.reshape(-1)]


def weighted_rank_correlation(
    first: np.ndarray, second: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Spearman's rank correlation of samples in which each pair of scores occurs several times.

    With counts of 1 it is Spearman's correlation, ties averaged. With the counts of a draw with
    replacement it is that of the draw: equal scores, copies among them, share their mean rank.

    Args:
        first: float [n], no NaN.
        second: float [n], no NaN.
        counts: How often each pair occurs, 0 or more, [..., n].

    Returns:
        float64 [...], from -1 to 1; NaN where a score is the same in all that occurs.
    """
    counts = np.asarray(counts, np.float64)
    deviations = []
    for scores in (first, second):
        ranks = _ranks_of_copies(scores, counts)
        total = np.maximum(counts.sum(-1, keepdims=True), 1)
        deviations.append(ranks - (counts * ranks).sum(-1, keepdims=True) / total)
    one, other = deviations
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.sqrt((counts * one**2).sum(-1) * (counts * other**2).sum(-1))
        correlation = np.where(size > 0, (counts * one * other).sum(-1) / size, np.nan)
    return np.clip(correlation, -1, 1)


def _ranks_of_copies(scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean rank of each score among all copies, [..., n]."""
    order = np.argsort(scores, kind="stable")
    _, starts, sizes = np.unique(scores[order], return_index=True, return_counts=True)
    grouped = np.add.reduceat(counts[..., order], starts, axis=-1)
    ranks = np.cumsum(grouped, axis=-1) - (grouped - 1) / 2
    result = np.empty_like(counts)
    result[..., order] = np.repeat(ranks, sizes, axis=-1)
    return result


def top_membership(scores: np.ndarray, top: int) -> np.ndarray:
    """How far each unit belongs to the `top` highest scores: float64 [n], from 0 to 1.

    Units tied at the edge share the places that are left, so that the order of units does not count
    and the memberships add up to `top`. It is the probability of each unit if ties are broken at
    random.

    Args:
        scores: float [n], no NaN.
        top: From 0 to n.
    """
    if top == 0:
        return np.zeros(len(scores))
    edge = np.partition(scores, len(scores) - top)[len(scores) - top]
    above, tied = scores > edge, scores == edge
    return above + tied * ((top - above.sum()) / tied.sum())


def hypergeometric_tail(shared: float, units: int, top: int) -> float:
    """The probability that two random sets of `top` units of `units` share at least `shared`.

    Args:
        shared: How many they share; of a fraction the next whole number counts.
        units: How many there are.
        top: The size of both sets, from 0 to `units`.
    """
    least = max(math.ceil(round(shared, 9)), 2 * top - units, 0)
    ways = math.comb(units, top)
    found = sum(math.comb(top, k) * math.comb(units - top, top - k) for k in range(least, top + 1))
    return found / ways
