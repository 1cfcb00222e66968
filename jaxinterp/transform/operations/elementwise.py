"""Recognising scales and shifts (batch norm in evaluation mode) and sums of two values."""

from __future__ import annotations

from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.facts import Facts, is_floating
from jaxinterp.transform.operations.linear import recognise_conv, recognise_dense
from jaxinterp.transform.operations.operation import Match, Operation
from jaxinterp.transform.operations.pooling import recognise_average_pool
from jaxinterp.transform.operations.span import as_function, lone_source, operand_and_weight
from jaxinterp.transform.program import Atom

__all__ = ["recognise_add", "recognise_batch_norm"]


def recognise_add(equation: JaxprEqn, facts: Facts) -> Match | None:
    """The sum or difference of two values that both depend on the images."""
    if equation.primitive.name not in ("add", "add_any", "sub") or not is_floating(
        equation.outvars[0]
    ):
        return None
    if not all(facts.varies(atom) for atom in equation.invars):
        return None
    first, second = equation.invars
    inputs = (first,) if first is second else (first, second)
    apply = as_function([equation], inputs, equation.outvars[0])
    return Match(Operation("add", apply, activations=len(inputs)), inputs)


def recognise_batch_norm(equation: JaxprEqn, facts: Facts) -> Match | None:
    """A scale, a shift, or several in a row, by values that do not depend on the images."""
    x = _scaled(equation, facts)
    if x is None:
        return None
    chain = [equation]
    source = lone_source(x, facts)
    while source is not None and _scaled(source, facts) is not None and not _ends(source, facts):
        chain.append(source)
        x = _scaled(source, facts)
        source = lone_source(x, facts)
    equations = tuple(chain[::-1])
    own = {out for one in equations for out in one.outvars}
    weights = dict.fromkeys(
        atom
        for one in equations
        for atom in one.invars
        if not isinstance(atom, Literal) and atom not in own and atom is not x
    )
    inputs = (x, *weights)
    apply = as_function(equations, inputs, equation.outvars[0])
    return Match(Operation("batch_norm", apply), inputs, equations[:-1])


def _ends(equation: JaxprEqn, facts: Facts) -> bool:
    """Whether an equation is the last of another kind of operation: a bias, a mean's division."""
    others = (recognise_conv, recognise_dense, recognise_average_pool)
    return any(recognise(equation, facts) is not None for recognise in others)


def _scaled(equation: JaxprEqn, facts: Facts) -> Atom | None:
    """What an equation scales or shifts."""
    name = equation.primitive.name
    if name == "neg" and facts.varies(equation.invars[0]):
        return equation.invars[0]
    if name not in ("add", "add_any", "sub", "mul", "div") or not is_floating(equation.outvars[0]):
        return None
    operands = operand_and_weight(equation, facts)
    if operands is None or (name == "div" and equation.invars[0] is not operands[0]):
        return None
    return operands[0]
