"""Doing the work that depends on parameters only once."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxinterp.transform.errors import StageError
from jaxinterp.transform.hoist import given_values, hoist, read, run_equations
from jaxinterp.transform.partition import split
from jaxinterp.transform.program import flatten, trace

__all__ = ["stage"]


def stage(
    fn: Callable[..., Any], params: Any, *example_args: Any, **example_kwargs: Any
) -> tuple[list[jax.Array], Callable[..., Any]]:
    """Evaluates once what `fn` computes from its first argument alone.

    Batch-norm scales, filter transforms and the like are then not computed again at every step.
    Known work is found through jit, remat and scan (per step for scanned parameters; once if it
    is the same at every step). Broadcasts are repeated rather than stored, custom_jvp and
    custom_vjp functions are staged whole or not at all, and so are cond and while.

    Args:
        fn: A function of parameters and other arguments.
        params: The parameters, a pytree of arrays.
        *example_args: The other arguments, as arrays or `jax.ShapeDtypeStruct`s: their shapes and
            dtypes matter, their values do not.
        **example_kwargs: Keyword arguments, likewise.

    Returns:
        `(prepared, staged)` with `staged(prepared, *args, **kwargs)` equal to
        `fn(params, *args, **kwargs)`. `prepared` is a list of arrays: hand it to the jitted step
        as an argument, so that it is not compiled in as a constant. Arrays that `fn` closes over
        are in it too. `staged` can be differentiated in its other arguments.

    Raises:
        StageError: `staged` is called with arguments of other shapes, dtypes or structure than
            the examples.

    Example:
        >>> prepared, staged = stage(apply, params, jax.ShapeDtypeStruct((8, 32, 32, 3), "float32"))
        >>> step = jax.jit(staged)
        >>> logits = step(prepared, images)
    """
    program = trace(fn, (params, *example_args), example_kwargs)
    own = len(jax.tree.leaves(params))
    known = [index < own for index in range(len(program.inputs))]
    body = hoist(program.body, known)
    parts = split(body, known)
    kept = [*parts.computed, *parts.given]
    padding = [None] * (len(program.inputs) - own)
    values = given_values(body, [*program.inputs[:own], *padding])
    run_equations(body, parts.before, values)
    prepared = read(kept, values)
    jaxpr, out_tree = body.jaxpr, program.out_tree
    expected = [(one.shape, one.dtype) for one in program.inputs[own:]]
    structures = _structures(example_args, example_kwargs)

    def staged(prepared: list[jax.Array], *args: Any, **kwargs: Any) -> Any:
        if len(prepared) != len(kept):
            raise StageError(
                f"expected the {len(kept)} prepared arrays that stage returned, got {len(prepared)}"
            )
        _check_structures(structures, _structures(args, kwargs))
        # None, an empty pytree, takes the place of the parameters, so that errors count them.
        rest, _ = flatten(fn, ((None, *args), kwargs))
        for leaf, (shape, dtype) in zip(rest, expected, strict=True):
            if (leaf.shape, leaf.dtype) != (shape, dtype):
                raise StageError(
                    f"staged for an argument of {dtype}{list(shape)}, called with "
                    f"{leaf.dtype}{list(leaf.shape)}; stage again for these shapes"
                )
        values = dict(zip(kept, prepared, strict=True))
        values.update(zip(jaxpr.invars[own:], rest, strict=True))
        run_equations(body, parts.after, values)
        return jax.tree.unflatten(out_tree, read(jaxpr.outvars, values))

    return prepared, staged


def _structures(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The structure of each argument; the parameters are argument number 0."""
    arguments = {f"argument number {place}": one for place, one in enumerate(args, start=1)}
    arguments |= {f"keyword argument {name!r}": one for name, one in kwargs.items()}
    return {name: jax.tree.structure(one) for name, one in arguments.items()}


def _check_structures(expected: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name in dict.fromkeys([*expected, *given]):
        if name not in given:
            problem = f"staged with {name}, called without it"
        elif name not in expected:
            problem = f"staged without {name}, called with it"
        elif expected[name] != given[name]:
            problem = f"{name} has another structure than it was staged with"
        else:
            continue
        raise StageError(f"{problem}; stage again for these arguments")
