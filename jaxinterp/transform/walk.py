"""Visiting every equation of a program, however deep, and knowing what surrounds it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jax.extend.core import JaxprEqn

from jaxinterp.transform.facts import Facts
from jaxinterp.transform.program import Atom, Body, bodies, number_scan_inputs

__all__ = ["CALLS", "CUSTOM", "OPENED", "REMAT", "Level", "Path", "is_differentiated", "walk"]

# Equation, body, equation, body, ..., equation: the way from the top to one equation. The way to
# a level ends with a body.
Path = tuple[int, ...]

REMAT = frozenset({"checkpoint", "remat", "remat2"})
CUSTOM = frozenset({"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"})
# Calls that only group equations: opening one means inlining it.
CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "core_closed_call", "call"})
OPENED = CALLS | REMAT | CUSTOM | {"scan", "while", "cond", "shard_map"}


@dataclass(frozen=True)
class Level:
    """One body within a program.

    Attributes:
        body: Its equations.
        path: The way to it from the top.
        enclosing: The equations around it, outermost first.
        facts: What its variables are known to be.
        differentiated: Whether the function itself differentiates this body.
    """

    body: Body
    path: Path
    enclosing: tuple[JaxprEqn, ...]
    facts: Facts
    differentiated: bool


def walk(
    body: Body,
    visit: Callable[[Level, int, JaxprEqn], bool],
    *,
    varying: Sequence[bool] | None = None,
) -> None:
    """Calls `visit(level, index, equation)` everywhere; descends where it returns True.

    `varying` says which of the inputs depend on the images (all, unless given).
    """
    _walk(Level(body, (), (), Facts(body, varying=varying), False), visit)


def is_differentiated(level: Level, equation: JaxprEqn) -> bool:
    """Whether the function differentiates this equation itself.

    Then the equation's derivative is already written out elsewhere, and changing the equation
    would leave that derivative as it was.
    """
    return level.differentiated or any(
        type(entry).__name__ == "Transform" and entry.name in ("jvp", "transpose")
        for entry in equation.source_info.name_stack.stack
    )


def _walk(level: Level, visit: Callable[[Level, int, JaxprEqn], bool]) -> None:
    for index, equation in enumerate(level.body.jaxpr.eqns):
        if not visit(level, index, equation):
            continue
        for number, body in enumerate(bodies(equation)):
            below = Level(
                body,
                (*level.path, index, number),
                (*level.enclosing, equation),
                Facts(
                    body,
                    level.facts,
                    _operands(equation, number),
                    _varying(equation, number, level.facts),
                ),
                is_differentiated(level, equation),
            )
            _walk(below, visit)


def _varying(equation: JaxprEqn, number: int, facts: Facts) -> list[bool]:
    """Which inputs of a body depend on the images; of what a loop carries, all or nothing."""
    name = equation.primitive.name
    flags = [facts.varies(atom) for atom in equation.invars]
    if name == "cond":
        return flags[1:]
    if name == "scan":
        constants, carried = number_scan_inputs(equation)
        carry = [any(flags)] * carried
        return [*flags[:constants], *carry, *flags[constants + carried :]]
    if name == "while":
        conditions = equation.params["cond_nconsts"]
        fixed = conditions + equation.params["body_nconsts"]
        carry = [any(flags)] * (len(flags) - fixed)
        return [*(flags[:conditions] if number == 0 else flags[conditions:fixed]), *carry]
    size = len(bodies(equation)[number].jaxpr.invars)
    return flags if len(flags) == size else [any(flags)] * size


def _operands(equation: JaxprEqn, number: int) -> Sequence[Atom]:
    """What the first of a body's inputs are outside, as far as they are the same at every call."""
    name, operands = equation.primitive.name, list(equation.invars)
    if name in CALLS | REMAT | {"shard_map"}:
        return operands
    if name == "cond":
        return operands[1:]
    if name == "scan":
        return operands[: number_scan_inputs(equation)[0]]
    if name == "while":
        conditions = equation.params["cond_nconsts"]
        ends = conditions, conditions + equation.params["body_nconsts"]
        return operands[: ends[0]] if number == 0 else operands[ends[0] : ends[1]]
    # Not into custom rules: softplus is logaddexp(x, 0), whose maximum(x, 0) is no ReLU.
    return []
