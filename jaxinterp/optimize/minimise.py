"""`minimise`: the verb over lanes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxinterp.optimize.lanes import Lanes, LaneStatus

__all__ = ["Minimum", "minimise", "segment_length"]


@dataclasses.dataclass(frozen=True)
class Minimum:
    """What the lanes found. NumPy arrays; the first axis is the lane.

    Attributes:
      inputs: the best input of each lane, [lanes, ...].
      loss: its loss, float32 [lanes]; infinite for a lane that failed at its first step.
      step: the step at which it was met, int32 [lanes].
      steps: steps taken, int32 [lanes].
      status: a `LaneStatus` for each, int32 [lanes].
      trace: for "loss" and each term, float32 [steps, lanes]; NaN where a lane did not run.
    """

    inputs: np.ndarray
    loss: np.ndarray
    step: np.ndarray
    steps: np.ndarray
    status: np.ndarray
    trace: dict[str, np.ndarray]


def segment_length(steps: int, most: int) -> int:
    """The length of segments, at most `most`, in which `steps` + 1 evaluations waste the fewest."""
    evaluations = steps + 1
    return min(
        range((min(most, evaluations) + 1) // 2, min(most, evaluations) + 1),
        key=lambda length: (-evaluations % length, -length),
    )


def minimise(
    lanes: Lanes,
    inputs: Array | np.ndarray,
    data: Any,
    *,
    shared: Any = None,
    segment: int = 25,
    progress: Callable[[int, int], None] | None = None,
    compiled: dict[int, Any] | None = None,
) -> Minimum:
    """Minimises the objective from `inputs`, every lane on its own.

    Args:
      lanes: the objective, the optimiser and when to stop.
      inputs: where the lanes start, [lanes, ...].
      data: what each lane has of its own; every leaf [lanes, ...].
      shared: what the lanes share, such as a network's parameters.
      segment: at most so many steps between two looks at which lanes are finished.
      progress: called after each segment with (lane steps done, lane steps planned); lanes that
        stop early count as done to the end.
      compiled: keeps jitted segments between calls with the same `lanes`; give the same dictionary.

    Returns:
      The best input of each lane, its loss, and the trace of the loss's terms.
    """
    compiled = {} if compiled is None else compiled

    # Segments of one length, so that only one is compiled; the last may run on past the end, where
    # every lane is spent and stands still.
    length = segment_length(lanes.steps, segment)
    if length not in compiled:
        compiled[length] = lanes.segment(length)
    state = lanes.start(jax.numpy.asarray(inputs), data)
    width = len(state.step)
    traces: list[dict[str, np.ndarray]] = []
    done = 0
    while True:
        state, trace = compiled[length](shared, state)
        traces.append(jax.tree.map(np.asarray, trace))
        done = min(done + length, lanes.steps)
        running = int((np.asarray(state.status) == LaneStatus.RUNNING).sum())
        if progress is not None:
            progress(done * running + lanes.steps * (width - running), lanes.steps * width)
        if not running:
            break
    return Minimum(
        inputs=np.asarray(state.best_inputs),
        loss=np.asarray(state.best_loss),
        step=np.asarray(state.best_step),
        steps=np.asarray(state.step),
        status=np.asarray(state.status),
        trace={
            name: np.concatenate([t[name] for t in traces])[: lanes.steps] for name in traces[0]
        },
    )
