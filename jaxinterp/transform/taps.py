"""Listing the taps of a function."""

from collections.abc import Callable
from typing import Any

import jax

from jaxinterp.transform.program import trace
from jaxinterp.transform.sites import find_sites

__all__ = ["taps"]


def taps(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Lists every tap of `fn` in the order they are computed, without computing anything.

    Args:
        fn: A function that names values with `tap`.
        *args: Its arguments; `jax.ShapeDtypeStruct`s will do.
        **kwargs: Its keyword arguments, likewise.

    Returns:
        The shape and dtype of each tapped value, under the name that `capture` and `edit` take
        (`name[i]` if a name is met several times). A value in a scan has the shape it is captured
        with: the scan's length leads. Taps that cannot be captured (in a while loop, a cond
        branch, a shard_map) are listed too, with the shape of one evaluation.

    Raises:
        TransformError: An argument is not an array.

    Example:
        >>> taps(lambda x: tap(x * 2, "double") + 1, jax.ShapeDtypeStruct((3,), "float32"))
        {'double': ShapeDtypeStruct(shape=(3,), dtype=float32)}
    """
    return {
        site.label: jax.ShapeDtypeStruct((*site.lengths, *site.value.shape), site.value.dtype)
        for site in find_sites(trace(fn, args, kwargs).body)
    }
