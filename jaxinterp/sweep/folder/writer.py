"""One background thread that stores what it is given, in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["BackgroundWriter"]

Item = TypeVar("Item")

_MOST_TOGETHER = 16  # items committed at once: they share one wait for the disk


class BackgroundWriter(Generic[Item]):
    """Calls `commit` on items in a thread of its own, several at a time if they pile up.

    The first error stays: every later call raises it, and what is queued behind it is dropped.
    """

    def __init__(self, commit: Callable[[Sequence[Item]], None], *, most: int) -> None:
        """Starts with the first item; `most` items may wait."""
        self._commit = commit
        self._queue: queue.Queue[Item | None] = queue.Queue(most)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def put(self, item: Item) -> None:
        """Queues an item; waits while the queue is full.

        Raises:
          the error of an earlier item.
        """
        self._raise()
        if self._thread is None:
            # A daemon: a second Ctrl-C ends the process even while a disk hangs.
            self._thread = threading.Thread(target=self._run, name="store", daemon=True)
            self._thread.start()
        self._queue.put(item)

    def flush(self) -> None:
        """Waits until all that was put is stored.

        Raises:
          the error of an earlier item.
        """
        self._queue.join()
        self._raise()

    def close(self) -> None:
        """Stores what is queued and ends the thread.

        Raises:
          the error of an earlier item.
        """
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            taken = [self._queue.get()]
            while len(taken) < _MOST_TOGETHER:
                try:
                    taken.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            items = [item for item in taken if item is not None]
            try:
                if items and self._error is None:
                    self._commit(items)
            except BaseException as error:
                self._error = error
            for _ in taken:
                self._queue.task_done()
            if len(items) < len(taken):
                return
