"""Adam in a metric that is relative to the input, with an exact step for an L1 term.

Adam moves every element by about its rate, whatever its size. At an image most elements are large
and have far to go to the L1 term's minimum, 0; near the end most are near 0, where a step of the
same size undoes what is there. Here an element's step is in units of |x| + `offset`, as in mirror
descent with a relative entropy for L1 problems.

The L1 term is not differentiable at 0, where most elements end. Its step is taken exactly, by its
proximal map in the same metric (soft thresholding), so that they come to rest at 0.

Adam: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015. Proximal steps: Parikh and
Boyd, "Proximal Algorithms", 2014, sections 4.2 and 6.5.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

__all__ = ["RelativeState", "relative_adam", "soft_threshold"]

PyTree = Any


class RelativeState(NamedTuple):
    """Between two steps.

    Attributes:
      steps: steps done, int32 [].
      first: decayed mean of the gradients, as the parameters.
      second: decayed mean of their squares, likewise.
    """

    steps: Array
    first: PyTree
    second: PyTree


def relative_adam(
    rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.9,
    offset: float = 0.2,
    l1: float = 0.0,
) -> optax.GradientTransformation:
    """An optax optimiser.

    With m and v Adam's moments (their bias corrected), an element's step size is
    t = rate (|x| + offset) / sqrt(v + l1^2), and its update leads from x to
    soft_threshold(x - t m, t l1).

    Bounds may be applied afterwards by clipping if they include 0: the proximal map of the L1 norm
    within a box is soft thresholding, then clipping.

    Args:
      rate: how far a step goes as a share of |x| + `offset`; a number, or a schedule of the steps
        done.
      b1: decay of the gradients' mean, in [0, 1).
      b2: decay of the squares' mean, in [0, 1).
      offset: above 0, in units of the input: what an element of 0 moves by, over `rate`.
      l1: weight of the input's L1 norm (the sum of the magnitudes), which the gradients must then
        not include; 0 if they do, or if there is none.

    Raises:
      ValueError: a number out of range.
    """
    if not (0 <= b1 < 1 and 0 <= b2 < 1):
        raise ValueError(f"b1 and b2 are in [0, 1), got {b1} and {b2}")
    if not offset > 0 or l1 < 0:
        raise ValueError(f"offset must be above 0 and l1 not below, got {offset} and {l1}")

    def init(params: PyTree) -> RelativeState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return RelativeState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.copy, zeros))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, RelativeState]:
        if params is None:
            raise ValueError("relative_adam needs the parameters: update(gradient, state, params)")
        steps = state.steps + 1
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.first, updates)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.second, updates)
        now = rate(state.steps) if callable(rate) else rate

        def move(x: Array, m: Array, v: Array) -> Array:
            mean = m / (1 - b1**steps)
            # The tiny number keeps 0 / 0 away where neither the gradient nor the L1 term acts.
            scale = jnp.sqrt(v / (1 - b2**steps) + l1**2) + 1e-12
            size = jnp.asarray(now) * (jnp.abs(x) + offset) / scale
            return soft_threshold(x - size * mean, size * l1) - x

        return jax.tree.map(move, params, first, second), RelativeState(steps, first, second)

    return optax.GradientTransformation(init, update)


def soft_threshold(x: Array, threshold: Array | float) -> Array:
    """x moved towards 0 by `threshold`, and no further: the proximal map of threshold |x|_1.

    Args:
      x: any shape.
      threshold: not negative; broadcastable to x.
    """
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0)
