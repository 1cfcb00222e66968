"""Movements of elements that can be done for maps of other sizes too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from jax.extend.core import JaxprEqn

__all__ = ["Movements", "movements"]


class Movements(NamedTuple):
    """What casts, squeezes, transpositions and splits of the batch do to strided maps.

    Attributes:
        apply: The same for maps of any size.
        strides: The strides along the axes that come out.
    """

    apply: Callable[[jax.Array], jax.Array]
    strides: tuple[int, ...]


def movements(equations: Sequence[JaxprEqn], strides: Sequence[int]) -> Movements | None:
    """Equations one after the other, each of one operand; None if one of them needs a fixed size.

    Args:
        equations: What is done.
        strides: Along the axes of what goes in.
    """
    steps: list[Callable[[jax.Array], jax.Array]] = []
    now = list(strides)
    for equation in equations:
        name, params = equation.primitive.name, equation.params
        if name == "convert_element_type":
            steps.append(lambda y, dtype=params["new_dtype"]: y.astype(dtype))
        elif name == "squeeze":
            gone = params["dimensions"]
            steps.append(lambda y, gone=gone: jax.lax.squeeze(y, gone))
            now = [one for axis, one in enumerate(now) if axis not in gone]
        elif name == "transpose":
            order = params["permutation"]
            steps.append(lambda y, order=order: jax.lax.transpose(y, order))
            now = [now[axis] for axis in order]
        elif name == "reshape" and params["dimensions"] is None:
            kept = _kept_axes(equation)
            if any(stride > 1 for stride in now[: len(now) - kept]):
                return None
            lead = params["new_sizes"][: len(params["new_sizes"]) - kept]
            steps.append(
                lambda y, lead=lead, kept=kept: y.reshape(*lead, *y.shape[y.ndim - kept :])
            )
            now = [1] * len(lead) + now[len(now) - kept :]
        elif name != "copy":
            return None

    def apply(y: jax.Array) -> jax.Array:
        for step in steps:
            y = step(y)
        return y

    return Movements(apply, tuple(now))


def _kept_axes(reshape: JaxprEqn) -> int:
    """How many of the last axes a reshape leaves alone."""
    old = reshape.invars[0].aval.shape  # type: ignore[attr-defined]
    new = reshape.params["new_sizes"]
    kept = 0
    while kept < min(len(old), len(new)) and old[-1 - kept] == new[-1 - kept]:
        kept += 1
    return kept
