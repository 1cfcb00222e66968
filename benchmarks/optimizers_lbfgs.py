"""L-BFGS with a line search, for `optimizers.py`: optax's, each lane on its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.tree_utils
from jax import Array

from jaxinterp.optimize import LaneStatus, Minimum

__all__ = ["Lbfgs", "minimise_lbfgs"]

Surrogate = Callable[[Array, Any, Array, float], tuple[Array, Array]]
"""(input [h, w, c], its lane's data, width, corner) -> (what is followed, the loss), scalars."""


@dataclasses.dataclass(frozen=True)
class Lbfgs:
    """A way to walk.

    Attributes:
      evaluations: a lane that has spent so many, those of its line searches included, stops.
      smoothing: sqrt(L_p^2 + w^2) takes the place of L_p, where w is `smoothing` times the loss at
        the last refresh; 0 is the plain L_p.
      corner: sqrt(x^2 + corner^2) takes the place of |x|, in units of the input; 0: the plain |x|.
      refresh: w is taken anew after so many iterations. The function is another one then, so that
        the memory of curvature is cleared and the gradient evaluated anew.
      memory: pairs of differences kept.
      search: most evaluations of one line search.
      start: contrast and blur of `details`; None starts at the image.
    """

    evaluations: int = 200
    smoothing: float = 0.0
    corner: float = 0.0
    refresh: int = 30
    memory: int = 10
    search: int = 15
    start: tuple[float, float] | None = None

    def optimizer(self) -> optax.GradientTransformationExtraArgs:
        """optax's L-BFGS with its zoom line search."""
        line = optax.scale_by_zoom_linesearch(self.search, initial_guess_strategy="one")
        return optax.lbfgs(memory_size=self.memory, linesearch=line)


class _Lane(NamedTuple):
    """One lane between two iterations; `value` and `gradient` are the surrogate's at `x`."""

    x: Array
    state: Any
    width: Array
    value: Array
    gradient: Array
    loss: Array
    evaluations: Array
    best_loss: Array
    best_x: Array


def minimise_lbfgs(
    settings: Lbfgs,
    surrogate: Surrogate,
    inputs: Array | np.ndarray,
    data: Any,
    bounds: tuple[Any, Any] | Callable[[Array], tuple[Any, Any]],
) -> Minimum:
    """Walks from `inputs` [lanes, h, w, c]; `data` has a leading lane axis.

    The function followed is that of the input clipped to `bounds`, and so is the input kept.

    Returns:
      The trace holds "loss" only: row k is the loss where the lane stood when it had spent k + 1
      evaluations. Points that a line search only tried are not in it.
    """
    optimizer = settings.optimizer()

    def clip(x: Array) -> Array:
        return jnp.clip(x, *(bounds(x) if callable(bounds) else bounds))

    def followed(x: Array, data: Any, width: Array) -> tuple[Array, Array]:
        return surrogate(clip(x), data, width, settings.corner)

    def refresh(lane: _Lane, data: Any) -> _Lane:
        width = settings.smoothing * lane.loss
        (value, loss), gradient = jax.value_and_grad(followed, has_aux=True)(lane.x, data, width)
        return lane._replace(
            state=optimizer.init(lane.x),
            width=width,
            value=value,
            gradient=gradient,
            loss=loss,
            evaluations=lane.evaluations + 1,
        )

    def iterate(lane: _Lane, data: Any) -> _Lane:
        updates, state = optimizer.update(
            lane.gradient,
            lane.state,
            lane.x,
            value=lane.value,
            grad=lane.gradient,
            value_fn=lambda x: followed(x, data, lane.width)[0],
        )
        x = clip(jax.tree.map(jnp.add, lane.x, updates))
        # The line search knew it at its last point, and so it counts as no evaluation.
        loss = followed(x, data, lane.width)[1]
        spent = lane.evaluations + optax.tree_utils.tree_get(state, "num_linesearch_steps")
        better = (loss < lane.best_loss) & (spent <= settings.evaluations)
        return _Lane(
            x=x,
            state=state,
            width=lane.width,
            value=optax.tree_utils.tree_get(state, "value"),
            gradient=optax.tree_utils.tree_get(state, "grad"),
            loss=loss,
            evaluations=spent,
            best_loss=jnp.where(better, loss, lane.best_loss),
            best_x=jnp.where(better, x, lane.best_x),
        )

    def running(step: Callable[[_Lane, Any], _Lane]) -> Callable[[_Lane, Any], _Lane]:
        def kept(lane: _Lane, data: Any) -> _Lane:
            runs = lane.evaluations < settings.evaluations
            # Line searches last as long as the longest of all: none for a lane that has stopped.
            still = lane._replace(gradient=jnp.where(runs, lane.gradient, 0))
            return jax.tree.map(lambda new, old: jnp.where(runs, new, old), step(still, data), lane)

        return jax.jit(jax.vmap(kept))

    def begin(x: Array, data: Any) -> _Lane:
        # Where the lane starts is evaluated by the first refresh.
        loss = followed(x, data, jnp.zeros(()))[1]
        zero, none = jnp.zeros(()), jnp.zeros((), jnp.int32)
        return _Lane(x, optimizer.init(x), zero, zero, jnp.zeros_like(x), loss, none, loss, x)

    lanes = jax.jit(jax.vmap(begin))(clip(jnp.asarray(inputs)), data)
    refreshed, iterated = running(refresh), running(iterate)
    trace = np.full((settings.evaluations, len(lanes.x)), np.nan, np.float32)
    trace[0] = np.asarray(lanes.loss)
    moves = 0
    while (np.asarray(lanes.evaluations) < settings.evaluations).any():
        if moves % settings.refresh == 0:
            lanes = refreshed(lanes, data)
        lanes = iterated(lanes, data)
        moves += 1
        for lane, (spent, loss) in enumerate(zip(lanes.evaluations, lanes.loss, strict=True)):
            if spent <= settings.evaluations:
                trace[int(spent) - 1, lane] = loss
    steps = np.asarray(lanes.evaluations)
    return Minimum(
        inputs=np.asarray(lanes.best_x),
        loss=np.asarray(lanes.best_loss),
        step=np.nanargmin(trace, axis=0).astype(np.int32),
        steps=steps,
        status=np.full(len(steps), LaneStatus.SPENT, np.int32),
        trace={"loss": trace},
    )
