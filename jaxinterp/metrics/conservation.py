"""Whether relevance is conserved on its way down a network."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

__all__ = ["conservation_error"]


def conservation_error(total: Array, start: Array) -> Array:
    """How far the relevance that arrives is from the relevance that was sent, as a share of it.

    |total - start| / |start|; 0 where both are 0.

    Args:
      total: sums of the relevance that arrives, float [...].
      start: sums of the relevance that was sent, broadcastable to `total`.

    Returns:
      [...], 0 or more; infinite where something arrives but the sum sent is 0, and not a number
      where either is not.
    """
    difference = jnp.abs(total - start)
    size = jnp.broadcast_to(jnp.abs(start), difference.shape)
    share = difference / jnp.where(size == 0, 1, size)
    # `difference` is 0 or, where something is not a number, that.
    return jnp.where(size == 0, jnp.where(difference > 0, jnp.inf, difference), share)
