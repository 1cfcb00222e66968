"""Which values cannot be negative, told from where they come from."""

from __future__ import annotations

from jax.extend.core import Literal

from jaxinterp.transform.facts import RESHAPING, Facts
from jaxinterp.transform.operations.averaging import averages
from jaxinterp.transform.operations.relu import recognise_relu
from jaxinterp.transform.operations.window import lone_window
from jaxinterp.transform.program import Atom

__all__ = ["is_nonnegative"]

# One operand, elements of which come out as they are, or are summed, or the largest is taken.
_KEEPING = RESHAPING | {
    *("name", "slice", "rev", "squeeze", "dynamic_slice", "gather", "reduce_precision"),
    *("reduce_window_max", "reduce_window_sum", "reduce_max", "reduce_sum", "sharding_constraint"),
}


def is_nonnegative(atom: Atom, facts: Facts) -> bool:
    """Whether a value that depends on the images is known to be 0 or more everywhere."""
    facts, atom = facts.resolve(atom)
    if isinstance(atom, Literal) or not facts.varies(atom):
        constant = facts.constant(atom)
        return constant is not None and bool(constant >= 0)
    if atom not in facts.nonnegative:
        facts.nonnegative[atom] = _comes_nonnegative(atom, facts)
    return facts.nonnegative[atom]


def _comes_nonnegative(atom: Atom, facts: Facts) -> bool:
    equation = facts.definition(atom)
    if equation is None:
        return False
    if recognise_relu(equation, facts) is not None:
        return True
    name = equation.primitive.name
    operands = equation.invars
    if name in _KEEPING:
        return is_nonnegative(operands[0], facts)
    if name in ("concatenate", "add", "mul", "pad", "max", "stack"):
        return all(is_nonnegative(operand, facts) for operand in operands)
    if name == "div":
        divisor = facts.constant(operands[1])
        positive = divisor is not None and bool(divisor > 0)
        return positive and is_nonnegative(operands[0], facts)
    if name in ("pow", "exp", "sqrt", "rsqrt"):
        return name == "exp" or is_nonnegative(operands[0], facts)
    if name in ("square", "integer_pow"):
        return equation.params.get("y", 2) % 2 == 0 or is_nonnegative(operands[0], facts)
    if name == "dot_general" and averages(equation, facts):
        if facts.is_made_up(next(one for one in operands if not facts.varies(one))):
            return False  # bicubic resizing has negative weights
        return is_nonnegative(next(one for one in operands if facts.varies(one)), facts)
    return lone_window(equation) is not None and is_nonnegative(operands[0], facts)
