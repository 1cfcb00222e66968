"""The same function with other backward rules."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxinterp.errors import nearest
from jaxinterp.transform.composite import Composite
from jaxinterp.transform.errors import RuleError
from jaxinterp.transform.evaluate import run
from jaxinterp.transform.found import Found, find_operations
from jaxinterp.transform.inline import inline
from jaxinterp.transform.operations import OPERATIONS, Match
from jaxinterp.transform.program import Body, trace
from jaxinterp.transform.rewrite import Replacement, Rewrite, Steps
from jaxinterp.transform.rules import Rule, apply_with_rule
from jaxinterp.transform.sites import find_sites, select
from jaxinterp.transform.walk import CUSTOM, OPENED, is_differentiated

__all__ = ["images_among", "with_rules"]


def with_rules(
    fn: Callable[..., Any], composite: Composite, *, argnums: int | Sequence[int] | None = None
) -> Callable[..., Any]:
    """Makes a function that computes what `fn` does but differentiates by other rules.

    Operations are recognised by structure, wherever they stand (in jit, remat, scan, while, cond,
    shard_map): "conv", "dense", "relu", "max_pool", "average_pool", "add", "batch_norm",
    "local_response_norm"; docs/transform.md has their forms. Everything else keeps its gradient,
    unless `composite.others` says otherwise.

    Args:
        fn: The function. It must not differentiate itself where a rule applies.
        composite: The rules.
        argnums: Which positional arguments hold images (keyword arguments always do). What does
            not depend on them is a weight. Unless given: all arguments but the first, or the only
            one.

    Returns:
        A function with the signature and values of `fn`; use `jax.grad` or `jax.vjp` on it.
        (Rules are reverse-mode: `jax.jvp` does not pass through an operation that has one.)

    Raises:
        RuleError: An operation the composite has a rule for never occurs, or occurs where a rule
            cannot be applied soundly: inside another custom_jvp or custom_vjp function, or in
            a part that `fn` differentiates itself; or an operation has no rule and
            `composite.others` refuses it. Raised when called.
        UnknownTapError: A layer of the composite is not tapped.

    Example:
        >>> guided = with_rules(apply, guided_backprop)
        >>> saliency = jax.grad(lambda images: guided(params, images)[:, 3].sum())(images)
    """
    kinds = [*composite.operations, *composite.optional, *(composite.first or ((),))[0]]
    for kind in kinds:
        if kind not in OPERATIONS:
            raise RuleError(nearest(kind, OPERATIONS, kind="operation"))

    def ruled(*args: Any, **kwargs: Any) -> Any:
        program = inline(trace(fn, args, kwargs))
        varying = images_among(args, kwargs, argnums)
        replaced = {}
        for found, rule in _assign(composite, program.body, varying):
            _forbid(found)
            replaced[found.path] = Replacement(found.match.inputs, _apply(rule, found.match))
        return run(program, Rewrite(replaced=replaced), output=True)[0]

    return ruled


def images_among(
    args: tuple[Any, ...], kwargs: dict[str, Any], argnums: int | Sequence[int] | None
) -> list[bool]:
    """Which leaves of a function's arguments hold images; `with_rules` says how they are chosen."""
    if argnums is None:
        chosen = set(range(1, len(args))) if len(args) + bool(kwargs) > 1 else {0}
    else:
        given = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        for number in given:
            if not -len(args) <= number < len(args):
                raise RuleError(f"argnums names argument {number}, but {len(args)} are given")
        chosen = {number % len(args) for number in given}
    flags = []
    for number, argument in enumerate(args):
        flags += [number in chosen] * len(jax.tree.leaves(argument))
    return flags + [True] * len(jax.tree.leaves(kwargs))


def _apply(rule: Rule, match: Match) -> Callable[[list[Any], Steps], list[Any]]:
    def apply(values: list[Any], steps: Steps) -> list[Any]:
        return [apply_with_rule(rule, match.operation, tuple(values))]

    return apply


def _assign(composite: Composite, body: Body, varying: Sequence[bool]) -> list[tuple[Found, Rule]]:
    """Pairs every operation that gets a rule with it."""
    everything, rest = find_operations(body, varying)
    select(find_sites(body), composite.layers)
    tapped = {layer for found in (*everything, *rest) for layer in found.layers}
    for layer in composite.layers:
        if layer not in tapped:
            raise RuleError(f"{layer!r} taps a value that no operation computes")
    first = None
    if composite.first is not None:
        candidates = [found for found in everything if found.kind in composite.first[0]]
        first = candidates[0] if candidates else None
    pairs = []
    for found in everything:
        named = [layer for layer in found.layers if layer in composite.layers]
        if named:
            rule = composite.layers[named[0]]
        elif composite.first is not None and found is first:
            rule = composite.first[1]
        elif found.kind in composite.operations:
            rule = composite.operations[found.kind]
        else:
            rule = _other(composite, found)
        if rule is not None:
            pairs.append((found, rule))
    kinds = {found.kind for found in everything}
    for kind in composite.operations:
        if kind not in kinds and kind not in composite.optional:
            raise RuleError(f"the composite has a rule for {kind!r}, but the function has none")
    for found in rest:
        named = [layer for layer in found.layers if layer in composite.layers]
        rule = composite.layers[named[0]] if named else _other(composite, found)
        if rule is not None:
            pairs.append((found, rule))
    return pairs


def _other(composite: Composite, found: Found) -> Rule | None:
    """The rule for an operation of a kind that the composite does not list."""
    if composite.others is not None and len(found.equation.outvars) != 1:
        raise RuleError(
            f"there can be no rule for {found.description}, which has several outputs; let the "
            "composite's `others` be None to keep its gradient"
        )
    if composite.others != "refuse":
        return composite.others  # type: ignore[return-value]
    raise RuleError(
        f"there is no rule for {found.description}: give the composite one in `operations` or "
        "`layers`, or let `others` be what to do there (None keeps its gradient)"
    )


def _forbid(found: Found) -> None:
    what = f"the {found.kind!r} that is {found.layers[0]!r}" if found.layers else repr(found.kind)
    for equation in found.level.enclosing:
        primitive = equation.primitive.name
        if primitive in CUSTOM:
            raise RuleError(
                f"cannot give {what} a rule: it lies inside a {primitive.removesuffix('_call')} "
                "function, whose own derivative rule would be dropped"
            )
        if primitive not in OPENED:
            raise RuleError(
                f"cannot give {what} a rule: it lies inside a {primitive}, which cannot be opened"
            )
    if is_differentiated(found.level, found.equation):
        raise RuleError(
            f"cannot give {what} a rule: the function differentiates it itself; apply the rules "
            "to the function before it is differentiated"
        )
