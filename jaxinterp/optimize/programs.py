"""What a stream runs on its devices: compiled once, with the lanes' axis spread over them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxinterp.optimize.lanes import Lanes, LaneState, LaneStatus
from jaxinterp.optimize.task import Found, Task
from jaxinterp.transform.compiler_options import compiler_options

__all__ = ["Programs", "compile_programs"]

PyTree = Any
Trace = dict[str, Any]

_AXIS = "lanes"


@dataclasses.dataclass(frozen=True)
class Programs:
    """Compiled programs; all state stays on the devices.

    Attributes:
      shared: what all lanes share, on every device.
      idle: makes a state in which no lane runs.
      advance: `(shared, state) -> (state, trace)`, one segment; the state is donated. The trace
        holds [length, lanes] for each term, or a list of `length` arrays [lanes].
      refill: `(shared, state, slots, jobs) -> state`: begins jobs in the given places; the state is
        donated. Slots are int32 [devices x moved], counted within each device; those past the end
        are dropped.
      read: `(shared, state, slots, jobs) -> (results, status)`: what has ended in these places.
      terms: names of what is traced.
      bytes_needed: memory of a segment on each device, as XLA plans it; 0 if it does not say.
    """

    shared: PyTree
    idle: Callable[[], LaneState]
    advance: Callable[[PyTree, LaneState], tuple[LaneState, Trace]]
    refill: Callable[[PyTree, LaneState, np.ndarray, PyTree], LaneState]
    read: Callable[[PyTree, LaneState, np.ndarray, PyTree], tuple[PyTree, Array]]
    terms: tuple[str, ...]
    bytes_needed: int


def compile_programs(
    task: Task,
    shared: PyTree,
    example: PyTree,
    *,
    devices: Sequence[Any],
    width: int,
    moved: int,
    length: int,
) -> Programs:
    """Compiles all that a stream of a task needs.

    Args:
      task: what is done.
      shared: what all lanes share.
      example: one job, a pytree of `ShapeDtypeStruct`s.
      devices: those that share the lanes.
      width: lanes in all, a multiple of the devices.
      moved: jobs that one call begins or reads out on each device.
      length: steps of a segment.
    """
    placement = _Placement(devices)
    shared = placement.everywhere(shared)

    def several(count: int) -> PyTree:
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), example
        )

    def idle(shared: PyTree) -> LaneState:
        first = jax.eval_shape(task.begin, shared, several(width))
        empty = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (first.inputs, first.data)
        )
        spent = jnp.full((width,), LaneStatus.SPENT, jnp.int32)
        return task.lanes.start(*empty)._replace(status=spent)

    make_idle = jax.jit(idle, out_shardings=placement.of_lanes)
    state = jax.eval_shape(make_idle, shared)
    slots = jax.ShapeDtypeStruct((moved * len(devices),), jnp.int32)
    jobs = several(moved * len(devices))
    of_one = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((width // len(devices), *leaf.shape[1:]), leaf.dtype),
        state,
    )
    advance, segment = _advance(placement, task.lanes, shared, state, length)
    return Programs(
        shared=shared,
        idle=lambda: make_idle(shared),
        advance=advance,
        refill=placement.compile(
            functools.partial(_refill, task), shared, state, slots, jobs, donated=(1,)
        ),
        read=placement.compile(functools.partial(_read, task), shared, state, slots, jobs),
        terms=tuple(jax.eval_shape(task.lanes.step, shared, of_one)[1]),
        bytes_needed=_bytes_needed(segment),
    )


class _Placement:
    """Devices in a row; arrays are whole on each of them, or divided by their leading axis."""

    def __init__(self, devices: Sequence[Any]) -> None:
        self._mesh = Mesh(np.array(devices), (_AXIS,))
        self.devices = devices
        self.of_lanes = NamedSharding(self._mesh, PartitionSpec(_AXIS))
        self.of_all = NamedSharding(self._mesh, PartitionSpec())

    def everywhere(self, tree: PyTree) -> PyTree:
        return jax.device_put(tree, self.of_all)

    def compile(
        self,
        function: Callable[..., Any],
        *arguments: PyTree,
        donated: tuple[int, ...] = (),
        options: dict[str, Any] | None = None,
        trace_axis: int = 0,
    ) -> Any:
        """Compiles a function whose first argument is everywhere and whose others are divided.

        Each device computes its own part, and nothing passes between them. `trace_axis` is the axis
        by which the second of two results is divided.
        """
        if len(self.devices) > 1:
            part = PartitionSpec(_AXIS)
            own = PartitionSpec(*[None] * trace_axis, _AXIS)
            function = jax.shard_map(
                function,
                mesh=self._mesh,
                in_specs=(PartitionSpec(), *[part] * (len(arguments) - 1)),
                out_specs=(part, own) if trace_axis else part,
                # Staged networks bind operations on values that vary over devices and on weights,
                # which do not, without saying so; nothing here is summed over devices.
                check_vma=False,
            )
        placed = [
            jax.tree.map(
                lambda leaf, where=self.of_lanes if place else self.of_all: jax.ShapeDtypeStruct(
                    leaf.shape, leaf.dtype, sharding=where
                ),
                argument,
            )
            for place, argument in enumerate(arguments)
        ]
        lowered = jax.jit(function, donate_argnums=donated).lower(*placed)
        return lowered.compile(compiler_options=options or None)


def _advance(
    placement: _Placement,
    lanes: Lanes,
    shared: PyTree,
    state: LaneState,
    length: int,
) -> tuple[Callable[[PyTree, LaneState], tuple[LaneState, Trace]], Any]:
    """A segment, and the compiled program that it consists of."""
    if placement.devices[0].platform != "cpu":
        scan = functools.partial(lanes.scan, length)
        whole = placement.compile(scan, shared, state, donated=(1,), trace_axis=1)
        return whole, whole
    options = compiler_options()
    step = placement.compile(lanes.step, shared, state, donated=(1,), options=options)

    def walk(shared: PyTree, state: LaneState) -> tuple[LaneState, Trace]:
        """As `Lanes.segment` on CPUs: calls of one step."""
        traces = []
        for _ in range(length):
            state, trace = step(shared, state)
            traces.append(trace)
        return state, {name: [trace[name] for trace in traces] for name in traces[0]}

    return walk, step


def _refill(task: Task, shared: PyTree, state: LaneState, slots: Array, jobs: PyTree) -> LaneState:
    first = task.begin(shared, jobs)
    new = task.lanes.start(first.inputs, first.data)
    if first.needed is not None:
        status = jnp.where(first.needed, LaneStatus.RUNNING, LaneStatus.SKIPPED)
        new = new._replace(status=status.astype(jnp.int32))
    return jax.tree.map(
        lambda old, leaf: old.at[slots].set(leaf.astype(old.dtype), mode="drop"), state, new
    )


def _read(
    task: Task, shared: PyTree, state: LaneState, slots: Array, jobs: PyTree
) -> tuple[PyTree, Array]:
    found = Found(
        inputs=state.best_inputs,
        loss=state.best_loss,
        step=state.best_step,
        steps=state.step,
        status=state.status,
    )
    found = jax.tree.map(lambda leaf: leaf.at[slots].get(mode="clip"), found)
    return task.end(shared, jobs, found), found.status


def _bytes_needed(compiled: Any) -> int:
    """Temporaries, arguments and results of a program, less what they share."""
    plan = compiled.memory_analysis()
    if plan is None:
        return 0
    whole = plan.temp_size_in_bytes + plan.argument_size_in_bytes + plan.output_size_in_bytes
    return int(whole - plan.alias_size_in_bytes)
