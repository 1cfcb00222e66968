"""How many lanes: as many as pay, as far as the memory goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax

from jaxinterp.optimize import Stream

__all__ = ["fitted", "is_out_of_memory", "usual_lanes"]

_ON_CPUS = 32
_ON_ACCELERATORS = 256
"""On each of them; beyond that the convolutions of VGG and ResNet get no quicker."""


def usual_lanes(wanted: int | Literal["auto"], jobs: int, devices: Sequence[Any]) -> int:
    """The lanes to try for a layer, on all devices together.

    Args:
      wanted: the number, or "auto": 32 on CPUs, 256 on each accelerator.
      jobs: of the layer; more lanes than jobs have no use.
      devices: those that share the lanes.
    """
    if wanted == "auto":
        cpu = devices[0].platform == "cpu"
        wanted = _ON_CPUS if cpu else _ON_ACCELERATORS * len(devices)
    return max(1, min(wanted, jobs))


def fitted(make: Callable[[int], Stream[Any]], lanes: int, devices: Sequence[Any]) -> Stream[Any]:
    """A compiled stream of at most so many lanes, whose plan of memory fits the devices."""
    stream = make(lanes)
    memory = _available(devices)
    while memory is not None and stream.bytes_needed > memory and stream.width > len(devices):
        share = memory / stream.bytes_needed
        # What does not grow with the lanes (the weights) makes this a lower bound: never twice the
        # same width, and at least one a device.
        lanes = max(len(devices), min(int(stream.width * share), stream.width - len(devices)))
        stream = make(lanes)
    return stream


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the host, had no memory left."""
    if isinstance(error, MemoryError):
        return True
    words = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(w in str(error) for w in words)


def _available(devices: Sequence[Any]) -> float | None:
    """Bytes on the fullest device that a program may take; None where nobody says."""
    if devices[0].platform == "cpu":
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError, AttributeError):
            return None
        return 0.7 * free / len(devices)  # they share the host's memory
    found = []
    for device in devices:
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            found.append(0.92 * stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return min(found, default=None)
