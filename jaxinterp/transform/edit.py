"""Changing named values."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax.extend.core import JaxprEqn

from jaxinterp.transform.errors import TapError
from jaxinterp.transform.evaluate import bind, run
from jaxinterp.transform.program import equation_at, trace
from jaxinterp.transform.rewrite import Replacement, Rewrite, Steps
from jaxinterp.transform.sites import Site, find_sites, forbid, select

__all__ = ["edit", "forbid_edit"]


def edit(fn: Callable[..., Any], edits: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """Makes a function equal to `fn`, but with named values replaced on the way.

    Args:
        fn: A function that names values with `tap`.
        edits: What to do with each name: `g(value)` returns the value to go on with, of the same
            shape and dtype. In a scan it is `g(value, step)` with the step's index (the index into
            the scanned inputs, also when the scan runs in reverse), in nested scans
            `g(value, outer_step, inner_step)`. `g` may read traced values, such as the index of
            a kernel to ablate.

    Returns:
        A function with the signature and output of `fn`; it can be jitted, differentiated and
        vmapped. The values keep their names, so an edited function can be captured from.

    Raises:
        UnknownTapError: A name is not tapped, or several times; raised when called.
        TapError: A value lies in a custom_jvp or custom_vjp function (its rule would be dropped),
            in a shard_map (the edit would see one device's part), or in a part that `fn`
            differentiates itself (the derivative would not follow the edit); or an edit changes
            a value's shape or dtype, or cannot be called with the value and the steps.

    Example:
        >>> ablated = edit(apply, {"relu4_3": lambda maps: maps.at[..., kernel].set(0)})
        >>> logits = ablated(params, images)
    """
    edits = dict(edits)

    def edited(*args: Any, **kwargs: Any) -> Any:
        program = trace(fn, args, kwargs)
        sites = select(find_sites(program.body), edits)
        replaced = {}
        for site in sites:
            forbid_edit(site)
            _check_arguments(site, edits[site.label])
            equation = equation_at(program.body, site.path)
            apply = _edit_one(site, equation, edits[site.label])
            replaced[site.path] = Replacement(tuple(equation.invars), apply)
        return run(program, Rewrite(replaced=replaced), output=True)[0]

    return edited


def forbid_edit(site: Site) -> None:
    """Raises a TapError if the value at a site cannot be replaced soundly."""
    forbid(site, "edit", ("custom", "shard_map"))
    if site.differentiated:
        raise TapError(
            f"cannot edit {site.label!r}: the function differentiates it itself, and the "
            "derivative would not follow; edit the function before it is differentiated"
        )


def _check_arguments(site: Site, g: Callable[..., Any]) -> None:
    """Raises a TapError if an edit cannot be called with the value and the steps of its scans."""
    scans = len(site.lengths)
    steps = ["step"] if scans == 1 else [f"step_{number}" for number in range(scans)]
    arguments = ["value", *steps]
    try:
        signature = inspect.signature(g)
    except (TypeError, ValueError):
        return  # some built-in functions have none
    try:
        signature.bind(*arguments)
    except TypeError:
        around = "a scan" if scans == 1 else f"{scans} scans"
        reason = f", because it lies in {around}" if scans else ""
        raise TapError(
            f"the edit of {site.label!r} is called as g({', '.join(arguments)}){reason}, but does "
            f"not take {len(arguments)} argument{'s' if scans else ''}"
        ) from None


def _edit_one(
    site: Site, equation: JaxprEqn, g: Callable[..., Any]
) -> Callable[[list[Any], Steps], list[Any]]:
    def apply(values: list[Any], steps: Steps) -> list[Any]:
        (value,) = values
        new = jnp.asarray(g(value, *steps))
        if (new.shape, new.dtype) != (site.value.shape, site.value.dtype):
            raise TapError(
                f"the edit of {site.label!r} must return {_describe(site.value)}, as the value "
                f"is, but returned {_describe(new)}"
            )
        return bind(equation, [new])

    return apply


def _describe(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}"
