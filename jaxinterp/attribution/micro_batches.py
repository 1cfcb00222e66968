"""Micro-batches: how many points of a path are sent through a network at a time."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp.errors import UserError

__all__ = [
    "MEMORY",
    "MicroBatch",
    "choose_micro_batch",
    "in_chunks",
    "memory_of",
    "whole_number",
]

MEMORY = 2**30
"""Bytes that a micro-batch may take unless told otherwise: a gibibyte."""


class MicroBatch(NamedTuple):
    """What is computed at a time.

    Attributes:
        images: How many images.
        points: How many points of each image's path.
        targets: How many targets share a forward pass of these points.
    """

    images: int
    points: int
    targets: int


def memory_of(
    forward: Callable[[jax.Array], Any], point: jax.ShapeDtypeStruct
) -> tuple[float, float]:
    """An estimate of the bytes that one more point takes.

    Nothing is computed. What reverse-mode differentiation keeps of the forward pass is known from
    tracing it for one and for two points; the difference leaves the parameters out. A backward pass
    holds a few cotangents at a time, none larger than the largest value that was kept.

    Args:
        forward: A function of points [p, ...].
        point: The shape and dtype of one.

    Returns:
        The bytes kept of the forward pass, and those needed to send one target back.
    """

    def kept(points: int) -> np.ndarray:
        shape = jax.ShapeDtypeStruct((points, *point.shape), point.dtype)
        # The function that pulls back is a pytree of what was kept for it.
        parts = jax.tree.leaves(jax.eval_shape(lambda points: jax.vjp(forward, points), shape))
        return np.array([part.size * part.dtype.itemsize for part in parts])

    one, two = kept(1), kept(2)
    own = math.prod(point.shape) * jnp.dtype(point.dtype).itemsize
    growth = float(two.sum() - one.sum())
    # Of one point other values may be kept than of two. No value then is larger than all together.
    largest = float((two - one).max(initial=0)) if len(one) == len(two) else growth
    return growth + own, 3 * max(largest, own)


def choose_micro_batch(
    images: int,
    steps: int,
    targets: int,
    *,
    batch_size: int | None,
    memory: int,
    estimate: Callable[[], tuple[float, float]],
) -> MicroBatch:
    """Sizes micro-batches to the memory they may take.

    Args:
        images: The number of images.
        steps: The number of points of each image's path.
        targets: The number of targets of each image.
        batch_size: How many (image, step, target) are sent back at a time; None to let `memory`
            decide.
        memory: The bytes that a micro-batch may take.
        estimate: Returns the bytes kept for a point and those needed for each of its targets.

    Returns:
        The micro-batch, never empty.

    Raises:
        UserError: `batch_size` or `memory` is less than 1, or there are no images.
    """
    if images < 1:
        raise UserError("There are no images to attribute to: give at least one.")
    if batch_size is None:
        if memory < 1:
            raise UserError(f"memory must be at least 1 byte, not {memory}.")
        kept, back = estimate()
        at_once = min(targets, max(1, int((memory - kept) // back)))
        points = max(1, int(memory // (kept + at_once * back)))
    else:
        batch_size = whole_number("batch_size", batch_size)
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, not {batch_size}.")
        at_once = min(targets, batch_size)
        points = max(1, batch_size // at_once)
    at_once = _even(targets, at_once)
    if points >= steps:
        return MicroBatch(_even(images, points // steps), steps, at_once)
    # The largest of the upper half of the sizes that leave the fewest places of the last one empty.
    sizes = range(points, points // 2, -1)
    return MicroBatch(1, min(sizes, key=lambda size: -(-steps // size) * size), at_once)


def whole_number(name: str, value: int) -> int:
    """The value of an argument that counts something; a UserError unless it is a whole number."""
    try:
        return operator.index(value)
    except TypeError:
        raise UserError(f"{name} must be a whole number, not {value!r}.") from None


def in_chunks(values: np.ndarray, size: int, *, fill: float) -> np.ndarray:
    """Cuts [steps] into [chunks, size]; the last one is filled up."""
    missing = -len(values) % size
    return np.pad(values, (0, missing), constant_values=fill).reshape(-1, size)


def _even(total: int, most: int) -> int:
    """The size of as few groups as possible, of at most `most`, that are equally large."""
    groups = -(-total // min(total, most))
    return -(-total // groups)
