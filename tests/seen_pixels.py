"""Where units look, found the slow way: change a part of the images and see what changes."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxinterp.transform import tap
from jaxinterp.transform.geometry import Sight, locate
from jaxinterp.transform.windows import Window


def sight_of(fn: Callable[..., Any], images: Any, *, channel_axis: int = -1) -> Sight:
    """What `locate` says of the output of `fn(images)`."""
    sights = locate(lambda _, x: tap(fn(x), "out"), (), images, channel_axis)
    return sights["out"]


def seen_along(fn: Callable[..., Any], images: np.ndarray, axis: int) -> np.ndarray:
    """Whether each output changes with each slice of the images along an axis.

    Brighter pixels change every maximum and every sum with positive weights.

    Returns:
        bool [length of the axis, *shape of the output].
    """
    fn = jax.jit(fn)
    before = np.asarray(fn(images))
    random = np.random.default_rng(5)
    changes = []
    for place in range(images.shape[axis]):
        lit = images.copy()
        part = np.moveaxis(lit, axis, 0)[place]
        part += random.uniform(50, 100, part.shape).astype(lit.dtype)
        changes.append(np.asarray(fn(lit)) != before)
    return np.stack(changes)


def ends(window: Window, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The first and last coordinate that each element of an array may see."""
    steps = np.zeros(shape)
    for axis, stride in enumerate(window.strides):
        index = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        steps = steps + stride * index
    return steps + window.first, steps + window.last


def strays(window: Window, seen: np.ndarray) -> np.ndarray:
    """The places [pixel, *element] that are seen from outside the window."""
    first, last = ends(window, seen.shape[1:])
    pixels = np.arange(len(seen)).reshape([-1] + [1] * (seen.ndim - 1))
    return np.argwhere(seen & ((pixels < first) | (pixels > last)))


def hull(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and last pixel that each element sees, from bool [pixel, *element]."""
    return seen.argmax(0), len(seen) - 1 - seen[::-1].argmax(0)


def units_along(window: Window, values: np.ndarray) -> np.ndarray:
    """What any element at each place along the window's axis has, from [pixel, *element]."""
    (axis,) = window.axes
    return values.max(axis=tuple(a for a in range(1, values.ndim) if a != axis + 1))
