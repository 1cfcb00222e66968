"""Reading images ahead of whoever computes with them, in their order and in bounded memory."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["decode_ahead"]

# More threads than this only wait for each other in Python.
_MOST_THREADS = 16

Result = TypeVar("Result")


def decode_ahead(
    read: Callable[[int], Result], positions: Iterable[int], *, batch_size: int
) -> Generator[tuple[int, Future[Result]]]:
    """Each position with what `read` makes of it, in the order of the positions.

    A pool of threads reads at most two batches ahead: Pillow works outside Python's lock. Close the
    generator (`contextlib.closing`) to end the threads before the last position.

    Args:
      read: called from several threads.
      positions: what to read.
      batch_size: how many make a batch.

    Yields:
      A position, and a future that is about to be done: `result()` waits for it, and raises what
      `read` has raised.
    """
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    waiting: collections.deque[tuple[int, Future[Result]]] = collections.deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    left = iter(positions)
    try:
        while True:
            while len(waiting) < 2 * batch_size + threads:
                position = next(left, None)
                if position is None:
                    break
                waiting.append((position, pool.submit(read, position)))
            if not waiting:
                break
            yield waiting.popleft()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
