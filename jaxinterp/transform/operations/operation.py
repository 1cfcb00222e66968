"""What a rule is told of an operation, and how a recogniser says that it found one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
from jax.extend.core import JaxprEqn

from jaxinterp.transform.program import Atom

__all__ = ["Match", "Operation"]


@dataclass(frozen=True)
class Operation:
    """An operation of a network as a function of its inputs: what a rule is given.

    Attributes:
        kind: A key of `OPERATIONS`, or the name of a JAX primitive.
        apply: What it computes: the activations come first, then the weights, if any. A "conv" and
            a "dense" take `(x, weight)` or `(x, weight, bias)`, whatever their layout.
        activations: How many of the inputs depend on the images.
        nonnegative: Whether the first activation is known not to be negative, because of where it
            comes from (a ReLU, perhaps pooled).
        unstrided: For a convolution or pooling that moves by more than one element: the same with
            stride 1 and without bias. Its output at `strides * u` is the
            operation's (less the bias) at u. Otherwise, and where that cannot be told, None.
        strides: The strides along the axes of the output, 1 along those that are not strided; empty
            if there are none.
        energy: For "local_response_norm": the windowed sum of squares over channels, linear in
            x^2. Otherwise None.
        multiplier: Likewise: the factor, elementwise in the energy;
            `apply(x) == x * multiplier(energy(x))`.
    """

    kind: str
    apply: Callable[..., jax.Array]
    activations: int = 1
    nonnegative: bool = False
    unstrided: Callable[..., jax.Array] | None = None
    strides: tuple[int, ...] = ()
    energy: Callable[[jax.Array], jax.Array] | None = None
    multiplier: Callable[[jax.Array], jax.Array] | None = None

    def __call__(self, *inputs: jax.Array) -> jax.Array:
        """The operation's output."""
        return self.apply(*inputs)


class Match(NamedTuple):
    """An operation found in a program.

    Attributes:
        operation: What it is.
        inputs: The atoms it reads, of the body it lies in: activations first, then weights.
        spans: The equations before the last that belong to it and to nothing else.
    """

    operation: Operation
    inputs: tuple[Atom, ...]
    spans: tuple[JaxprEqn, ...] = ()
