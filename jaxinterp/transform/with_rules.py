"""The same function with other backward rules."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax.extend.core import JaxprEqn

from jaxinterp.errors import nearest
from jaxinterp.transform.composite import Composite
from jaxinterp.transform.errors import RuleError
from jaxinterp.transform.evaluate import run
from jaxinterp.transform.operations import OPERATIONS, Operation
from jaxinterp.transform.program import Body, trace
from jaxinterp.transform.rewrite import Replacement, Rewrite, Steps
from jaxinterp.transform.rules import Rule, apply_with_rule
from jaxinterp.transform.sites import find_sites, select
from jaxinterp.transform.walk import CUSTOM, OPENED, Level, Path, is_differentiated, walk

__all__ = ["with_rules"]


class Found(NamedTuple):
    """An operation of a program, the rule it gets, and where it lies."""

    kind: str
    operation: Operation
    path: Path
    layers: tuple[str, ...]
    level: Level
    equation: JaxprEqn


def with_rules(fn: Callable[..., Any], composite: Composite) -> Callable[..., Any]:
    """Makes a function that computes what `fn` does but differentiates by other rules.

    Operations are recognised by structure: "relu" is `jax.nn.relu` as well as `maximum(x, 0)`,
    wherever it stands (in jit, remat, scan, while, cond, shard_map). Not ReLUs are `relu6` and
    other clamps, `leaky_relu`, `maximum(x, y)`, `where(x > 0, x, 0)` and the guard of a variance
    against rounding. Everything else keeps its gradient; in particular max pooling passes
    signals to the maximum, which is what deconvnet calls its switches.

    Args:
        fn: The function. It must not differentiate itself where a rule applies.
        composite: The rules.

    Returns:
        A function with the signature and values of `fn`; use `jax.grad` or `jax.vjp` on it.
        (Rules are reverse-mode: `jax.jvp` does not pass through an operation that has one.)

    Raises:
        RuleError: An operation the composite has a rule for never occurs, or occurs where a rule
            cannot be applied soundly: inside another custom_jvp or custom_vjp function, or in
            a part that `fn` differentiates itself. Raised when called.
        UnknownTapError: A layer of the composite is not tapped.

    Example:
        >>> guided = with_rules(apply, guided_backprop)
        >>> saliency = jax.grad(lambda images: guided(params, images)[:, 3].sum())(images)
    """
    for kind in composite.operations:
        if kind not in OPERATIONS:
            raise RuleError(nearest(kind, OPERATIONS, kind="operation"))

    def ruled(*args: Any, **kwargs: Any) -> Any:
        program = trace(fn, args, kwargs)
        replaced = {}
        for found, rule in _assign(composite, program.body):
            _forbid(found)
            apply = _apply(rule, found.operation)
            replaced[found.path] = Replacement(found.operation.inputs, apply)
        return run(program, Rewrite(replaced=replaced), output=True)[0]

    return ruled


def _apply(rule: Rule, operation: Operation) -> Callable[[list[Any], Steps], list[Any]]:
    def apply(values: list[Any], steps: Steps) -> list[Any]:
        return [apply_with_rule(rule, operation.apply, tuple(values))]

    return apply


def _assign(composite: Composite, body: Body) -> list[tuple[Found, Rule]]:
    """Pairs every operation that gets a rule with it."""
    everything = _find(body)
    select(find_sites(body), composite.layers)
    tapped = {layer for found in everything for layer in found.layers}
    for layer in composite.layers:
        if layer not in tapped:
            raise RuleError(f"{layer!r} taps the output of no known operation")
    pairs = []
    for found in everything:
        named = [layer for layer in found.layers if layer in composite.layers]
        rule = composite.layers[named[0]] if named else composite.operations.get(found.kind)
        if rule is not None:
            pairs.append((found, rule))
    kinds = {found.kind for found in everything}
    for kind in composite.operations:
        if kind not in kinds:
            raise RuleError(f"the composite has a rule for {kind!r}, but the function has none")
    return pairs


def _find(body: Body) -> list[Found]:
    labels = {site.path: site.label for site in find_sites(body)}
    everything: list[Found] = []

    def visit(level: Level, index: int, equation: JaxprEqn) -> bool:
        for kind, recognise in OPERATIONS.items():
            operation = recognise(equation, level.facts)
            if operation is not None:
                uses = level.facts.uses(equation.outvars[0])
                taps = ((*level.path, place) for place, use in uses if use.primitive.name == "name")
                layers = tuple(labels[tap] for tap in taps if tap in labels)
                path = (*level.path, index)
                everything.append(Found(kind, operation, path, layers, level, equation))
                return False
        return True

    walk(body, visit)
    return everything


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
