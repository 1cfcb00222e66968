"""Evaluating a program with some equations replaced and some values collected.

Only what the outputs and the collected values need is run. A higher-order primitive is opened
only if something inside it is replaced or collected; otherwise it is bound as it is.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.extend import source_info_util
from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.liveness import Live, live_equations, needed_carry
from jaxinterp.transform.program import Body, Program, bodies
from jaxinterp.transform.reopen import reopen
from jaxinterp.transform.rewrite import Rewrite, Steps
from jaxinterp.transform.walk import CUSTOM, Path

__all__ = ["as_traced", "bind", "evaluate", "run"]


def run(program: Program, rewrite: Rewrite, *, output: bool) -> tuple[Any, dict[str, Any]]:
    """Evaluates a program on the inputs it was traced for.

    Args:
        program: The traced function.
        rewrite: What is replaced and collected.
        output: Whether the function's output is wanted; if not, only what the collected values
            need is run.

    Returns:
        The output (None if unwanted) and the collected values by label.
    """
    needed = [output] * len(program.body.jaxpr.outvars)
    outputs, collected = evaluate(rewrite, program.body, program.inputs, needed, effects=output)
    return (jax.tree.unflatten(program.out_tree, outputs) if output else None), collected


def evaluate(
    rewrite: Rewrite,
    body: Body,
    inputs: Sequence[Any],
    needed: Sequence[bool],
    *,
    path: Path = (),
    steps: Steps = (),
    effects: bool,
) -> tuple[list[Any], dict[str, Any]]:
    """Evaluates one body; see `live_equations` for the arguments."""
    live, _ = live_equations(rewrite, body, path, needed, effects)
    values: dict[Any, Any] = dict(zip(body.jaxpr.constvars, body.consts, strict=True))
    values.update(zip(body.jaxpr.invars, inputs, strict=True))
    collected: dict[str, Any] = {}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values.get(atom)

    for index in sorted(live):
        equation, here = body.jaxpr.eqns[index], (*path, index)
        replacement = rewrite.replaced.get(here)
        with as_traced(equation):
            if replacement is not None:
                outputs = replacement.apply([read(atom) for atom in replacement.inputs], steps)
            elif rewrite.opens(here):
                operands = [read(atom) for atom in equation.invars]
                outputs, inner = _open(rewrite, equation, operands, here, steps, live[index])
                collected.update(inner)
            else:
                outputs = bind(equation, [read(atom) for atom in equation.invars])
        values.update(zip(equation.outvars, outputs, strict=True))
        if here in rewrite.collected:
            collected[rewrite.collected[here]] = outputs[0]
        for variable in live[index].last:
            del values[variable]  # so that eager evaluation frees what it no longer needs
    results = zip(body.jaxpr.outvars, needed, strict=True)
    return [read(out) if need else None for out, need in results], collected


@contextlib.contextmanager
def as_traced(equation: JaxprEqn) -> Iterator[None]:
    """Restores what held when an equation was traced: name scopes, source line, mesh, options."""
    source = equation.source_info
    stack = source_info_util.current_name_stack() + source.name_stack
    traceback = source.traceback
    with source_info_util.user_context(traceback, name_stack=stack), equation.ctx.manager:
        yield


def bind(equation: JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """Applies an equation's primitive as it stands, custom rules and all."""
    outputs = equation.primitive.bind(
        *inputs, **equation.primitive.get_bind_params(equation.params)
    )
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def _open(
    rewrite: Rewrite,
    equation: JaxprEqn,
    inputs: Sequence[Any],
    path: Path,
    steps: Steps,
    live: Live,
) -> tuple[list[Any], dict[str, Any]]:
    name = equation.primitive.name
    loops = name in ("scan", "while")

    def inside(
        number: int, values: Sequence[Any], needed: Sequence[bool], steps: Steps
    ) -> tuple[list[Any], dict[str, Any]]:
        return evaluate(
            rewrite,
            bodies(equation)[number],
            values,
            needed,
            path=(*path, number),
            steps=steps,
            effects=loops or live.effects,
        )

    if name in CUSTOM:
        # The call stays bound, so its rule is kept; its body is run again for the values alone.
        nothing = [None] * len(equation.outvars)
        outputs = bind(equation, inputs) if any(live.needed) else nothing
        return outputs, inside(0, inputs, [False] * len(nothing), steps)[1]
    carry = needed_carry(rewrite, equation, path, live.needed)[0] if name == "scan" else []
    return reopen(equation, inputs, live.needed, inside, steps, carry)
