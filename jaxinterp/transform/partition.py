"""Sorting a program's equations into what is known beforehand and the rest."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.program import Body, bodies, number_scan_inputs
from jaxinterp.transform.walk import CALLS, REMAT

__all__ = ["Split", "known_flags", "known_outputs", "split"]


class Split(NamedTuple):
    """A body's equations, sorted.

    Attributes:
        before: Indices of the equations that depend on known inputs only and that the rest needs.
        computed: The variables of `before` that the rest reads.
        given: The known inputs and constants that the rest reads.
        after: Indices of the rest.
        inputs: Whether the rest reads each of the body's inputs.
    """

    before: list[int]
    computed: list[Any]
    given: list[Any]
    after: list[int]
    inputs: list[bool]


def known_outputs(body: Body, known: Sequence[bool]) -> list[bool]:
    """Which outputs depend on known inputs only."""
    return _flags(body.jaxpr.outvars, _known_variables(body, known))


def known_flags(body: Body, known: Sequence[bool]) -> list[list[bool]]:
    """Which inputs of each equation depend on known inputs only."""
    variables = _known_variables(body, known)
    return [_flags(equation.invars, variables) for equation in body.jaxpr.eqns]


def split(body: Body, known: Sequence[bool]) -> Split:
    """Sorts a body's equations.

    Equations that depend on nothing, and broadcasts, are not worth storing: where the rest reads
    one, it is repeated there. An equation with an effect is never done beforehand.
    """
    equations = body.jaxpr.eqns
    # Strictly: an equation that reads something unknown cannot be run beforehand, even if what it
    # returns does not depend on it.
    variables = _known_variables(body, known, strict=True)
    repeated = _repeated(body)
    # A dict keeps the order, so that the same function always gives the same pytree.
    needed = dict.fromkeys(_variables(body.jaxpr.outvars))
    after: list[int] = []
    for index in range(len(equations) - 1, -1, -1):
        outputs = equations[index].outvars
        later = index in repeated or not all(out in variables for out in outputs)
        if equations[index].effects or (later and any(out in needed for out in outputs)):
            after.append(index)
            for out in outputs:
                needed.pop(out, None)
            needed.update(dict.fromkeys(_variables(equations[index].invars)))
    given = {*body.jaxpr.invars, *body.jaxpr.constvars}
    computed = [variable for variable in needed if variable not in given]
    missing = set(computed)
    before: list[int] = []
    for index in range(len(equations) - 1, -1, -1):
        if any(out in missing for out in equations[index].outvars):
            before.append(index)
            missing.update(_variables(equations[index].invars))
    kept = [variable for variable in needed if variable in given and variable in variables]
    inputs = [variable in needed for variable in body.jaxpr.invars]
    return Split(before[::-1], computed, kept, after[::-1], inputs)


def _repeated(body: Body) -> set[int]:
    constants: set[Any] = set()
    repeated: set[int] = set()
    for index, equation in enumerate(body.jaxpr.eqns):
        if all(_flags(equation.invars, constants)):
            constants.update(equation.outvars)
            repeated.add(index)
        elif equation.primitive.name == "broadcast_in_dim":
            repeated.add(index)
    return repeated


def _known_variables(body: Body, known: Sequence[bool], *, strict: bool = False) -> set[Any]:
    variables = set(body.jaxpr.constvars)
    variables.update(one for one, flag in zip(body.jaxpr.invars, known, strict=True) if flag)
    for equation in body.jaxpr.eqns:
        if equation.effects:
            continue
        inputs = _flags(equation.invars, variables)
        flags = [all(inputs)] * len(equation.outvars)
        if not (strict or all(inputs)):
            flags = _known_results(equation, inputs)
        variables.update(out for out, flag in zip(equation.outvars, flags, strict=True) if flag)
    return variables


def _known_results(equation: JaxprEqn, known: Sequence[bool]) -> list[bool]:
    name = equation.primitive.name
    if name in CALLS | REMAT:
        return known_outputs(bodies(equation)[0], known)
    if name == "scan":
        constants, carried = number_scan_inputs(equation)
        flags = list(known)
        while True:
            results = known_outputs(bodies(equation)[0], flags)
            carry = flags[constants : constants + carried]
            narrower = [old and new for old, new in zip(carry, results[:carried], strict=True)]
            if narrower == carry:
                # The last step's results, unless there is no step.
                return results if equation.params["length"] else [*carry, *results[carried:]]
            flags[constants : constants + carried] = narrower
    return [False] * len(equation.outvars)


def _flags(atoms: Sequence[Any], variables: set[Any]) -> list[bool]:
    return [isinstance(atom, Literal) or atom in variables for atom in atoms]


def _variables(atoms: Sequence[Any]) -> list[Any]:
    return [atom for atom in atoms if not isinstance(atom, Literal)]
