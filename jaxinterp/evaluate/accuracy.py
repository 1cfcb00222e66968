"""Accuracies from ranks: how many classes a network puts before the true one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxinterp.metrics.intervals import wilson_interval

__all__ = ["ClassAccuracy", "Share", "class_accuracies", "share_below"]


@dataclasses.dataclass(frozen=True)
class Share:
    """So many successes among so many images.

    Attributes:
      successes, images: the counts.
    """

    successes: int
    images: int

    @property
    def value(self) -> float:
        """In [0, 1]; NaN where there are no images."""
        return self.successes / self.images if self.images else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Wilson (`metrics.intervals`); [0, 1] where there are no images."""
        low, high = wilson_interval(self.successes, self.images)
        return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class ClassAccuracy:
    """How a network does on the images of one class."""

    index: int
    name: str
    top1: Share
    top5: Share


def share_below(ranks: np.ndarray, k: int) -> Share:
    """How many of the ranks, int [n], are below k: top-k accuracy."""
    return Share(int((ranks < k).sum()), len(ranks))


def class_accuracies(
    ranks: np.ndarray, logits: np.ndarray, *, names: Sequence[tuple[int, str]]
) -> tuple[ClassAccuracy, ...]:
    """The accuracies of each class that occurs, in the order of the logits.

    Args:
      ranks: int [n], of the true class among all.
      logits: int [n], index of the true class.
      names: (index, name) of the classes.
    """
    by_index = dict(names)
    return tuple(
        ClassAccuracy(index, by_index[index], share_below(own, 1), share_below(own, 5))
        for index in np.unique(logits).tolist()
        for own in [ranks[logits == index]]
    )
