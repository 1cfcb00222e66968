"""A function as data: its equations, the values they read, and its output's structure.

Jaxprs come open (`Jaxpr`) and closed over constants (`ClosedJaxpr`) in jax 0.10, and as one class
in jax 0.11. The rest of this room sees only `Body`, which is the same in both.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn

from jaxinterp.transform.errors import TransformError

__all__ = [
    "Atom",
    "Body",
    "Program",
    "bodies",
    "equation_at",
    "flatten",
    "number_scan_inputs",
    "trace",
    "trace_flat",
]

Atom = Any  # a jaxpr's Var or Literal


class Body(NamedTuple):
    """Equations and the constants they close over."""

    jaxpr: Jaxpr
    consts: Sequence[Any]


class Program(NamedTuple):
    """A traced function together with the flat inputs it was traced for."""

    body: Body
    inputs: list[Any]
    out_tree: Any


def _is_body(parameter: Any) -> bool:
    """Whether an equation's parameter holds equations of its own."""
    return hasattr(parameter, "eqns") and hasattr(parameter, "invars")


def _body_of(parameter: Any) -> Body:
    """The equations in a parameter, whichever of JAX's jaxpr classes holds them."""
    return Body(getattr(parameter, "jaxpr", parameter), tuple(getattr(parameter, "consts", ())))


def bodies(equation: JaxprEqn) -> list[Body]:
    """Every body among an equation's parameters, in a fixed order."""
    if equation.primitive.name == "while":
        return [_body_of(equation.params["cond_jaxpr"]), _body_of(equation.params["body_jaxpr"])]
    found = []
    for parameter in equation.params.values():
        several = parameter if isinstance(parameter, tuple | list) else (parameter,)
        found += [_body_of(one) for one in several if _is_body(one)]
    return found


def number_scan_inputs(equation: JaxprEqn) -> tuple[int, int]:
    """How many of a scan's inputs are constants, and how many are carried."""
    if "num_consts" in equation.params:
        return equation.params["num_consts"], equation.params["num_carry"]
    constants, carried, _ = equation.params["ft_in"].unpack()  # jax 0.11
    return len(list(constants)), len(list(carried))


def equation_at(body: Body, path: Sequence[int]) -> JaxprEqn:
    """The equation at the end of a path: equation, body, equation, body, ..., equation."""
    *way, last = path
    for index, number in zip(way[::2], way[1::2], strict=True):
        body = bodies(body.jaxpr.eqns[index])[number]
    return body.jaxpr.eqns[last]


def trace_flat(fn: Callable[..., Any], avals: Sequence[Any]) -> Body:
    """Traces a function of arrays that returns a list, for inputs of the given types."""
    shapes = [jax.ShapeDtypeStruct(one.shape, one.dtype, weak_type=one.weak_type) for one in avals]
    return _body_of(jax.make_jaxpr(fn)(*shapes))


def trace(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Program:
    """Traces `fn` for arguments that may be arrays, tracers, scalars or `ShapeDtypeStruct`s.

    Raises:
        TransformError: An argument is not an array and so cannot be traced.
    """
    inputs, in_tree = flatten(fn, (args, kwargs))

    def flat_fn(*leaves: Any) -> Any:
        positional, named = jax.tree.unflatten(in_tree, leaves)
        return fn(*positional, **named)

    try:
        closed, out_shape = jax.make_jaxpr(flat_fn, return_shape=True)(*inputs)
    except jax.errors.ConcretizationTypeError as error:
        error.add_note(
            "A transformed function traces every argument: bind static ones (flags, sizes, names) "
            "with functools.partial before transforming."
        )
        raise
    return Program(_body_of(closed), inputs, jax.tree.structure(out_shape))


def flatten(fn: Callable[..., Any], arguments: Any) -> tuple[list[Any], Any]:
    """The leaves of `(args, kwargs)` as arrays, and their structure.

    Raises:
        TransformError: A leaf is not an array.
    """
    with_paths, structure = jax.tree_util.tree_flatten_with_path(arguments)
    return [_as_input(fn, path, leaf) for path, leaf in with_paths], structure


def _as_input(fn: Callable[..., Any], path: tuple[Any, ...], leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct | jax.Array):
        return leaf
    try:
        if isinstance(leaf, bool | int | float | complex | np.ndarray | np.generic):
            return jnp.asarray(leaf)  # a Python scalar stays weakly typed
        jax.typeof(leaf)
        return leaf
    except TypeError:
        position, *inside = path[1:]
        named = getattr(position, "key", None)
        which = (
            f"argument number {position.idx}" if named is None else f"keyword argument {named!r}"
        )
        kind, place = type(leaf).__name__, jax.tree_util.keystr(tuple(inside))
        what = f"holds a {kind} (at {place})" if inside else f"is a {kind}"
        raise TransformError(
            f"{which} of {getattr(fn, '__name__', repr(fn))} {what}, not an array: bind it with "
            "functools.partial before transforming"
        ) from None
