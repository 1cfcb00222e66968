"""One convolution with an algorithm for each direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxinterp.transform.convolutions.direct import (
    direct,
    flip,
    make_dense,
    matrix_product,
    phase_filters,
    phase_gradient,
)
from jaxinterp.transform.convolutions.geometry import Geometry
from jaxinterp.transform.convolutions.winograd import FOUR, TWO, Tiles, transform_filter, winograd

__all__ = ["Choice", "convolve"]

_TILES: dict[str, Tiles] = {"winograd": FOUR, "winograd2": TWO}


class Choice(NamedTuple):
    """The algorithms of one convolution.

    Attributes:
        forward: "direct", "matmul", "winograd" (tiles of 4x4) or "winograd2".
        backward: likewise, for the input's gradient; "phases" where there are strides.
        dense: whether groups are computed as one convolution whose filter is zero between them.
    """

    forward: str
    backward: str
    dense: bool


def convolve(
    x: jax.Array,
    weights: jax.Array,
    geometry: Geometry,
    choice: Choice,
    precision: str | None = None,
) -> jax.Array:
    """[n, h, w, channels], [.., .., channels / groups, kernels] -> [n, h', w', kernels].

    All products have the precision given ("highest", "high", "default"; None: JAX's setting).

    What the algorithms make of the filter is computed here by ordinary equations, outside of the
    custom derivative, so that `stage` can do it once. The filter's own gradient is XLA's.
    """
    original = geometry
    dense = weights
    if choice.dense and geometry.groups > 1:
        dense = make_dense(weights, geometry.groups)
        geometry = geometry._replace(groups=1)
    ahead = _prepare(dense, choice.forward)
    if choice.backward == "xla":
        back: list[jax.Array] = []
    elif choice.backward == "phases":
        back = phase_filters(dense, geometry.strides)
    else:
        back = _prepare(flip(dense), choice.backward)

    def at_precision(function: Callable[..., Any]) -> Callable[..., Any]:
        """The derivative is traced later than the function, and elsewhere."""

        def precise(*arguments: Any) -> Any:
            if precision is None:
                return function(*arguments)
            with jax.default_matmul_precision(precision):
                return function(*arguments)

        return precise

    @jax.custom_vjp
    @at_precision
    def apply(
        x: jax.Array, weights: jax.Array, ahead: list[jax.Array], back: list[jax.Array]
    ) -> jax.Array:
        return _compute(x, ahead, geometry, choice.forward)

    def forward(
        x: jax.Array, weights: jax.Array, ahead: list[jax.Array], back: list[jax.Array]
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array, list[jax.Array], list[jax.Array]]]:
        return apply(x, weights, ahead, back), (x, weights, ahead, back)

    def backward(
        residuals: tuple[jax.Array, jax.Array, list[jax.Array], list[jax.Array]], dy: jax.Array
    ) -> tuple[jax.Array, jax.Array, None, None]:
        x, weights, ahead, back = residuals
        # Under jit, XLA leaves this out where nobody wants the filter's gradient.
        _, pull = jax.vjp(lambda weights: direct(x, weights, original), weights)
        (dweights,) = pull(dy)
        if choice.backward == "xla":
            _, pull = jax.vjp(lambda x: direct(x, ahead[0], geometry), x)
            (dx,) = pull(dy)
        elif choice.backward == "phases":
            dx = phase_gradient(dy, back, geometry)
        else:
            dx = _compute(dy, back, geometry.gradient, choice.backward)
        return dx, dweights, None, None

    apply.defvjp(forward, at_precision(backward))
    return apply(x, weights, ahead, back)


def _prepare(weights: jax.Array, algorithm: str) -> list[jax.Array]:
    tiles = _TILES.get(algorithm)
    return [weights] if tiles is None else transform_filter(weights, tiles)


def _compute(
    x: jax.Array, filters: list[jax.Array], geometry: Geometry, algorithm: str
) -> jax.Array:
    if algorithm in _TILES:
        return winograd(x, filters, geometry, _TILES[algorithm])
    if algorithm == "matmul":
        return matrix_product(x, filters[0], geometry)
    return direct(x, filters[0], geometry)
