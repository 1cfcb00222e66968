"""The suppression method of this library, as the measurements advance it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.bench.problems import Problem
from jaxinterp.bench.settings import Precision
from jaxinterp.methods.layer_maps import Compute, frozen_maps
from jaxinterp.methods.suppression import SuppressionSettings, followed_objective, suppression_task
from jaxinterp.optimize import Objective
from jaxinterp.optimize.programs import compile_programs

__all__ = ["JaxSearch", "matmul_precision"]

_PRECISIONS = {"float32": "highest", "tf32": "high", "bfloat16": "default"}


class JaxSearch:
    """A batch of optimisations in JAX: a `Search`. It runs the programs that a `Stream` runs."""

    def __init__(
        self,
        problem: Problem,
        settings: SuppressionSettings,
        *,
        precision: Precision = "float32",
        devices: Sequence[Any] | None = None,
    ) -> None:
        """Compiles the lanes' programs.

        Args:
          problem: network, layer, images, kernels.
          settings: recipe and weights of the loss.
          precision: of the convolutions.
          devices: those that share the lanes, whose number they divide; None takes the first one.
        """
        started = time.perf_counter()
        self.segment = problem.segment
        compute = Compute(precision=_PRECISIONS[precision])  # type: ignore[arg-type]
        size: Any = problem.images.shape[1:3]
        devices = list(devices or jax.devices()[:1])
        self._own = problem.lanes // len(devices)
        task, shared, example = suppression_task(
            problem.network,
            problem.plan.layer,
            settings,
            size=size,
            lanes=self._own,
            compute=compute,
        )
        if precision == "bfloat16":
            prepared, objective = _bfloat16_objective(problem, settings, compute)
            shared = shared | {"prepared": prepared}
            task = task._replace(lanes=dataclasses.replace(task.lanes, objective=objective))
        self._programs = compile_programs(
            task,
            shared,
            example,
            devices=devices,
            width=problem.lanes,
            moved=self._own,
            length=problem.segment,
        )
        self.preparing = time.perf_counter() - started
        self._jobs = {"image": problem.images, "kernel": problem.kernels}
        self.restart()

    def restart(self) -> None:
        """Puts every lane back to its first step."""
        programs = self._programs
        slots = np.arange(len(self._jobs["kernel"]), dtype=np.int32) % self._own
        self._state = programs.refill(programs.shared, programs.idle(), slots, self._jobs)
        self._traces: list[Any] = []
        jax.block_until_ready(self._state)

    def advance(self, segments: int) -> None:
        """Takes `segments * segment` steps; returns when the device has done them."""
        for _ in range(segments):
            self._state, trace = self._programs.advance(self._programs.shared, self._state)
            self._traces.append(trace["loss"])
        jax.block_until_ready((self._state, self._traces))

    @property
    def losses(self) -> np.ndarray:
        """The loss before each step since the restart, float32 [steps, lanes]."""
        return np.concatenate([np.asarray(trace) for trace in self._traces])

    @property
    def inputs(self) -> np.ndarray:
        """Where the lanes stand, float32 [lanes, h, w, c]."""
        return np.asarray(self._state.inputs)

    @property
    def best_inputs(self) -> np.ndarray:
        """The input of each lane that had the least loss, float32 [lanes, h, w, c]."""
        return np.asarray(self._state.best_inputs)


def matmul_precision(precision: Precision) -> contextlib.AbstractContextManager[Any]:
    """How JAX computes float32 products and convolutions within; on CPUs there is one way."""
    return jax.default_matmul_precision(_PRECISIONS[precision])


def _bfloat16_objective(
    problem: Problem, settings: SuppressionSettings, compute: Compute
) -> tuple[list[Array], Objective]:
    """Eq. 4 with the network in bfloat16 and the loss in float32, as PyTorch's autocast has it.

    Returns:
      What is prepared of the weights, and the objective, which finds it in `shared["prepared"]`.
    """
    network, settings = problem.network, settings.resolved()

    def apply(params: Any, inputs: Array) -> Array:
        lower = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
        return network.apply(lower, inputs.astype(jnp.bfloat16))

    prepared, maps = frozen_maps(
        dataclasses.replace(network, apply=apply),
        problem.plan.layer,
        problem.images.shape,
        compute,
    )

    objective = followed_objective(
        lambda shared, inputs: maps(shared["prepared"], inputs).astype(jnp.float32),
        alpha=settings.alpha,
        beta=settings.beta,
        normalization=settings.normalization,
        smoothing=settings.smoothing or 0.0,
        proximal=settings.proximal,
    )
    return prepared, objective
