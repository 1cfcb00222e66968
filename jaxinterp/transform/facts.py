"""What can be told of a variable from the equations around it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import JaxprEqn, Literal, Var

from jaxinterp.transform.program import Atom, Body, bodies

__all__ = ["RESHAPING", "Facts"]

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
    """Definitions, uses and constants within one body."""

    def __init__(self, body: Body, input_constant: Callable[[int], Any] = lambda place: None):
        self._body = body
        self._input_constant = input_constant  # asked only when needed: it may look at an array

    @cached_property
    def _definitions(self) -> dict[Var, JaxprEqn]:
        return {out: equation for equation in self._body.jaxpr.eqns for out in equation.outvars}

    @cached_property
    def _uses(self) -> dict[Var, list[tuple[int, JaxprEqn]]]:
        uses: dict[Var, list[tuple[int, JaxprEqn]]] = {}
        for index, equation in enumerate(self._body.jaxpr.eqns):
            for atom in equation.invars:
                if not isinstance(atom, Literal):
                    uses.setdefault(atom, []).append((index, equation))
        return uses

    def definition(self, atom: Atom) -> JaxprEqn | None:
        """The equation that computes a variable; None for literals, inputs and constants."""
        return None if isinstance(atom, Literal) else self._definitions.get(atom)

    def uses(self, variable: Var) -> list[tuple[int, JaxprEqn]]:
        """The equations of this body that read a variable, with their indices."""
        return self._uses.get(variable, [])

    def is_output(self, variable: Var) -> bool:
        """Whether the body returns the variable."""
        return any(out is variable for out in self._body.jaxpr.outvars)

    def is_zero(self, atom: Atom) -> bool:
        """Whether a value is zero whatever the inputs."""
        constant = self.constant(atom)
        return constant is not None and constant == 0

    def constant(self, atom: Atom) -> Any:
        """The number that fills a value whatever the inputs, or None.

        It is found through reshaping, casts and calls, from literals and arrays that the function
        closes over.
        """
        if isinstance(atom, Literal):
            return _uniform(atom.val)
        equation = self.definition(atom)
        if equation is None:
            return self._given_constant(atom)
        name = equation.primitive.name
        if name in RESHAPING:
            return self.constant(equation.invars[0])
        if name in ("jit", "pjit"):
            (body,) = bodies(equation)
            out = body.jaxpr.outvars[equation.outvars.index(atom)]
            return Facts(body, lambda place: self.constant(equation.invars[place])).constant(out)
        return None

    def _given_constant(self, variable: Var) -> Any:
        jaxpr = self._body.jaxpr
        for place, given in enumerate(jaxpr.invars):
            if given is variable:
                return self._input_constant(place)
        for given, value in zip(jaxpr.constvars, self._body.consts, strict=True):
            if given is variable:
                return None if isinstance(value, Tracer) else _uniform(value)
        return None


def _uniform(value: Any) -> Any:
    if jnp.issubdtype(getattr(value, "dtype", np.float32), jax.dtypes.extended):
        return None
    values = np.asarray(value)
    return values.flat[0] if values.size and (values == values.flat[0]).all() else None
