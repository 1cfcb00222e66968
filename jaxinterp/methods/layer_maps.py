"""The feature maps of one layer as a function, and how it is computed where weights are frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.errors import UserError
from jaxinterp.models.network import Network
from jaxinterp.transform import capture, fast_convolutions, stage

__all__ = ["DEFAULT_COMPUTE", "Compute", "at_precision", "frozen_maps", "layer_maps"]


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


def layer_maps(network: Network, layer: str) -> Callable[[Any, Array], Array]:
    """The feature maps of one layer, `(params, inputs [n, h, w, c]) -> maps [n, h', w', kernels]`.

    Layers above it are not computed. The channel axis comes last whatever the network's own is.

    Raises:
      UserError: an unknown layer (the nearest are named), or one whose values are no maps.
    """
    row = network.layers.find(layer)
    if not row.is_map:
        raise UserError(f"The layer {layer!r} has no feature maps [n, h, w, kernels].")
    captured = capture(network.apply, [row.name])

    def maps(params: Any, inputs: Array) -> Array:
        return jnp.moveaxis(captured(params, inputs)[row.name], row.channel_axis, -1)

    return maps


def frozen_maps(
    network: Network, layer: str, shape: tuple[int, ...], compute: Compute = DEFAULT_COMPUTE
) -> tuple[list[Array], Callable[[list[Array], Array], Array]]:
    """`layer_maps` for inputs of one shape, with all that depends on the weights alone done before.

    Args:
      network: whose maps they are; its parameters count as constants.
      layer: a name or alias from its layer table.
      shape: of the inputs, [n, h, w, c].
      compute: how.

    Returns:
      `(prepared, maps)`: arrays to hand to the jitted program, and `maps(prepared, inputs)`, which
      can be differentiated in its inputs.

    Raises:
      UserError: as `layer_maps`.
    """
    maps = at_precision(layer_maps(network, layer), compute)
    if compute.convolutions != "direct":
        maps = fast_convolutions(maps, algorithm=compute.convolutions)
    example = jax.ShapeDtypeStruct(shape, np.float32)
    prepared, staged = stage(maps, network.params, example)
    return prepared, at_precision(staged, compute)


def at_precision(function: Callable[..., Any], compute: Compute) -> Callable[..., Any]:
    """The function, its products computed at the precision asked for."""

    def precise(*arguments: Any) -> Any:
        with jax.default_matmul_precision(compute.precision):
            return function(*arguments)

    return precise
