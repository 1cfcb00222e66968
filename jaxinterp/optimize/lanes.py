"""Many input optimisations at once.

A *lane* is one optimisation: its input, its optimiser's state, its best result so far. All lanes
of a batch advance together in jitted segments of a fixed number of steps; a lane that has
converged, spent its steps or failed stays as it is while its neighbours go on, so that a lane's
result does not depend on who shares the batch. All state has a leading lane axis: writing out a
finished lane and putting another job in its place is a gather and a scatter, which compiles nothing
anew.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array

__all__ = ["LaneState", "LaneStatus", "Lanes", "Objective"]

PyTree = Any


class Objective(Protocol):
    """What is minimised, for a batch of lanes.

    Lane k's loss may depend on lane k's input and data only: lanes are differentiated together, by
    the gradient of the sum.
    """

    def __call__(self, shared: PyTree, inputs: Array, data: PyTree) -> tuple[Array, Mapping]:
        """Losses and their terms.

        Args:
          shared: what all lanes share, such as a network's parameters.
          inputs: [lanes, ...].
          data: what each lane has of its own; every leaf [lanes, ...].

        Returns:
          (losses [lanes], {name of a term: values [lanes]}).
        """
        ...


class LaneStatus(enum.IntEnum):
    """What has become of a lane."""

    RUNNING = 0
    CONVERGED = 1
    SPENT = 2
    FAILED = 3
    SKIPPED = 4


class LaneState(NamedTuple):
    """All lanes, between two segments. Every leaf has a leading lane axis.

    Attributes:
      inputs: where each lane stands, [lanes, ...].
      optimizer: the optimiser's state, each lane's own.
      data: what the objective needs to know of each lane.
      step: moves made, int32 [lanes].
      best_loss: the least loss met so far, [lanes]; infinite before the first step.
      best_inputs: the input that had it, [lanes, ...].
      best_step: the step at which it was met, int32 [lanes].
      mark: the loss that counts as the last real improvement, [lanes].
      mark_step: when that was, int32 [lanes].
      status: a `LaneStatus`, int32 [lanes].
    """

    inputs: Array
    optimizer: PyTree
    data: PyTree
    step: Array
    best_loss: Array
    best_inputs: Array
    best_step: Array
    mark: Array
    mark_step: Array
    status: Array


@dataclasses.dataclass(frozen=True)
class Lanes:
    """How lanes are advanced.

    Attributes:
      objective: what is minimised.
      optimizer: any optax optimiser; each lane has its own state, and `update` is given `value`,
        the lane's loss (for `optax.contrib.reduce_on_plateau`).
      steps: moves after which a lane is spent.
      bounds: if given, (lower, upper), broadcastable to one lane's input, or a function from the
        inputs [lanes, ...] to them: after each step the input is clipped to them.
      tolerance: a relative fall of the loss smaller than this is no improvement.
      patience: a lane without improvement for so many steps has converged; 0 switches that off.
    """

    objective: Objective
    optimizer: optax.GradientTransformation
    steps: int
    bounds: tuple[Any, Any] | Callable[[Array], tuple[Any, Any]] | None = None
    tolerance: float = 1e-4
    patience: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.patience < 0 or self.tolerance < 0:
            raise ValueError("patience and tolerance must not be negative")

    def start(self, inputs: Array, data: PyTree) -> LaneState:
        """Lanes at step 0, standing at `inputs` [lanes, ...]; `data` as the objective takes it."""
        # Copies: the segment's arguments are donated, and the caller's arrays are not ours to give
        # away; nor can one buffer be given twice.
        inputs = self._clip(jnp.array(inputs))
        lanes = len(inputs)
        for leaf in jax.tree.leaves(data):
            if jnp.ndim(leaf) < 1 or len(leaf) != lanes:
                raise ValueError(
                    f"every leaf of data needs a leading axis of {lanes} lanes, "
                    f"got shape {jnp.shape(leaf)}"
                )
        infinite = jnp.full((lanes,), jnp.inf, jnp.float32)
        zero = jnp.zeros((lanes,), jnp.int32)
        return LaneState(
            inputs=inputs,
            optimizer=jax.vmap(self.optimizer.init)(inputs),
            data=jax.tree.map(jnp.array, data),
            step=zero,
            best_loss=infinite,
            best_inputs=jnp.array(inputs),
            best_step=jnp.copy(zero),
            mark=jnp.copy(infinite),
            mark_step=jnp.copy(zero),
            status=jnp.copy(zero),
        )

    def segment(
        self, length: int
    ) -> Callable[[PyTree, LaneState], tuple[LaneState, dict[str, Array]]]:
        """A function `(shared, state) -> (state, trace)`: `length` calls of `step`, jitted.

        The state is donated. The trace holds, for "loss" and every term, float32 [length, lanes].

        On accelerators the steps are one jitted scan. On CPUs they are calls of one jitted step:
        XLA's CPU backend computes backward convolutions in a slower form inside a loop (BENCHMARKS,
        "Two traits of XLA's CPU backend").
        """
        if jax.default_backend() != "cpu":
            return jax.jit(functools.partial(self.scan, length), donate_argnums=1)
        step = jax.jit(self.step, donate_argnums=1)

        def walk(shared: PyTree, state: LaneState) -> tuple[LaneState, dict[str, Array]]:
            traces = []
            for _ in range(length):
                state, trace = step(shared, state)
                traces.append(trace)
            return state, {k: jnp.stack([t[k] for t in traces]) for k in traces[0]}

        return walk

    def scan(
        self, length: int, shared: PyTree, state: LaneState
    ) -> tuple[LaneState, dict[str, Array]]:
        """`length` steps as one scan; the trace is stacked along a leading axis."""
        return jax.lax.scan(lambda carry, _: self.step(shared, carry), state, None, length=length)

    def step(self, shared: PyTree, state: LaneState) -> tuple[LaneState, dict[str, Array]]:
        """Evaluates every running lane once and moves it on.

        A lane's last evaluation, after `steps` moves or when it has converged, only judges where it
        stands: a lane that spends all its steps is evaluated `steps` + 1 times.

        Returns:
          The state, and the trace: "loss" and every term at the inputs where the step began,
          float32 [lanes]; NaN where a lane did not run.
        """

        def total(inputs: Array) -> tuple[Array, tuple[Array, Mapping]]:
            loss, terms = self.objective(shared, inputs, state.data)
            return loss.sum(), (loss, terms)

        gradient, (loss, terms) = jax.grad(total, has_aux=True)(state.inputs)
        running = state.status == LaneStatus.RUNNING
        finite = jnp.isfinite(loss) & jnp.isfinite(gradient).all(range(1, gradient.ndim))
        active = running & finite
        state = self._record(state, loss, active=active)

        # A lane that is not active gets a harmless gradient: its update is thrown away below, and
        # NaN must not reach an optimiser's state.
        gradient = _where(active, gradient, jnp.zeros_like(gradient))
        value = jnp.where(active, loss, 0)
        update = optax.with_extra_args_support(self.optimizer).update
        updates, optimizer = jax.vmap(
            lambda g, s, x, v: update(g, s, x, value=v),
        )(gradient, state.optimizer, state.inputs, value)
        inputs = self._clip(jax.tree.map(jnp.add, state.inputs, updates))

        stale = active & (state.step - state.mark_step >= self.patience) & (self.patience > 0)
        spent = active & (state.step >= self.steps)
        moves = active & ~stale & ~spent
        status = jnp.where(running & ~finite, LaneStatus.FAILED, state.status)
        status = jnp.where(stale, LaneStatus.CONVERGED, status)
        status = jnp.where(spent, LaneStatus.SPENT, status)
        state = state._replace(
            inputs=_where(moves, inputs, state.inputs),
            optimizer=jax.tree.map(
                lambda new, old: _where(moves, new, old), optimizer, state.optimizer
            ),
            step=state.step + moves,
            status=status.astype(jnp.int32),
        )
        trace = {"loss": loss, **terms}
        return state, {k: jnp.where(active, v, jnp.nan) for k, v in trace.items()}

    def _record(self, state: LaneState, loss: Array, *, active: Array) -> LaneState:
        """Keeps the best input so far, and the last real improvement."""
        better = active & (loss < state.best_loss)
        improved = active & (
            jnp.isinf(state.mark) | (loss < state.mark - self.tolerance * jnp.abs(state.mark))
        )
        # From a kink the first moves lead up. Until a lane has fallen below its start, a loss that
        # has risen since the step before is a new beginning.
        rising = (loss > state.mark) & (state.mark_step == state.step - 1) & (state.best_step == 0)
        improved |= active & rising
        return state._replace(
            best_loss=jnp.where(better, loss, state.best_loss),
            best_inputs=_where(better, state.inputs, state.best_inputs),
            best_step=jnp.where(better, state.step, state.best_step),
            mark=jnp.where(improved, loss, state.mark),
            mark_step=jnp.where(improved, state.step, state.mark_step),
        )

    def _clip(self, inputs: Array) -> Array:
        bounds = self.bounds(inputs) if callable(self.bounds) else self.bounds
        return inputs if bounds is None else jnp.clip(inputs, *bounds)


def _where(lanes: Array, new: Array, old: Array) -> Array:
    """Chooses lane by lane: lanes bool [lanes], new and old [lanes, ...]."""
    return jnp.where(lanes.reshape(lanes.shape + (1,) * (new.ndim - 1)), new, old)
