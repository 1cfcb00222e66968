"""Ctrl-C: not lost in a callback, and an end without a crash."""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

__all__ = ["end_process", "interrupts_kept"]

_DELAY = 0.01  # seconds


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """Ctrl-C raises `KeyboardInterrupt` also if it comes while a callback runs.

    Python prints what a callback raises and goes on. JAX has one in the garbage collector, so
    that while it traces one Ctrl-C of ten would be lost: it is raised again a moment later.
    """
    before = sys.unraisablehook

    def again(unraisable: Any) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            before(unraisable)
            return
        timer = threading.Timer(_DELAY, _thread.interrupt_main)
        timer.daemon = True
        timer.start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def end_process(code: int) -> NoReturn:
    """Ends the process at once, without taking Python down in order.

    Where Ctrl-C came during a compilation, XLA goes on with it in the background, and crashes when
    Python takes its client away.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it may have gone
            stream.flush()
    os._exit(code)
