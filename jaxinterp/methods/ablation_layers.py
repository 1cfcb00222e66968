"""Which layers of a network are ablated, and under which tap their units' values lie.

Paper 004 (Islam et al. 2021), section V-C, turns units off "in each convolutional layer except the
first and last": without the first layer's the network is blind to some of the image, and the
last's are the features that the classifier reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.models.layer_table import Layer, LayerTable
from jaxinterp.models.network import Network
from jaxinterp.transform import capture, edit
from jaxinterp.transform.partition import known_outputs
from jaxinterp.transform.program import trace

__all__ = ["ablatable_layers", "find_units"]


def ablatable_layers(
    network: Network,
    *,
    ends: bool = False,
    residual: Literal["branch", "block"] = "branch",
) -> tuple[str, ...]:
    """The taps at which the units of every convolutional layer are turned off, but first and last.

    A unit's value is that after its batch norm and ReLU. The last convolution of a residual block
    has no ReLU of its own: its value is added to the shortcut's, and the sum is rectified. Its
    units are turned off

    - "branch": after its batch norm, before the sum: the convolution contributes nothing, the
      shortcut goes on. One layer for each convolution, shortcut projections included.
    - "block": in the block's output. The channel is then 0 for all later blocks too, which is more
      than one neuron of one layer.

    First and last are those in the order of the layer table. Where the last is added to others
    (a block's last convolution to a projection), these count as last with it.

    Args:
      network: whose layers; it is traced, and nothing is computed.
      ends: whether to keep the first and the last layer.
      residual: where units without a ReLU of their own are turned off.

    Returns:
      Names of taps, in the order of the layer table.

    Raises:
      UserError: the network has no convolution, or no third one.
    """
    chains = _chains(network.layers)
    if not chains:
        raise UserError(f"The network {network.name!r} has no convolution to ablate.")
    rectified = _rectified(network, [chain for chain in chains if chain.relu is not None])
    last = len(chains) - 1
    while (
        last > 0
        and chains[last].relu is not None
        and not {chains[last].norm, chains[last - 1].norm} & rectified
        and chains[last - 1].relu == chains[last].relu
    ):
        last -= 1
    names: dict[str, None] = {}
    for chain in chains if ends else chains[1:last]:
        takes_relu = chain.norm in rectified or residual == "block"
        names[chain.relu if takes_relu and chain.relu is not None else chain.norm] = None
    if not names:
        raise UserError(
            f"The network {network.name!r} has {len(chains)} convolutional layers, and none is "
            "left without the first and last: name the layers to ablate, or ask for the ends too."
        )
    return tuple(names)


def find_units(layers: LayerTable, name: str) -> Layer:
    """The row of a layer that has units.

    Raises:
      UserError: an unknown layer (the nearest are named), or one whose value has no channels.
    """
    row = layers.find(name)
    if row.channels < 1:
        raise UserError(f"The layer {name!r} has no channels that could be turned off.")
    return row


class _Chain:
    """A convolution, what follows it directly, and the next ReLU in the table.

    `norm` is the last batch norm that follows directly, or the convolution; `relu` the first ReLU
    after it that no pooling or dense layer precedes, or None.
    """

    def __init__(self, norm: str, relu: str | None) -> None:
        self.norm, self.relu = norm, relu


def _chains(rows: Sequence[Layer]) -> list[_Chain]:
    chains = []
    for place, row in enumerate(rows):
        if row.kind != "conv":
            continue
        norm, relu, direct = row.name, None, True
        for later in rows[place + 1 :]:
            if later.kind == "batch_norm" and direct:
                norm = later.name
            elif later.kind == "relu":
                relu = later.name
                break
            elif later.kind in ("conv", "batch_norm", "add", "subsample"):
                direct = False  # in a block, before its sum is rectified
            else:
                break
        chains.append(_Chain(norm, relu))
    return chains


def _rectified(network: Network, chains: Sequence[_Chain]) -> set[str]:
    """Those values before a ReLU that it depends on alone, not on a sum with others.

    Each of them is made an input of the network: a ReLU of it alone then depends on this input
    only.
    """
    norms = [chain.norm for chain in chains]
    relus = list(dict.fromkeys(chain.relu for chain in chains if chain.relu is not None))
    if not norms:
        return set()
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), network.params
    )
    side = network.preprocess.size
    images = jax.ShapeDtypeStruct((2, side, side, network.preprocess.channels), jnp.float32)
    shapes = jax.eval_shape(capture(network.apply, norms), params, images)

    def above(params: Any, images: jax.Array, values: dict[str, jax.Array]) -> list[jax.Array]:
        def given(name: str) -> Callable[..., jax.Array]:
            return lambda _, *steps: values[name][steps] if steps else values[name]

        edited = edit(network.apply, {name: given(name) for name in norms})
        captured = capture(edited, relus)(params, images)
        return [captured[name] for name in relus]

    program = trace(above, (params, images, shapes), {})
    own = len(jax.tree.leaves(params))
    order = sorted(shapes)  # as JAX flattens a dict
    rectified = set()
    for chain in chains:
        known = [True] * own + [False] + [name == chain.norm for name in order]
        if chain.relu is not None and known_outputs(program.body, known)[relus.index(chain.relu)]:
            rectified.add(chain.norm)
    return rectified
