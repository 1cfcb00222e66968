"""Recognising ReLUs."""

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.facts import RESHAPING, Facts, is_floating, squares
from jaxinterp.transform.operations.operation import Match, Operation
from jaxinterp.transform.program import Atom, Body, bodies

__all__ = ["recognise_relu"]

# What may stand between a sum and a mean.
SCALING = RESHAPING | {"div", "mul"}


def recognise_relu(equation: JaxprEqn, facts: Facts) -> Match | None:
    """`jax.nn.relu`, `maximum(x, 0)`, `clip(x, 0)`, `where(x > 0, x, 0)` and `x * (x > 0)`."""
    name = equation.primitive.name
    if not any(map(facts.varies, equation.outvars)):
        return None
    if name in ("select_n", "mul"):
        return _gated(equation, facts)
    if name == "custom_jvp_call":
        (body,) = bodies(equation)
        ruled = len(equation.invars) == 1 and _computes_relu(body)
        atom = equation.invars[0] if ruled else None
    elif name == "max" and not _is_guard(equation, facts):
        atom = _positive_part(equation, facts)
    else:
        atom = None
    return None if atom is None else Match(Operation("relu", _relu), (atom,))


def _gated(equation: JaxprEqn, facts: Facts) -> Match | None:
    """A value that is let through where it is positive."""
    if equation.primitive.name == "mul":
        pairs = [tuple(equation.invars), tuple(equation.invars[::-1])]
    elif len(equation.invars) == 3 and facts.is_zero(equation.invars[1]):
        pairs = [(equation.invars[2], equation.invars[0])]
    else:
        pairs = []
    for x, gate in pairs:
        if isinstance(x, Literal) or not is_floating(x):
            continue
        source = facts.definition(gate)
        spans = []
        while source is not None and source.primitive.name in RESHAPING:
            spans.append(source)
            source = facts.definition(source.invars[0])
        if source is None or source.primitive.name not in ("gt", "ge", "lt", "le"):
            continue
        larger, smaller = source.invars
        if source.primitive.name in ("lt", "le"):
            larger, smaller = smaller, larger
        if larger is x and facts.is_zero(smaller):
            return Match(Operation("relu", _relu), (x,), (source, *spans))
    return None


def _relu(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, 0)


def _computes_relu(body: Body) -> bool:
    """Whether a body is nothing but a ReLU, however many calls it is wrapped in."""
    if len(body.jaxpr.invars) != 1 or len(body.jaxpr.outvars) != 1:
        return False
    facts, (x,), (out,) = Facts(body), body.jaxpr.invars, body.jaxpr.outvars
    equation = facts.definition(out)
    if equation is None:
        return False
    if equation.primitive.name in ("jit", "pjit"):
        return list(equation.invars) == [x] and _computes_relu(bodies(equation)[0])
    return _positive_part(equation, facts) is x


def _positive_part(equation: JaxprEqn, facts: Facts) -> Atom | None:
    """The x of an equation maximum(x, 0), for floating-point x."""
    if equation.primitive.name != "max":
        return None
    (out,) = equation.outvars
    for x, other in (equation.invars, equation.invars[::-1]):
        same_shape = getattr(x.aval, "shape", None) == getattr(out.aval, "shape", None)
        if same_shape and not isinstance(x, Literal) and facts.is_zero(other):
            return x if is_floating(x) else None
    return None


def _is_guard(equation: JaxprEqn, facts: Facts) -> bool:
    """Whether a maximum is part of something else than a ReLU.

    A maximum next to a minimum with a constant is a clamp (relu6) or one half of an activation
    that bends at zero (celu, PReLU as max(x, 0) + a min(x, 0)). A maximum of a difference
    E[x^2] - E[x]^2 keeps rounding from making a variance negative (Flax's layer and group
    normalisation).
    """
    (out,) = equation.outvars
    uses = [use for _, use in facts.uses(out)]
    if len(uses) == 1 and not facts.is_output(out) and _is_upper_bound(uses[0], facts):
        return True
    for atom in equation.invars:
        if facts.constant(atom) is not None:
            continue
        origin, given = facts.resolve(atom)
        for place, one in ((facts, atom), (origin, given)):
            if any(_is_upper_bound(use, place) for _, use in place.uses(one)):
                return True
        source = origin.definition(given)
        if source is None:
            continue
        if _is_upper_bound(source, origin):
            return True
        if source.primitive.name == "sub":
            mean, square = source.invars
            return _is_square(square, origin) and _is_mean(mean, origin)
    return False


def _is_upper_bound(equation: JaxprEqn, facts: Facts) -> bool:
    constants = [facts.constant(atom) for atom in equation.invars]
    return equation.primitive.name == "min" and any(one is not None for one in constants)


def _is_mean(atom: Atom, facts: Facts) -> bool:
    facts, atom = facts.resolve(atom)
    equation = facts.definition(atom)
    if equation is None:
        return False
    if equation.primitive.name in SCALING:
        return _is_mean(equation.invars[0], facts)
    return equation.primitive.name in ("reduce_sum", "psum")


def _is_square(atom: Atom, facts: Facts) -> bool:
    facts, atom = facts.resolve(atom)
    equation = facts.definition(atom)
    return equation is not None and squares(equation)
