"""Keeping freed memory, so that a CPU's next step need not ask the system for it again."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_NEVER = 2**31 - 1  # bytes; the largest that mallopt takes
_PARAMETERS = {
    -4: 0,  # M_MMAP_MAX: no block is mapped on its own, to be unmapped when freed
    -1: _NEVER,  # M_TRIM_THRESHOLD: the top of the heap is not given back
    -2: 64 << 20,  # M_TOP_PAD: it grows by so much at a time
    -8: 1,  # M_ARENA_MAX: threads share one heap
}


def keep_freed_memory() -> bool:
    """Tells glibc's malloc to keep what is freed, for the rest of the process.

    XLA's CPU backend takes a step's temporary memory (265 MB for VGG-16 to `relu4_3`) from malloc
    and frees it, step by step. By default glibc maps such blocks anew each time, and the system
    clears every page of them when it is first touched.

    Returns:
      Whether it was done: only on Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (another C library has no such function)
        return all(bool(libc.mallopt(name, value)) for name, value in _PARAMETERS.items())
    except (OSError, AttributeError):
        return False
