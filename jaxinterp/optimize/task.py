"""What a method that optimises inputs asks of the lanes: the one interface for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

from jaxinterp.optimize.lanes import Lanes

__all__ = ["Found", "Start", "Task"]

PyTree = Any


class Start(NamedTuple):
    """Where jobs start; every leaf has a leading axis.

    Attributes:
      inputs: [k, ...].
      data: what the objective needs to know of each.
      needed: bool [k]; False for a job that needs no step at all: its status is then SKIPPED. None
        if all need steps.
    """

    inputs: Array
    data: PyTree
    needed: Array | None = None


class Found(NamedTuple):
    """Where lanes ended; every leaf has a leading axis.

    Attributes:
      inputs: the best input, [k, ...].
      loss: its loss, float32 [k]; infinite for a lane that failed at its first evaluation.
      step: the step at which it was met, int32 [k].
      steps: moves made, int32 [k].
      status: a `LaneStatus`, int32 [k].
    """

    inputs: Array
    loss: Array
    step: Array
    steps: Array
    status: Array


class Task(NamedTuple):
    """What a method asks of the lanes; all functions are pure and are jitted by the stream.

    Attributes:
      lanes: the objective, the optimiser, when a lane stops.
      begin: `(shared, jobs) -> Start`: where k jobs start. `jobs` is a pytree of arrays [k, ...],
        such as images and kernels.
      end: `(shared, jobs, found) -> results`: a pytree of arrays [k, ...], such as the inputs found
        and their measures.
    """

    lanes: Lanes
    begin: Callable[[PyTree, PyTree], Start]
    end: Callable[[PyTree, PyTree, Found], PyTree]
