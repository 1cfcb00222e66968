"""What tracing tells about a computation, kept for calls with arrays of the same shapes.

Tracing a network takes tenths of a second; a small one is evaluated in less.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

__all__ = ["remember"]

Result = TypeVar("Result")


def remember(function: Callable[..., Result], key: Any, *arguments: Any) -> Result:
    """`function(key, *arguments)`, of which only the arguments' shapes and dtypes are seen.

    Args:
        function: A function that traces something (with `jax.eval_shape`, say) and returns what it
            learnt, no arrays among it; of a module, so that it is the same at the next call.
        key: What to trace. Keys that compare equal must do the same; nothing is remembered for a
            key that cannot be hashed.
        *arguments: Pytrees of arrays.

    Returns:
        What the function returned for this key and these shapes, now or before.
    """
    leaves, structure = jax.tree.flatten(arguments)
    types = [jax.typeof(leaf) for leaf in leaves]
    shapes = tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in types)
    try:
        hash(key)
    except TypeError:  # it holds a function, or rules, that cannot be told apart from others
        return _call(function, key, structure, shapes, None)
    return _remembered(function, key, structure, shapes, jax.config.read("jax_enable_x64"))


def _call(
    function: Callable[..., Result],
    key: Any,
    structure: Any,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
    precision: bool | None,
) -> Result:
    del precision  # only tells the cases apart
    return function(key, *jax.tree.unflatten(structure, shapes))


_remembered = functools.lru_cache(maxsize=256)(_call)
