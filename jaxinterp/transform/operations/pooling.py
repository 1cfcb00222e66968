"""Recognising max and average pooling."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import numpy as np
from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.evaluate import as_traced, bind
from jaxinterp.transform.facts import RESHAPING, Facts, is_floating
from jaxinterp.transform.operations.averaging import averages
from jaxinterp.transform.operations.nonnegative import is_nonnegative
from jaxinterp.transform.operations.operation import Match, Operation
from jaxinterp.transform.operations.span import as_function, lone_source, operand_and_weight
from jaxinterp.transform.operations.window import lone_window

__all__ = ["recognise_average_pool", "recognise_max_pool"]


def recognise_max_pool(equation: JaxprEqn, facts: Facts) -> Match | None:
    """`reduce_window` with `max`, also as the whole of a function with a custom_vjp of its own."""
    if not facts.varies(equation.outvars[0]):
        return None
    whole = equation.primitive.name == "reduce_window_max"
    window = equation if whole else lone_window(equation)
    if window is None:
        return None

    def apply(x: jax.Array) -> jax.Array:
        with as_traced(equation):
            return bind(equation, [x])[0]

    operation = Operation(
        "max_pool",
        apply,
        nonnegative=is_nonnegative(equation.invars[0], facts),
        unstrided=_unstrided(window),
        strides=_strides(window),
    )
    return Match(operation, (equation.invars[0],))


def recognise_average_pool(equation: JaxprEqn, facts: Facts) -> Match | None:
    """Sums over windows or axes, with the division by a count that follows; averaging matrices."""
    if _sums(equation, facts):
        return _average(equation, (), facts)
    if equation.primitive.name not in ("div", "mul"):
        return None
    operands = operand_and_weight(equation, facts)
    if operands is None or (
        equation.primitive.name == "div" and equation.invars[0] is not operands[0]
    ):
        return None
    chain = [equation]
    source = lone_source(operands[0], facts)
    while source is not None:
        if _sums(source, facts):
            return _average(source, tuple(chain[::-1]), facts)
        moves = source.primitive.name in RESHAPING and len(source.invars) == 1
        chain.append(source)
        source = lone_source(source.invars[0], facts) if moves else None
    return None


def _sums(equation: JaxprEqn, facts: Facts) -> bool:
    name = equation.primitive.name
    if name in ("reduce_window_sum", "reduce_sum"):
        return facts.varies(equation.invars[0]) and is_floating(equation.outvars[0])
    return name == "dot_general" and averages(equation, facts)


def _average(sums: JaxprEqn, after: tuple[JaxprEqn, ...], facts: Facts) -> Match:
    equations = (sums, *after)
    own = {out for equation in equations for out in equation.outvars}
    outer = dict.fromkeys(
        atom
        for equation in equations
        for atom in equation.invars
        if not isinstance(atom, Literal) and atom not in own
    )
    x = next(atom for atom in sums.invars if facts.varies(atom))
    inputs = (x, *(atom for atom in outer if atom is not x))
    apply = as_function(equations, inputs, equations[-1].outvars[0])
    factor = _factor(after, facts) if sums.primitive.name == "reduce_window_sum" else None
    operation = Operation(
        "average_pool",
        apply,
        nonnegative=is_nonnegative(x, facts),
        unstrided=None if factor is None else _unstrided(sums, factor),
        strides=_strides(sums),
    )
    return Match(operation, inputs, equations[:-1])


def _factor(after: tuple[JaxprEqn, ...], facts: Facts) -> float | None:
    """The number that sums are multiplied by, or None if it is none."""
    if not after:
        return 1.0
    scaling, *moves = after
    operands = operand_and_weight(scaling, facts)
    constant = None if moves or operands is None else facts.constant(operands[1])
    if constant is None:
        return None
    return float(1 / constant) if scaling.primitive.name == "div" else float(constant)


def _strides(window: JaxprEqn) -> tuple[int, ...]:
    strides = tuple(window.params.get("window_strides", ()))
    return strides if math.prod(strides) > 1 else ()


def _unstrided(window: JaxprEqn, factor: float = 1.0) -> Callable[..., jax.Array] | None:
    """The pooling with stride 1, times a factor."""
    if math.prod(window.params["window_strides"]) == 1:
        return None
    params = window.params
    reduce = {
        "reduce_window_max": (-np.inf, jax.lax.max),
        "reduce_window_sum": (0.0, jax.lax.add),
    }
    start, combine = reduce[window.primitive.name]

    def apply(x: jax.Array, *_: jax.Array) -> jax.Array:
        # A NumPy array: only if the start is known while tracing is this a maximum or a sum.
        pooled = jax.lax.reduce_window(
            x,
            np.asarray(start, x.dtype),
            combine,
            params["window_dimensions"],
            (1,) * x.ndim,
            params["padding"],
            params["base_dilation"],
            params["window_dilation"],
        )
        return pooled if factor == 1 else pooled * factor

    return apply
