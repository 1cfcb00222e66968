"""Which images to take when not all are wanted."""

from __future__ import annotations

__all__ = ["spread_evenly"]


def spread_evenly(total: int, count: int) -> list[int]:
    """`count` positions out of `total`, from 0, in order and spread evenly; all if there are fewer.

    >>> spread_evenly(10, 4)
    [0, 2, 5, 7]
    """
    count = min(count, total)
    return [index * total // count for index in range(count)]
