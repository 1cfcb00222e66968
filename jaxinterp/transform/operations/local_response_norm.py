"""Recognising local response normalisation: x times a power of a windowed sum of squares."""

from __future__ import annotations

import jax
from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.facts import Facts, squares
from jaxinterp.transform.operations.operation import Match, Operation
from jaxinterp.transform.operations.span import as_function, lone_source
from jaxinterp.transform.program import Atom

__all__ = ["recognise_local_response_norm"]

_ELEMENTWISE = {
    *(
        "convert_element_type",
        "copy",
        "add",
        "add_any",
        "mul",
        "div",
        "pow",
        "integer_pow",
        "exp",
        "log",
        "neg",
        "rsqrt",
        "sqrt",
    ),
    "max",
}


def recognise_local_response_norm(equation: JaxprEqn, facts: Facts) -> Match | None:
    """x (k + a sum_window x^2)^-b, as a product or as a quotient.

    Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks" (2012),
    section 3.3.
    """
    if equation.primitive.name not in ("mul", "div"):
        return None
    first, second = equation.invars
    if not (facts.varies(first) and facts.varies(second)) or first is second:
        return None
    pairs = [(first, second)]
    if equation.primitive.name == "mul":
        pairs.append((second, first))
    for x, factor in pairs:
        chain = _energy_chain(x, factor, facts)
        if chain is not None:
            return _match(equation, x, factor, chain, facts)
    return None


def _energy_chain(
    x: Atom, factor: Atom, facts: Facts
) -> tuple[JaxprEqn, JaxprEqn, list[JaxprEqn]] | None:
    """The square of x, its windowed sum, and the equations from there to the factor."""
    chain: list[JaxprEqn] = []
    source = lone_source(factor, facts)
    while source is not None and source.primitive.name != "reduce_window_sum":
        varying = [atom for atom in source.invars if facts.varies(atom)]
        if source.primitive.name not in _ELEMENTWISE or len(varying) != 1:
            return None
        chain.append(source)
        source = lone_source(varying[0], facts)
    if source is None or not _is_centred(source):
        return None
    square = _lone_square(source.invars[0], facts)
    if square is None or any(atom is not x for atom in square.invars):
        return None
    return square, source, chain[::-1]


def _is_centred(window: JaxprEqn) -> bool:
    """Whether every element lies in its own window."""
    params = window.params
    same_shape = window.outvars[0].aval.shape == window.invars[0].aval.shape  # type: ignore[attr-defined]
    sizes = zip(params["window_dimensions"], params["padding"], strict=True)
    return same_shape and all(0 <= low < size for size, (low, _) in sizes)


def _lone_square(atom: Atom, facts: Facts) -> JaxprEqn | None:
    """The equation that squares something for one reader alone."""
    equation = facts.definition(atom)
    if equation is None or len(facts.uses(atom)) != 1:
        return None
    return equation if squares(equation) else None


def _match(
    last: JaxprEqn,
    x: Atom,
    factor: Atom,
    chain: tuple[JaxprEqn, JaxprEqn, list[JaxprEqn]],
    facts: Facts,
) -> Match | None:
    square, window, rest = chain
    equations = (square, window, *rest, last)
    own = {out for equation in equations for out in equation.outvars}
    weights = [
        atom
        for equation in equations
        for atom in equation.invars
        if not isinstance(atom, Literal) and atom not in own and atom is not x
    ]
    # Weights of a normalisation are numbers in all we know of; with arrays, say nothing of it.
    if weights:
        return None
    energy_of_square = as_function([window], [square.outvars[0]], window.outvars[0])
    quotient = last.primitive.name == "div"
    raw = as_function(rest, [window.outvars[0]], factor) if rest else lambda energy: energy

    def multiplier(energy: jax.Array) -> jax.Array:
        return 1 / raw(energy) if quotient else raw(energy)

    operation = Operation(
        "local_response_norm",
        as_function(equations, [x], last.outvars[0]),
        energy=lambda x: energy_of_square(x * x),
        multiplier=multiplier,
    )
    return Match(operation, (x,), equations[:-1])
