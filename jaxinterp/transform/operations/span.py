"""Several equations taken as one function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.evaluate import as_traced, bind
from jaxinterp.transform.facts import RESHAPING, Facts
from jaxinterp.transform.program import Atom

__all__ = ["as_function", "lone_source", "operand_and_weight", "weight_root"]


def as_function(
    equations: Sequence[JaxprEqn], inputs: Sequence[Atom], output: Atom
) -> Callable[..., jax.Array]:
    """The function that some equations, in their order, compute from `inputs`."""

    def apply(*values: Any) -> jax.Array:
        # By identity: a number that is written into an equation may be an input, too.
        known = {id(atom): value for atom, value in zip(inputs, values, strict=True)}
        for equation in equations:
            operands = [_read(atom, known) for atom in equation.invars]
            with as_traced(equation):
                results = bind(equation, operands)
            known.update(zip(map(id, equation.outvars), results, strict=True))
        return known[id(output)]

    return apply


def _read(atom: Atom, known: dict[int, Any]) -> Any:
    if isinstance(atom, Literal) and id(atom) not in known:
        return atom.val
    return known[id(atom)]


def operand_and_weight(equation: JaxprEqn, facts: Facts) -> tuple[Atom, Atom] | None:
    """Of an equation with two operands: the one that depends on the images, and the other.

    None if both do or neither.
    """
    if len(equation.invars) != 2:
        return None
    first, second = equation.invars
    if facts.varies(first) == facts.varies(second):
        return None
    return (first, second) if facts.varies(first) else (second, first)


def lone_source(atom: Atom, facts: Facts) -> JaxprEqn | None:
    """The equation that computes a value which one equation reads and nobody else."""
    equation = facts.definition(atom)
    if equation is None or len(equation.outvars) != 1:
        return None
    alone = len(facts.uses(atom)) == 1 and not facts.is_output(atom)
    return equation if alone else None


def weight_root(atom: Atom, facts: Facts) -> tuple[Atom, tuple[JaxprEqn, ...]]:
    """What a weight is before it is broadcast and reshaped, and the equations that do it."""
    equations: list[JaxprEqn] = []
    while True:
        equation = facts.definition(atom)
        if equation is None or equation.primitive.name not in RESHAPING:
            return atom, tuple(equations[::-1])
        if len(equation.invars) != 1 or isinstance(equation.invars[0], Literal):
            return atom, tuple(equations[::-1])
        equations.append(equation)
        atom = equation.invars[0]
