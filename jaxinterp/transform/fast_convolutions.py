"""The same function with convolutions that are quicker on CPUs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn

from jaxinterp.errors import nearest
from jaxinterp.transform.convolutions import (
    ALGORITHMS,
    Geometry,
    convolve,
    geometry_of,
    precision_of,
)
from jaxinterp.transform.convolutions.choose import choose
from jaxinterp.transform.errors import TransformError
from jaxinterp.transform.evaluate import run
from jaxinterp.transform.program import trace
from jaxinterp.transform.rewrite import Replacement, Rewrite, Steps
from jaxinterp.transform.walk import CUSTOM, OPENED, Level, Path, walk

__all__ = ["fast_convolutions"]


def fast_convolutions(fn: Callable[..., Any], *, algorithm: str = "auto") -> Callable[..., Any]:
    """Makes a function that computes what `fn` does with other algorithms for its convolutions.

    Every two-dimensional `conv_general_dilated` without dilation is replaced, in any layout, in
    float32 and float64, and wherever it lies: in jit, remat, scan, while, cond, shard_map. Those
    inside functions with derivative rules of their own stay as they are, so this comes before
    `with_rules` has made such functions of them only if no rule concerns them; stage it last. What
    is made of the filters depends on the weights alone: `stage` computes it once. Use both:

        >>> prepared, staged = stage(fast_convolutions(apply), params, images)
        >>> gradient = jax.jit(jax.grad(lambda images: staged(prepared, images).sum()))

    The gradient of the maps is a convolution by the algorithm too, and the gradient of the filters
    is XLA's. Both are reverse-mode; `jax.jvp` does not pass through.

    Args:
        fn: The function.
        algorithm: "auto" chooses for each convolution and direction what was quickest in
            measurements of two CPU cores (benchmarks/convolutions.py), and leaves the program
            alone on other backends. "winograd" (tiles of 4x4 outputs) and "winograd2" (2x2) are
            for 3x3 filters with strides 1, "matmul" for 1x1 filters; "direct" is XLA's
            convolution with the gradient written so that XLA has quick code for it in loops as
            well. Where the one named does not apply, "direct" stands in.

    Returns:
        A function with the signature of `fn`. Its values differ from those of `fn` by rounding.
        The largest error of one convolution in float32, as a share of the largest value, was 2e-5
        with "winograd", 1e-6 with "winograd2" and 8e-7 with "direct" (28x28 maps of 64 and 512
        channels, normal numbers, against float64).

    Raises:
        TransformError: No such algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise TransformError(nearest(algorithm, ALGORITHMS, kind="algorithm"))

    def fast(*args: Any, **kwargs: Any) -> Any:
        if algorithm == "auto" and jax.default_backend() != "cpu":
            return fn(*args, **kwargs)
        program = trace(fn, args, kwargs)
        replaced: dict[Path, Replacement] = {}

        def visit(level: Level, index: int, equation: JaxprEqn) -> bool:
            name = equation.primitive.name
            if name == "conv_general_dilated":
                geometry = geometry_of(equation)
                if geometry is not None:
                    apply = _replacement(equation, geometry, algorithm)
                    replaced[(*level.path, index)] = Replacement(tuple(equation.invars), apply)
            return name in OPENED and name not in CUSTOM

        walk(program.body, visit)
        return run(program, Rewrite(replaced=replaced), output=True)[0]

    return fast


def _replacement(
    equation: JaxprEqn, geometry: Geometry, algorithm: str
) -> Callable[[list[Any], Steps], list[Any]]:
    choice = choose(geometry, algorithm)
    numbers = equation.params["dimension_numbers"]

    def apply(values: list[Any], steps: Steps) -> list[Any]:
        maps, weights = values
        # (n, c, h, w) and (o, i, h, w) are where `dimension_numbers` says they are.
        n, c, h, w = numbers.lhs_spec
        out, into, *window = numbers.rhs_spec
        y = convolve(
            jnp.transpose(maps, (n, h, w, c)),
            jnp.transpose(weights, (*window, into, out)),
            geometry,
            choice,
            precision_of(equation),
        )
        places = numbers.out_spec
        order = [(places[0], places[2], places[3], places[1]).index(axis) for axis in range(4)]
        return [jnp.transpose(y, order)]

    return apply
