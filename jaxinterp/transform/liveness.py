"""Slicing a program back to what its wanted values need."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.program import Body, bodies, number_scan_inputs
from jaxinterp.transform.rewrite import Rewrite
from jaxinterp.transform.walk import CALLS, CUSTOM, REMAT, Path

__all__ = ["Live", "live_equations", "needed_carry"]


class Live(NamedTuple):
    """Why and how far an equation is run.

    Attributes:
        needed: Which of its outputs are wanted.
        effects: Whether anything after it is run.
        last: The variables nothing after it reads.
    """

    needed: list[bool]
    effects: bool
    last: list[Any]


def live_equations(
    rewrite: Rewrite, body: Body, path: Path, needed: Sequence[bool], effects: bool
) -> tuple[dict[int, Live], list[bool]]:
    """Finds the equations to run, and the inputs they read.

    Args:
        rewrite: What is replaced and collected.
        body: The equations.
        path: The way to them from the top.
        needed: Which outputs are wanted.
        effects: Whether something that follows this body is run. An equation with an effect is
            kept if anything after it is: a function that is cut short does what it did before
            the cut and nothing after.

    Returns:
        The equations to run by index, last first; and whether each input is read.
    """
    outputs = zip(body.jaxpr.outvars, needed, strict=True)
    wanted = {out for out, need in outputs if need and not isinstance(out, Literal)}
    live: dict[int, Live] = {}
    for index in range(len(body.jaxpr.eqns) - 1, -1, -1):
        equation, here = body.jaxpr.eqns[index], (*path, index)
        read = [out in wanted for out in equation.outvars]
        if not (any(read) or rewrite.collects(here) or (equation.effects and effects)):
            continue
        wanted.difference_update(equation.outvars)
        if here in rewrite.replaced:
            inputs: Sequence[Any] = rewrite.replaced[here].inputs
        elif rewrite.opens(here):
            flags = _needed_inputs(rewrite, equation, here, read, effects)
            inputs = [atom for atom, need in zip(equation.invars, flags, strict=True) if need]
        else:
            inputs = equation.invars
        fresh = {atom for atom in inputs if not isinstance(atom, Literal)} - wanted
        live[index] = Live(read, effects, list(fresh))
        wanted |= fresh
        effects = True
    return live, [variable in wanted for variable in body.jaxpr.invars]


def needed_carry(
    rewrite: Rewrite, equation: JaxprEqn, path: Path, needed: Sequence[bool]
) -> tuple[list[bool], list[bool]]:
    """Which values a scan must carry to give its needed outputs; and which inputs it reads."""
    body = bodies(equation)[0]
    constants, carried = number_scan_inputs(equation)
    carry = list(needed[:carried])
    while True:
        flags = [*carry, *needed[carried:]]
        # A step's effects come before the next step, so all of them are kept.
        _, inputs = live_equations(rewrite, body, (*path, 0), flags, True)
        wider = [
            old or new
            for old, new in zip(carry, inputs[constants : constants + carried], strict=True)
        ]
        if wider == carry:
            inputs[constants : constants + carried] = carry
            return carry, inputs
        carry = wider


def _needed_inputs(
    rewrite: Rewrite, equation: JaxprEqn, path: Path, needed: Sequence[bool], effects: bool
) -> list[bool]:
    name = equation.primitive.name
    if name == "scan":
        return needed_carry(rewrite, equation, path, needed)[1]
    if name in CALLS | REMAT or (name in CUSTOM and not any(needed)):
        body = bodies(equation)[0]
        flags = needed if name not in CUSTOM else [False] * len(needed)
        return live_equations(rewrite, body, (*path, 0), flags, effects)[1]
    return [True] * len(equation.invars)
