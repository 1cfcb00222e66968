"""What can be told of a variable from the equations around it."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import JaxprEqn, Literal, Var

from jaxinterp.transform.program import Atom, Body, bodies

__all__ = ["RESHAPING", "Facts", "is_floating", "squares"]

# Operations that move or cast elements and keep a constant a constant.
RESHAPING = frozenset(
    {
        "broadcast_in_dim",
        "convert_element_type",
        "copy",
        "copy_p",
        "expand_dims",
        "pvary",
        "pcast",
        "reshape",
        "squeeze",
        "transpose",
    }
)


class Facts:
    """Definitions, uses and constants within one body.

    Args:
        body: The body.
        outside: The facts of the body around it, if any.
        operands: What the first of its inputs are in the body around it, at every call.
        varying: Which of its inputs depend on the images; all, unless given.
    """

    def __init__(
        self,
        body: Body,
        outside: "Facts | None" = None,
        operands: Sequence[Atom] = (),
        varying: Sequence[bool] | None = None,
    ):
        self._body = body
        self._outside = outside
        self._operands = operands
        self._varying_inputs = [True] * len(body.jaxpr.invars) if varying is None else varying

    @cached_property
    def _definitions(self) -> dict[Var, JaxprEqn]:
        return {out: equation for equation in self._body.jaxpr.eqns for out in equation.outvars}

    @cached_property
    def _places(self) -> dict[Var, int]:
        return {variable: place for place, variable in enumerate(self._body.jaxpr.invars)}

    @cached_property
    def _consts(self) -> dict[Var, Any]:
        return dict(zip(self._body.jaxpr.constvars, self._body.consts, strict=True))

    @cached_property
    def _uses(self) -> dict[Var, list[tuple[int, JaxprEqn]]]:
        uses: dict[Var, list[tuple[int, JaxprEqn]]] = {}
        for index, equation in enumerate(self._body.jaxpr.eqns):
            for atom in equation.invars:
                if not isinstance(atom, Literal):
                    uses.setdefault(atom, []).append((index, equation))
        return uses

    @cached_property
    def _varying(self) -> set[Var]:
        inputs = zip(self._body.jaxpr.invars, self._varying_inputs, strict=True)
        varying = {variable for variable, varies in inputs if varies}
        for equation in self._body.jaxpr.eqns:
            atoms = equation.invars
            if any(not isinstance(atom, Literal) and atom in varying for atom in atoms):
                varying.update(equation.outvars)
        return varying

    def varies(self, atom: Atom) -> bool:
        """Whether a value depends on the images."""
        return not isinstance(atom, Literal) and atom in self._varying

    @cached_property
    def _given(self) -> set[Var]:
        given = {*self._body.jaxpr.invars, *self._body.jaxpr.constvars}
        for equation in self._body.jaxpr.eqns:
            atoms = equation.invars
            if any(not isinstance(atom, Literal) and atom in given for atom in atoms):
                given.update(equation.outvars)
        return given

    def is_made_up(self, atom: Atom) -> bool:
        """Whether a value depends on no input and no array that the function closes over."""
        return isinstance(atom, Literal) or atom not in self._given

    @cached_property
    def nonnegative(self) -> dict[Var, bool]:
        """What `is_nonnegative` found out of the variables of this body."""
        return {}

    def array(self, atom: Atom) -> Any:
        """The array that a value is whatever the inputs, if the function closes over it, or None.

        It is followed through casts and calls.
        """
        facts, atom = self.resolve(atom)
        if isinstance(atom, Literal):
            return np.asarray(atom.val)
        equation = facts.definition(atom)
        if equation is not None:
            cast = equation.primitive.name in ("convert_element_type", "copy")
            return facts.array(equation.invars[0]) if cast else None
        value = facts._consts.get(atom)
        if value is None or isinstance(value, Tracer):
            return None
        return np.asarray(value)

    def definition(self, atom: Atom) -> JaxprEqn | None:
        """The equation that computes a variable; None for literals, inputs and constants."""
        return None if isinstance(atom, Literal) else self._definitions.get(atom)

    def uses(self, variable: Atom) -> list[tuple[int, JaxprEqn]]:
        """The equations of this body that read a variable, with their indices."""
        return [] if isinstance(variable, Literal) else self._uses.get(variable, [])

    def is_output(self, variable: Var) -> bool:
        """Whether the body returns the variable."""
        return any(out is variable for out in self._body.jaxpr.outvars)

    def resolve(self, atom: Atom) -> tuple["Facts", Atom]:
        """Follows a value into and out of calls to where it is computed or given.

        Returns:
            What stands for the value there, and the facts to ask about it.
        """
        if isinstance(atom, Literal):
            return self, atom
        equation = self.definition(atom)
        if equation is None:
            place = self._places.get(atom, len(self._operands))
            if self._outside is not None and place < len(self._operands):
                return self._outside.resolve(self._operands[place])
        elif equation.primitive.name in ("jit", "pjit"):
            (body,) = bodies(equation)
            out = body.jaxpr.outvars[equation.outvars.index(atom)]
            return Facts(body, self, equation.invars).resolve(out)
        return self, atom

    def is_zero(self, atom: Atom) -> bool:
        """Whether a value is zero whatever the inputs."""
        constant = self.constant(atom)
        return constant is not None and constant == 0

    def constant(self, atom: Atom) -> Any:
        """The number that fills a value whatever the inputs, or None.

        It is found through reshaping, casts and calls, from literals and arrays that the function
        closes over.
        """
        facts, atom = self.resolve(atom)
        if isinstance(atom, Literal):
            return _uniform(atom.val)
        equation = facts.definition(atom)
        if equation is None:
            value = facts._consts.get(atom)
            return None if value is None or isinstance(value, Tracer) else _uniform(value)
        if equation.primitive.name in RESHAPING:
            return facts.constant(equation.invars[0])
        return None


def is_floating(atom: Atom) -> bool:
    """Whether a value is of floating-point numbers."""
    return jnp.issubdtype(atom.aval.dtype, jnp.floating)


def squares(equation: JaxprEqn) -> bool:
    """Whether an equation squares its operand."""
    name = equation.primitive.name
    return (
        name == "square"
        or (name == "integer_pow" and equation.params["y"] == 2)
        or (name == "mul" and equation.invars[0] is equation.invars[1])
    )


def _uniform(value: Any) -> Any:
    if jnp.issubdtype(getattr(value, "dtype", np.float32), jax.dtypes.extended):
        return None
    values = np.asarray(value)
    return values.flat[0] if values.size and (values == values.flat[0]).all() else None
