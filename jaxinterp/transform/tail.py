"""The part of a network above a named value."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from jaxinterp.transform.capture import capture
from jaxinterp.transform.edit import edit
from jaxinterp.transform.partition import known_outputs
from jaxinterp.transform.program import trace
from jaxinterp.transform.stage import stage

__all__ = ["Tail", "tail"]


@dataclass(frozen=True)
class Tail:
    """A network above a tap, for one image or batch.

    Attributes:
        fn: The network as a function of the tapped value: `fn(value) == network(params, image)`
            at the image's own value. It can be jitted, differentiated and vmapped, and evaluates
            only what depends on the tapped value.
        value: The image's own tapped value.
        full_cut: Whether every path from the image to the output leads through the tap. If not,
            values that skip around it keep the image's own.
    """

    fn: Callable[[jax.Array], Any]
    value: jax.Array
    full_cut: bool


def tail(fn: Callable[..., Any], name: str, params: Any, image: Any) -> Tail:
    """Cuts a network at a tap and keeps the upper part.

    What does not depend on the tapped value is evaluated here, not when the upper part is called.

    Args:
        fn: A function `fn(params, image)` that names values with `tap`.
        name: The tap to cut at. In a scan, the cut is at every step, and the value is stacked as
            `capture` stacks it.
        params: The network's parameters, a pytree of arrays.
        image: The image or batch of images, an array or a pytree of arrays.

    Returns:
        The upper part, the image's tapped value, and whether the tap is a full cut.

    Raises:
        UnknownTapError: The name is not tapped, or several times.
        TapError: The value can be captured or edited only, but not both (in a while loop, a
            branch of a cond, a shard_map, or a custom_jvp or custom_vjp function), or lies in
            a part that `fn` differentiates itself.

    Example:
        >>> above = tail(apply, "relu4_3", params, images)
        >>> gradient = jax.grad(lambda maps: above.fn(maps)[:, 3].sum())(above.value)
    """

    inputs = (params, image)
    value = capture(fn, [name])(*inputs)[name]

    def above(inputs: tuple[Any, Any], value: jax.Array) -> Any:
        def replace(_: jax.Array, *steps: jax.Array) -> jax.Array:
            return value[steps] if steps else value

        return edit(fn, {name: replace})(*inputs)

    program = trace(above, (inputs, value), {})
    images = len(jax.tree.leaves(image))
    known = [True] * (len(program.inputs) - images - 1) + [False] * images + [True]
    full_cut = all(known_outputs(program.body, known))
    prepared, staged = stage(above, inputs, value)
    return Tail(partial(staged, prepared), value, full_cut)
