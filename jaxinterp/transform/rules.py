"""Backward rules: what to send down through an operation instead of its gradient.

A rule is a function `rule(apply, inputs, cotangent) -> cotangents`, where `apply(*inputs)` is the
operation itself (a JAX function, so a rule can use `jax.vjp` of it), `inputs` are the values it
was applied to (the activations first, then weights, if any) and `cotangent` is what arrives from
above. It returns one value for each input, of that input's shape and dtype.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

__all__ = ["Rule", "apply_with_rule", "deconvnet_relu", "guided_relu"]

Rule = Callable[[Callable[..., jax.Array], tuple[jax.Array, ...], jax.Array], tuple[jax.Array, ...]]


def guided_relu(
    apply: Callable[..., jax.Array], inputs: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array, ...]:
    """Passes positive signals through active units only (guided backpropagation).

    g * (g > 0) * (x > 0), from Springenberg et al., "Striving for Simplicity" (2015), section 3.4.
    """
    (x,) = inputs
    return (jnp.where((x > 0) & (cotangent > 0), cotangent, 0),)


def deconvnet_relu(
    apply: Callable[..., jax.Array], inputs: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array, ...]:
    """Passes positive signals, whatever the unit's input was (deconvnet).

    g * (g > 0), from Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks"
    (2014), section 2.1.
    """
    return (jnp.where(cotangent > 0, cotangent, 0),)


def apply_with_rule(
    rule: Rule, apply: Callable[..., jax.Array], inputs: tuple[jax.Array, ...]
) -> jax.Array:
    """Applies an operation so that its gradient is the rule's."""

    @jax.custom_vjp
    def ruled(*values: jax.Array) -> jax.Array:
        return apply(*values)

    def forward(*values: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        return apply(*values), values

    def backward(values: tuple[jax.Array, ...], cotangent: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(rule(apply, values, cotangent))

    ruled.defvjp(forward, backward)
    return ruled(*inputs)
