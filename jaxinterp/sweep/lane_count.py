"""How many lanes: as many as pay, as far as the memory goes."""

from __future__ import annotations

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
        free = _host_memory()
        return None if free is None else 0.7 * free / len(devices)  # they share it
    found = []
    for device in devices:
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            # Not less what is in use: that is the layer before, which will have gone.
            found.append(0.85 * stats["bytes_limit"])
    return min(found, default=None)


def _host_memory() -> float | None:
    """Bytes that the host can give without swapping, pages of its file cache included."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * int(line.split()[1])
    except (OSError, ValueError):
        pass
    return None
