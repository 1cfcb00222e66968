"""Moving known work out of calls, rematerialised blocks and scans.

After hoisting, an equation depends either on known inputs only or is worth leaving whole, so
that a program can be divided by its outermost equations.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.evaluate import as_traced, bind
from jaxinterp.transform.partition import Split, known_flags, split
from jaxinterp.transform.program import Body, bodies, number_scan_inputs, trace_flat
from jaxinterp.transform.walk import CALLS, REMAT

__all__ = ["Values", "given_values", "hoist", "read", "run_equations"]

Values = dict[Any, Any]


def given_values(body: Body, inputs: Sequence[Any]) -> Values:
    """A body's constants and inputs by variable."""
    variables = [*body.jaxpr.constvars, *body.jaxpr.invars]
    return dict(zip(variables, [*body.consts, *inputs], strict=True))


def read(atoms: Sequence[Any], values: Values) -> list[Any]:
    """The values of literals and variables."""
    return [atom.val if isinstance(atom, Literal) else values[atom] for atom in atoms]


def run_equations(body: Body, indices: Sequence[int], values: Values) -> None:
    """Runs some of a body's equations, adding their outputs to the values."""
    for index in indices:
        equation = body.jaxpr.eqns[index]
        with as_traced(equation):
            outputs = bind(equation, read(equation.invars, values))
        values.update(zip(equation.outvars, outputs, strict=True))


def hoist(body: Body, known: Sequence[bool]) -> Body:
    """Rewrites a body so that what its equations compute from known inputs stands on its own."""
    flags = known_flags(body, known)

    def hoisted(*inputs: Any) -> list[Any]:
        values = given_values(body, inputs)
        for index, equation in enumerate(body.jaxpr.eqns):
            name = equation.primitive.name
            divisible = name in CALLS | REMAT | {"scan"} and not equation.effects
            if divisible and any(flags[index]) and not all(flags[index]):
                divide = _divide_scan if name == "scan" else _divide_call
                with as_traced(equation):
                    outputs = divide(equation, read(equation.invars, values), flags[index])
                values.update(zip(equation.outvars, outputs, strict=True))
            else:
                run_equations(body, [index], values)
        return read(body.jaxpr.outvars, values)

    return trace_flat(hoisted, [variable.aval for variable in body.jaxpr.invars])


def _divide_call(equation: JaxprEqn, inputs: Sequence[Any], known: Sequence[bool]) -> Sequence[Any]:
    body = hoist(bodies(equation)[0], known)
    parts = split(body, known)
    if not parts.computed:
        return bind(equation, inputs)
    computed = _compute(body, parts, inputs)
    rest = _rest(body, parts)
    if equation.primitive.name in REMAT:
        prevent_cse, policy = equation.params["prevent_cse"], equation.params["policy"]
        rest = jax.checkpoint(rest, prevent_cse=prevent_cse, policy=policy)
    outputs = rest(*computed, *_only(inputs, parts.inputs))
    # What is known does not pass through the rest, so that it stays known.
    outside = dict(zip(parts.computed, computed, strict=True))
    results = zip(body.jaxpr.outvars, outputs, strict=True)
    return [
        value if isinstance(out, Literal) else outside.get(out, value) for out, value in results
    ]


def _divide_scan(equation: JaxprEqn, inputs: Sequence[Any], known: Sequence[bool]) -> Sequence[Any]:
    """Computes what each step knows beforehand in a loop of its own.

    What is the same at every step moves out of both loops. A carried value counts as unknown.
    """
    constants, carried = number_scan_inputs(equation)
    fixed, initial = list(inputs[:constants]), list(inputs[constants : constants + carried])
    elements = list(inputs[constants + carried :])
    body = bodies(equation)[0]
    options = {key: equation.params[key] for key in ("length", "reverse", "unroll")}

    flags = [*known[:constants], *[False] * (carried + len(elements))]
    steady = hoist(body, flags)
    parts = split(steady, flags)
    same = _compute(steady, parts, inputs)
    variables = [variable.aval for variable in [*parts.computed, *steady.jaxpr.invars]]
    varying = trace_flat(_rest(steady, parts), variables)

    flags = [True] * len(same) + [*known[:constants], *[False] * carried]
    flags += known[constants + carried :]
    varying = hoist(varying, flags)
    parts = split(varying, flags)
    if not same and not parts.computed:
        return bind(equation, inputs)

    def step_before(_: None, elements: list[Any]) -> tuple[None, list[Any]]:
        values = [*same, *fixed, *[None] * carried, *elements]
        return None, _compute(varying, parts, values)

    _, each = jax.lax.scan(step_before, None, elements, **options)
    rest = _rest(varying, parts)
    fixed = _only([*same, *fixed], parts.inputs[: len(same) + constants])
    elements = _only(elements, parts.inputs[len(same) + constants + carried :])

    def step(carry: list[Any], slices: tuple[list[Any], list[Any]]) -> tuple[list[Any], list[Any]]:
        computed, elements = slices
        outputs = rest(*computed, *fixed, *carry, *elements)
        return outputs[:carried], outputs[carried:]

    carry, stacked = jax.lax.scan(step, initial, (each, elements), **options)
    return [*carry, *stacked]


def _compute(body: Body, parts: Split, inputs: Sequence[Any]) -> list[Any]:
    values = given_values(body, inputs)
    run_equations(body, parts.before, values)
    return read(parts.computed, values)


def _only(values: Sequence[Any], needed: Sequence[bool]) -> list[Any]:
    """The needed values; None, which JAX takes for an empty pytree, for the others."""
    return [value if need else None for value, need in zip(values, needed, strict=True)]


def _rest(body: Body, parts: Split) -> Callable[..., list[Any]]:
    """The rest of a body: takes what was computed before, then the body's inputs."""

    def rest(*arguments: Any) -> list[Any]:
        size = len(parts.computed)
        values = given_values(body, arguments[size:])
        values.update(zip(parts.computed, arguments[:size], strict=True))
        run_equations(body, parts.after, values)
        return read(body.jaxpr.outvars, values)

    return rest
