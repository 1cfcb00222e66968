"""Variants that take turns, so that a machine's drift meets all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

__all__ = ["Search", "median_ratio", "seconds_of", "take_turns", "warm"]


class Search(Protocol):
    """A batch of optimisations that can be advanced, in JAX or in PyTorch."""

    segment: int
    preparing: float  # seconds of compilation before the first segment

    def restart(self) -> None:
        """Puts every lane back to its first step."""
        ...

    def advance(self, segments: int) -> None:
        """Takes `segments * segment` steps; returns when the device has done them."""
        ...

    @property
    def losses(self) -> np.ndarray:
        """The loss before each step since the restart, float32 [steps, lanes]."""
        ...


def seconds_of(search: Search, segments: int) -> float:
    """How long so many segments take."""
    started = time.perf_counter()
    search.advance(segments)
    return time.perf_counter() - started


def warm(search: Search) -> tuple[float, float]:
    """(seconds of compilation, seconds of a segment).

    The first is what came before the first segment, and what that took longer than another one.
    """
    first = seconds_of(search, 1)
    again = min(seconds_of(search, 1) for _ in range(3))
    search.restart()
    return search.preparing + max(0.0, first - again), again


def take_turns(
    searches: Mapping[str, Search], segments: Mapping[str, int], *, rounds: int, fresh: bool = False
) -> dict[str, np.ndarray]:
    """Times every variant once in each round, A B C A B C.

    Args:
      searches: by name, warmed up.
      segments: how many each takes in one turn.
      rounds: how many turns.
      fresh: restart each before its turn; else they go on where they stood.

    Returns:
      Seconds of each turn by name, float64 [rounds].

    Before each turn one segment runs that does not count: the threads of the variant before it may
    still spin, and its data has replaced this one's in the caches.
    """
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(rounds):
        for name, search in searches.items():
            search.advance(1)
            if fresh:
                search.restart()
            seconds[name].append(seconds_of(search, segments[name]))
    return {name: np.asarray(values) for name, values in seconds.items()}


def median_ratio(
    numerator: Sequence[float] | np.ndarray, denominator: Sequence[float] | np.ndarray
) -> tuple[float, float, float]:
    """(median, least, greatest) of the ratios of pairs that were taken in the same round."""
    ratios = np.asarray(numerator) / np.asarray(denominator)
    return float(np.median(ratios)), float(ratios.min()), float(ratios.max())
