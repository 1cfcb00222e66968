"""Putting a higher-order primitive back together around a body that is evaluated differently.

Every function here takes an equation, its input values, which of its outputs are needed, and
`inside`, which evaluates one of the equation's bodies; it returns the outputs and the values
collected inside. Values that are not needed are None, which JAX takes for an empty pytree.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn

from jaxinterp.transform.program import number_scan_inputs
from jaxinterp.transform.rewrite import Steps
from jaxinterp.transform.walk import CALLS, REMAT

__all__ = ["Inside", "reopen"]

# inside(number of the body, its inputs, needed outputs, step indices) -> outputs, collected
Result = tuple[list[Any], dict[str, Any]]
Inside = Callable[[int, Sequence[Any], Sequence[bool], Steps], Result]


def reopen(
    equation: JaxprEqn,
    inputs: Sequence[Any],
    needed: Sequence[bool],
    inside: Inside,
    steps: Steps,
    carry: Sequence[bool],
) -> Result:
    """Evaluates a higher-order equation through its body; `carry` is what a scan must carry."""
    name = equation.primitive.name
    if name in CALLS:
        return _inline(equation, inputs, needed, inside, steps)
    if name in REMAT:
        return _remat(equation, inputs, needed, inside, steps)
    if name == "scan":
        return _scan(equation, inputs, [*carry, *needed[len(carry) :]], inside, steps)
    if name == "while":
        return _while(equation, inputs, inside, steps)
    if name == "cond":
        return _cond(equation, inputs, inside, steps)
    return _shard_map(equation, inputs, inside, steps)


def _inline(
    equation: JaxprEqn,
    inputs: Sequence[Any],
    needed: Sequence[bool],
    inside: Inside,
    steps: Steps,
) -> Result:
    # A fresh jit would be compiled again at every eager call; under the caller's jit it is inlined
    # anyway. What it says about shardings is kept.
    shardings = equation.params.get("in_shardings", (None,) * len(inputs))
    outputs, collected = inside(0, _constrain(inputs, shardings), needed, steps)
    shardings = equation.params.get("out_shardings", (None,) * len(outputs))
    return _constrain(outputs, shardings), collected


def _constrain(values: Sequence[Any], shardings: Sequence[Any]) -> list[Any]:
    return [
        jax.lax.with_sharding_constraint(value, sharding)
        if value is not None and isinstance(sharding, jax.sharding.Sharding)
        else value
        for value, sharding in zip(values, shardings, strict=True)
    ]


def _remat(
    equation: JaxprEqn,
    inputs: Sequence[Any],
    needed: Sequence[bool],
    inside: Inside,
    steps: Steps,
) -> Result:
    def recomputed(*values: Any) -> Result:
        return inside(0, values, needed, steps)

    return jax.checkpoint(
        recomputed,
        prevent_cse=equation.params["prevent_cse"],
        policy=equation.params["policy"],
    )(*inputs)


def _scan(
    equation: JaxprEqn,
    inputs: Sequence[Any],
    needed: Sequence[bool],
    inside: Inside,
    steps: Steps,
) -> Result:
    constants, carried = number_scan_inputs(equation)
    fixed = inputs[:constants]
    initial = list(inputs[constants : constants + carried])
    length = equation.params["length"]

    def step(carry: list[Any], slices: tuple[Any, list[Any]]) -> tuple[list[Any], Any]:
        index, elements = slices
        values = [*fixed, *carry, *elements]
        outputs, collected = inside(0, values, needed, (*steps, index))
        return outputs[:carried], (outputs[carried:], collected)

    carry, (stacked, collected) = jax.lax.scan(
        step,
        [value if need else None for value, need in zip(initial, needed[:carried], strict=True)],
        (jnp.arange(length), list(inputs[constants + carried :])),
        length=length,
        reverse=equation.params["reverse"],
        unroll=equation.params["unroll"],
    )
    return [*carry, *stacked], collected


def _while(equation: JaxprEqn, inputs: Sequence[Any], inside: Inside, steps: Steps) -> Result:
    conditions = equation.params["cond_nconsts"]
    fixed = conditions + equation.params["body_nconsts"]
    carried = len(inputs) - fixed

    def condition(carry: list[Any]) -> Any:
        return inside(0, [*inputs[:conditions], *carry], [True], steps)[0][0]

    def step(carry: list[Any]) -> list[Any]:
        values = [*inputs[conditions:fixed], *carry]
        return inside(1, values, [True] * carried, steps)[0]

    return jax.lax.while_loop(condition, step, list(inputs[fixed:])), {}


def _cond(equation: JaxprEqn, inputs: Sequence[Any], inside: Inside, steps: Steps) -> Result:
    needed = [True] * len(equation.outvars)

    def branch(number: int) -> Callable[..., list[Any]]:
        return lambda *operands: inside(number, operands, needed, steps)[0]

    index, *operands = inputs
    branches = [branch(number) for number in range(len(equation.params["branches"]))]
    return jax.lax.switch(index, branches, *operands), {}


def _shard_map(equation: JaxprEqn, inputs: Sequence[Any], inside: Inside, steps: Steps) -> Result:
    needed = [True] * len(equation.outvars)
    parameters = equation.params
    mapped = jax.shard_map(
        lambda *shards: inside(0, shards, needed, steps)[0],
        mesh=parameters["mesh"],
        in_specs=tuple(parameters["in_specs"]),
        out_specs=list(parameters["out_specs"]),
        axis_names=set(parameters["newly_manual_axes"]),
        check_vma=parameters["check_vma"],
    )
    return mapped(*inputs), {}
