"""Recognising convolutions and dense layers, with their biases."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
from jax.extend.core import JaxprEqn

from jaxinterp.transform.evaluate import as_traced, bind
from jaxinterp.transform.facts import RESHAPING, Facts
from jaxinterp.transform.operations.averaging import averages
from jaxinterp.transform.operations.movements import movements
from jaxinterp.transform.operations.nonnegative import is_nonnegative
from jaxinterp.transform.operations.operation import Match, Operation
from jaxinterp.transform.operations.span import (
    as_function,
    lone_source,
    operand_and_weight,
    weight_root,
)
from jaxinterp.transform.program import Atom

__all__ = ["recognise_conv", "recognise_dense"]


def recognise_conv(equation: JaxprEqn, facts: Facts) -> Match | None:
    """A convolution of the images or maps with a weight; and the bias added to it."""
    return _recognise(equation, facts, "conv", _is_conv)


def recognise_dense(equation: JaxprEqn, facts: Facts) -> Match | None:
    """A matrix product with a weight; and the bias added to it."""
    return _recognise(equation, facts, "dense", _is_dense)


def _is_conv(equation: JaxprEqn, facts: Facts) -> bool:
    if equation.primitive.name != "conv_general_dilated":
        return False
    maps, weight = equation.invars
    alone = equation.params["batch_group_count"] == 1
    return alone and facts.varies(maps) and not facts.varies(weight)


def _is_dense(equation: JaxprEqn, facts: Facts) -> bool:
    if equation.primitive.name != "dot_general" or averages(equation, facts):
        return False
    return operand_and_weight(equation, facts) is not None


def _recognise(
    equation: JaxprEqn, facts: Facts, kind: str, is_linear: Callable[[JaxprEqn, Facts], bool]
) -> Match | None:
    if is_linear(equation, facts):
        return _match(kind, equation, facts, (), None)
    if equation.primitive.name not in ("add", "add_any"):
        return None
    operands = operand_and_weight(equation, facts)
    if operands is None or facts.is_zero(operands[1]):
        return None
    # Between the product and the bias, elements may be moved or cast.
    chain = [equation]
    source = lone_source(operands[0], facts)
    while source is not None:
        chain.append(source)
        if is_linear(source, facts):
            return _match(kind, source, facts, tuple(chain[-2::-1]), operands[1])
        moves = source.primitive.name in RESHAPING and len(source.invars) == 1
        source = lone_source(source.invars[0], facts) if moves else None
    return None


def _match(
    kind: str,
    linear: JaxprEqn,
    facts: Facts,
    after: tuple[JaxprEqn, ...],
    bias: Atom | None,
) -> Match:
    """`linear`, then the equations up to the addition of the bias, as one operation."""
    x, weight = operand_and_weight(linear, facts) or linear.invars
    swapped = linear.invars[0] is not x
    inputs: tuple[Atom, ...] = (x, weight)
    root, reshaping = (None, ()) if bias is None else weight_root(bias, facts)
    if root is not None:
        inputs = (x, weight, root)

    def product(x: jax.Array, weight: jax.Array) -> jax.Array:
        with as_traced(linear):
            return bind(linear, [weight, x] if swapped else [x, weight])[0]

    apply: Callable[..., jax.Array] = product
    if after:
        operands = (linear.outvars[0], *inputs[2:])
        finish = as_function((*reshaping, *after), operands, after[-1].outvars[0])
        apply = functools.partial(_then, product, finish)

    strided = kind == "conv" and math.prod(linear.params["window_strides"]) > 1
    unstrided, strides = None, ()
    if strided:
        moved = movements(after[:-1], _strides(linear))
        # Where sizes are not ours to change, it is known that there are strides, and no more.
        strides = _strides(linear) if moved is None else moved.strides
        unstrided = None if moved is None else _unstrided(linear, moved.apply)
    operation = Operation(
        kind,
        apply,
        nonnegative=is_nonnegative(x, facts),
        unstrided=unstrided,
        strides=strides,
    )
    return Match(operation, inputs, (linear, *after[:-1]) if after else ())


def _then(
    product: Callable[..., jax.Array],
    finish: Callable[..., jax.Array],
    x: jax.Array,
    weight: jax.Array,
    *bias: jax.Array,
) -> jax.Array:
    return finish(product(x, weight), *bias)


def _strides(linear: JaxprEqn) -> tuple[int, ...]:
    """Along the axes of a convolution's output."""
    strides = [1] * len(linear.outvars[0].aval.shape)  # type: ignore[attr-defined]
    spatial = linear.params["dimension_numbers"].out_spec[2:]
    for axis, stride in zip(spatial, linear.params["window_strides"], strict=True):
        strides[axis] = stride
    return tuple(strides)


def _unstrided(
    linear: JaxprEqn, move: Callable[[jax.Array], jax.Array]
) -> Callable[..., jax.Array]:
    """The convolution with stride 1, moved. Its bias, which no signal meets, is left out."""
    kept = (
        *("padding", "lhs_dilation", "rhs_dilation", "dimension_numbers"),
        *("feature_group_count", "precision", "preferred_element_type"),
    )
    params = {name: linear.params[name] for name in kept}
    strides = (1,) * len(linear.params["window_strides"])

    def apply(x: jax.Array, weight: jax.Array, *bias: jax.Array) -> jax.Array:
        return move(jax.lax.conv_general_dilated(x, weight, strides, **params))

    return apply
