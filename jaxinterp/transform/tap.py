"""Naming a value inside a network."""

from typing import TypeVar

from jax.ad_checkpoint import checkpoint_name

__all__ = ["tap"]

Value = TypeVar("Value")


def tap(x: Value, name: str) -> Value:
    """Names `x` and returns it unchanged.

    The name is all that `capture`, `edit`, `tail` and composites of rules need to find the value.
    It is the identity under every JAX transformation and costs nothing once compiled. It is
    `jax.ad_checkpoint.checkpoint_name`, so rematerialisation policies see the same names and
    values named with that function are taps too.

    Args:
        x: An array, or a pytree of arrays, of any shape. Each leaf of a pytree is one tap, so
            several leaves are `name[0]`, `name[1]`, ...
        name: The value's name, such as `"relu4_3"`.

    Returns:
        `x`.

    Example:
        >>> def apply(params, images):
        ...     hidden = tap(jax.nn.relu(images @ params["w"]), "hidden")
        ...     return hidden.sum(-1)
    """
    return checkpoint_name(x, name)
