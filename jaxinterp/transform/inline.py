"""A program without calls that only group equations."""

import jax
from jax.extend.core import JaxprEqn

from jaxinterp.transform.evaluate import evaluate
from jaxinterp.transform.program import Program, trace_flat
from jaxinterp.transform.rewrite import Rewrite
from jaxinterp.transform.walk import CALLS, CUSTOM, Level, Path, walk

__all__ = ["inline"]


def inline(program: Program) -> Program:
    """The same program with every jit opened, so that an operation lies in one body.

    Loops, branches, remat and custom rules stay. What the output does not need is left out.
    """
    calls: list[Path] = []

    def visit(level: Level, index: int, equation: JaxprEqn) -> bool:
        name = equation.primitive.name
        if name in CALLS:
            calls.append((*level.path, index))
        return name not in CUSTOM

    walk(program.body, visit)
    rewrite = Rewrite(opened=frozenset(calls))
    needed = [True] * len(program.body.jaxpr.outvars)

    def flat(*inputs: jax.Array) -> list[jax.Array]:
        return evaluate(rewrite, program.body, inputs, needed, effects=True)[0]

    avals = [one.aval for one in program.body.jaxpr.invars]
    return Program(trace_flat(flat, avals), program.inputs, program.out_tree)
