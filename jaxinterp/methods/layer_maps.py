"""The feature maps of one layer as a function, and how it is computed where weights are frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.errors import UserError
from jaxinterp.models.network import Network
from jaxinterp.transform import capture, fast_convolutions, stage

__all__ = [
    "DEFAULT_COMPUTE",
    "Compute",
    "all_layer_maps",
    "at_precision",
    "frozen_maps",
    "frozen_values",
    "layer_maps",
]


@dataclasses.dataclass(frozen=True)
class Compute:
    """How the network is computed. Changes speed and rounding, nothing else.

    Attributes:
      convolutions: "auto" replaces convolutions by quicker equivalents where that pays (on CPUs:
        see `jaxinterp.transform.fast_convolutions`), "direct" leaves them as they are, "winograd"
        forces that algorithm wherever it can be used.
      precision: of products on accelerators, in JAX's terms: "highest" is float32; "high" and
        "default" take the device's quicker forms (TF32 on NVIDIA GPUs, bfloat16 products on TPUs).
        CPUs compute in float32 whatever is asked.
    """

    convolutions: Literal["auto", "direct", "winograd"] = "auto"
    precision: Literal["highest", "high", "default"] = "highest"


DEFAULT_COMPUTE = Compute()


def all_layer_maps(
    network: Network, layers: Sequence[str]
) -> Callable[[Any, Array], dict[str, Array]]:
    """The feature maps of several layers, in one pass.

    Returns:
      `(params, inputs [n, h, w, c]) -> {layer: [n, h', w', kernels]}`, under the names that were
      given. What lies above all of them is not computed. The channel axis comes last whatever the
      network's own is.

    Raises:
      UserError: an unknown layer (the nearest are named), or one whose values are no maps.
    """
    rows = {layer: network.layers.find(layer) for layer in layers}
    for layer, row in rows.items():
        if not row.is_map:
            raise UserError(f"The layer {layer!r} has no feature maps [n, h, w, kernels].")
    captured = capture(network.apply, list(dict.fromkeys(row.name for row in rows.values())))

    def maps(params: Any, inputs: Array) -> dict[str, Array]:
        values = captured(params, inputs)
        return {
            layer: jnp.moveaxis(values[row.name], row.channel_axis, -1)
            for layer, row in rows.items()
        }

    return maps


def layer_maps(network: Network, layer: str) -> Callable[[Any, Array], Array]:
    """The feature maps of one layer, `(params, inputs [n, h, w, c]) -> maps [n, h', w', kernels]`.

    Otherwise as `all_layer_maps`.
    """
    maps = all_layer_maps(network, [layer])
    return lambda params, inputs: maps(params, inputs)[layer]


def frozen_maps(
    network: Network, layer: str, shape: tuple[int, ...], compute: Compute = DEFAULT_COMPUTE
) -> tuple[list[Array], Callable[[list[Array], Array], Array]]:
    """`frozen_values` of `layer_maps`: see there.

    Args:
      network: whose maps they are.
      layer: a name or alias from its layer table.
      shape: of the inputs, [n, h, w, c].
      compute: how.

    Raises:
      UserError: as `layer_maps`.
    """
    return frozen_values(layer_maps(network, layer), network, shape, compute)


def frozen_values(
    function: Callable[[Any, Array], Any],
    network: Network,
    shape: tuple[int, ...],
    compute: Compute = DEFAULT_COMPUTE,
) -> tuple[list[Array], Callable[[list[Array], Array], Any]]:
    """A function of a network for one shape of inputs, what depends on weights alone done before.

    Args:
      function: `(params, inputs) -> values`, such as `all_layer_maps` makes.
      network: its parameters count as constants.
      shape: of the inputs, [n, h, w, c].
      compute: how.

    Returns:
      `(prepared, values)`: arrays to hand to the jitted program, and `values(prepared, inputs)`,
      which can be differentiated in its inputs.
    """
    precise = at_precision(function, compute)
    if compute.convolutions != "direct":
        precise = fast_convolutions(precise, algorithm=compute.convolutions)
    example = jax.ShapeDtypeStruct(shape, np.float32)
    prepared, staged = stage(precise, network.params, example)
    return prepared, at_precision(staged, compute)


def at_precision(function: Callable[..., Any], compute: Compute) -> Callable[..., Any]:
    """The function, its products computed at the precision asked for."""

    def precise(*arguments: Any) -> Any:
        with jax.default_matmul_precision(compute.precision):
            return function(*arguments)

    return precise
