"""Mean squared errors of the selected map and of all others."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

__all__ = ["mse_rest", "mse_selected"]


def mse_selected(features: Array, original_features: Array, kernel: Array) -> Array:
    """Mean squared difference of the selected kernel's maps.

    Args:
      features, original_features: maps, float [..., h, w, c].
      kernel: int [...].

    Returns:
      [...], in squared units of the activation.
    """
    index = jnp.asarray(kernel)[..., None, None, None]
    difference = jnp.take_along_axis(features - original_features, index, axis=-1)
    return jnp.square(difference).mean((-3, -2, -1))


def mse_rest(features: Array, kernel: Array) -> Array:
    """Mean squared activation of all kernels but the selected one: their error against zero maps.

    Args:
      features: maps, float [..., h, w, c] with c >= 2.
      kernel: int [...].

    Returns:
      [...], in squared units of the activation.
    """
    power = jnp.square(features).mean((-3, -2))
    others = jnp.arange(power.shape[-1]) != jnp.asarray(kernel)[..., None]
    return jnp.where(others, power, 0).sum(-1) / (power.shape[-1] - 1)
