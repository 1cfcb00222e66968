"""Backward rules: what to send down through an operation instead of its gradient.

A rule is a function `rule(operation, inputs, cotangent) -> cotangents`. `operation(*inputs)`
computes the operation itself (so a rule can use `jax.vjp` of it); `inputs` are the values it was
applied to, the activations first (`operation.activations` of them), then the weights, if any; and
`cotangent` is what arrives from above. It returns one value for each input, of that input's shape
and dtype; None stands for zero.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp.transform.errors import RuleError
from jaxinterp.transform.operations.operation import Operation

__all__ = [
    "Rule",
    "apply_with_rule",
    "deconvnet_relu",
    "guided_relu",
    "stride_one",
    "stride_one_centred",
]

Rule = Callable[[Operation, tuple[jax.Array, ...], jax.Array], tuple[jax.Array | None, ...]]


def guided_relu(
    operation: Operation, inputs: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array, ...]:
    """Passes positive signals through active units only (guided backpropagation).

    g * (g > 0) * (x > 0), from Springenberg et al., "Striving for Simplicity" (2015), section 3.4.
    """
    (x,) = inputs
    return (jnp.where((x > 0) & (cotangent > 0), cotangent, 0),)


def deconvnet_relu(
    operation: Operation, inputs: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array, ...]:
    """Passes positive signals, whatever the unit's input was (deconvnet).

    g * (g > 0), from Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks"
    (2014), section 2.1.
    """
    return (jnp.where(cotangent > 0, cotangent, 0),)


def stride_one(
    operation: Operation, inputs: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array | None, ...]:
    """Sends signals through a strided convolution or pooling as if its stride were 1, as published.

    The signal is resized by nearest neighbour to the size that the output would have with stride
    1 (A + 2 O - M + 1 for A input elements, a padding of O at either end and a window of M), and
    is then sent down through the operation with stride 1. This takes away the grid that strides
    leave in the images of deconvnet and guided backprop, and moves the signal by half a stride
    (`stride_one_centred` does not). Signals grow: each is repeated, about once for every element of
    the stride. An operation with stride 1 keeps its gradient.

    Oramas et al., "Visual Explanation by Interpretation" (2019), section 3.3 and Eq. 3.
    """

    def resize(signal: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        return jax.image.resize(signal, shape, "nearest")

    return _unstrided_gradient(operation, inputs, cotangent, resize)


def stride_one_centred(
    operation: Operation, inputs: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array | None, ...]:
    """As `stride_one`, but every unit's signal stays where the unit looks.

    Unit u of the output is unit S u of the output with stride 1. Resizing by nearest neighbour
    repeats its signal at S u to S u + S - 1, (S - 1) / 2 too far on. Here each place takes the
    signal of the unit that is nearest to it, and where two are equally near, their mean.
    """

    def spread(signal: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        for axis, (size, stride) in enumerate(zip(shape, operation.strides, strict=True)):
            if stride == 1:
                continue
            units = stride * np.arange(signal.shape[axis])
            distance = np.abs(np.arange(size)[:, None] - units)
            nearest = distance == distance.min(axis=1, keepdims=True)
            weight = jnp.asarray(nearest / nearest.sum(axis=1, keepdims=True), signal.dtype)
            signal = jnp.tensordot(weight, signal, (1, axis), precision="highest")
            signal = jnp.moveaxis(signal, 0, axis)
        return signal

    return _unstrided_gradient(operation, inputs, cotangent, spread)


def _unstrided_gradient(
    operation: Operation,
    inputs: tuple[jax.Array, ...],
    cotangent: jax.Array,
    resize: Callable[[jax.Array, tuple[int, ...]], jax.Array],
) -> tuple[jax.Array | None, ...]:
    x, *weights = inputs
    apply = operation.apply
    if operation.strides and operation.unstrided is None:
        raise RuleError(
            f"cannot propagate a strided {operation.kind!r} with stride 1: its output is reshaped, "
            "or divided by counts that vary, within the operation"
        )
    if operation.unstrided is not None:
        apply = operation.unstrided
        cotangent = resize(cotangent, jax.eval_shape(apply, *inputs).shape)
    _, pull = jax.vjp(lambda x: apply(x, *weights), x)
    return (*pull(cotangent), *(None for _ in weights))


def apply_with_rule(rule: Rule, operation: Operation, inputs: tuple[jax.Array, ...]) -> jax.Array:
    """Applies an operation so that its gradient is the rule's."""

    @jax.custom_vjp
    def ruled(*values: jax.Array) -> jax.Array:
        return operation(*values)

    def forward(*values: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        return operation(*values), values

    def backward(
        values: tuple[jax.Array, ...], cotangent: jax.Array
    ) -> tuple[jax.Array | None, ...]:
        return tuple(rule(operation, values, cotangent))

    ruled.defvjp(forward, backward)
    return ruled(*inputs)
