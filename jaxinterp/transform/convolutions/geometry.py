"""The sizes of a convolution, and what an equation says of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend.core import JaxprEqn

__all__ = ["Geometry", "Pair", "geometry_of", "precision_of"]

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """Sizes of a convolution of NHWC maps with an HWIO filter, without dilation.

    Attributes:
        images: n.
        size: (h, w) of the input.
        channels: of the input.
        kernels: channels of the output.
        window: (h, w) of the filter.
        strides: (down, across).
        padding: ((above, below), (left, right)) in pixels; may be negative, as in `jax.lax`.
        groups: `feature_group_count`.
    """

    images: int
    size: Pair
    channels: int
    kernels: int
    window: Pair
    strides: Pair
    padding: tuple[Pair, Pair]
    groups: int

    @property
    def out_size(self) -> Pair:
        """(h, w) of the output."""
        down, across = (
            max(0, (size + sum(pad) - window) // stride + 1)
            for size, pad, window, stride in zip(
                self.size, self.padding, self.window, self.strides, strict=True
            )
        )
        return down, across

    @property
    def gradient(self) -> Geometry:
        """Of the convolution that turns the output's gradient into the input's; for strides 1."""
        (above, below), (left, right) = self.padding
        down, across = self.window
        return self._replace(
            size=self.out_size,
            channels=self.kernels,
            kernels=self.channels,
            padding=(
                (down - 1 - above, down - 1 - below),
                (across - 1 - left, across - 1 - right),
            ),
        )


def precision_of(equation: JaxprEqn) -> str | None:
    """A convolution's precision as `jax.default_matmul_precision` takes it.

    An operand each may have its own, and there are algorithms by name: those come out as they are
    written, which is none of "highest", "high" and "default".
    """
    precision = equation.params["precision"]
    if precision is None:
        return None
    if isinstance(precision, tuple) and len(set(precision)) == 1:
        return precision[0].name.lower()
    return str(precision)


def geometry_of(equation: JaxprEqn) -> Geometry | None:
    """The sizes of a `conv_general_dilated`, or None where this package has no algorithm for it.

    That is: not two spatial axes, dilation, batch groups, an accumulation type or precision of
    its own, or numbers that are neither float32 nor float64.
    """
    params = equation.params
    avals: list[Any] = [atom.aval for atom in equation.invars]
    maps, weights = avals
    ones = (1, 1)
    if tuple(params["lhs_dilation"]) != ones or tuple(params["rhs_dilation"]) != ones:
        return None
    if params["batch_group_count"] != 1 or maps.dtype != weights.dtype:
        return None
    if maps.dtype not in (jnp.float32, jnp.float64):
        return None
    if precision_of(equation) not in (None, "highest", "high", "default"):
        return None
    if params["preferred_element_type"] not in (None, maps.dtype):
        return None
    numbers = params["dimension_numbers"]
    shape = [maps.shape[axis] for axis in numbers.lhs_spec]
    filters = [weights.shape[axis] for axis in numbers.rhs_spec]
    (down, across), (rows, columns) = params["window_strides"], params["padding"]
    geometry = Geometry(
        images=shape[0],
        size=(shape[2], shape[3]),
        channels=shape[1],
        kernels=filters[0],
        window=(filters[2], filters[3]),
        strides=(down, across),
        padding=(tuple(rows), tuple(columns)),
        groups=params["feature_group_count"],
    )
    sizes = (*maps.shape, *weights.shape, *geometry.out_size)
    return geometry if min(sizes) > 0 else None
