"""Batch normalisation merged into the convolutions before it.

In evaluation mode batch norm is a fixed scale and shift of each channel, which a convolution can
take over: y = scale (w * x) + shift is the convolution with weights scale w and the bias `shift`.
Relevance propagation needs this (a batch norm on its own spoils it); elsewhere it saves a little.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from jaxinterp.errors import UserError
from jaxinterp.models.describe import describe_classifier
from jaxinterp.models.layers import BatchNorm, Conv
from jaxinterp.models.network import Network
from jaxinterp.models.parameters import Blueprint

__all__ = ["fold_batch_norm"]


def fold_batch_norm(network: Network) -> Network:
    """A copy of a network in which each convolution holds the batch norm that follows it.

    The arithmetic is done in float64 and rounded once, so the outputs equal the network's up to
    rounding. Every tap stays; that of a folded batch norm keeps its value, and that of the
    convolution before it now has the same. A network without batch norm comes back as it is.

    Raises:
      UserError: a network that is not made of this library's layers.

    Example:
      >>> import jaxinterp
      >>> network = jaxinterp.load("vgg_cifar10")
      >>> folded = fold_batch_norm(network)
      >>> len(network.params), len(folded.params)
      (50, 18)
    """
    blueprint = network.blueprint
    if blueprint is None:
        raise UserError(
            f"The batch norms of {network.name!r} cannot be found: only networks from "
            "`jaxinterp.load` can be folded."
        )
    pairs = list(_pairs(blueprint.module))
    if not pairs:
        return network
    folded = Blueprint(lambda: _without_batch_norm(blueprint.build()))
    params = _fold(network.params, pairs)
    return dataclasses.replace(
        network,
        apply=folded.apply,
        params={name: jnp.asarray(params[name]) for name in folded.shapes},
        layers=describe_classifier(folded, network.preprocess),
        blueprint=folded,
    )


class _Folded(nnx.Module):
    """In the place of a batch norm: the identity."""

    def __call__(self, x: Array, *, training: bool = False) -> Array:
        if training:
            raise ValueError("a network with folded batch norm cannot be trained")
        return x


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A convolution and the batch norm that reads it, by their paths; `epsilon` is the latter's."""

    conv: str
    norm: str
    epsilon: float


def _pairs(module: nnx.Module) -> Iterator[_Pair]:
    """Every batch norm of a module with its convolution.

    It is the member before it in a list (`features.1` after `features.0`), or the one of the same
    number (`bn2` and `conv2`).
    """
    members = {".".join(map(str, path)): one for path, one in nnx.iter_modules(module)}
    for path, norm in members.items():
        if isinstance(norm, BatchNorm):
            above, _, last = path.rpartition(".")
            before = str(int(last) - 1) if last.isdecimal() else last.replace("bn", "conv")
            conv = f"{above}.{before}" if above else before
            if not isinstance(members.get(conv), Conv):
                raise ValueError(f"no convolution before the batch norm {path}")
            yield _Pair(conv, path, norm.epsilon)


def _without_batch_norm(module: nnx.Module) -> nnx.Module:
    """The module with `_Folded` for each batch norm, and a bias in each convolution before one."""
    for pair in list(_pairs(module)):
        *way, last = pair.norm.split(".")
        owner: Any = module
        for step in way:
            owner = owner[int(step)] if step.isdecimal() else getattr(owner, step)
        if last.isdecimal():
            conv = owner[int(last) - 1]
            owner[int(last)] = _Folded()
        else:
            conv = getattr(owner, last.replace("bn", "conv"))
            setattr(owner, last, _Folded())
        conv.bias = nnx.data(nnx.Param(jnp.zeros(conv.weight.shape[-1:], jnp.float32)))
    return module


def _fold(params: Mapping[str, Array], pairs: list[_Pair]) -> dict[str, np.ndarray]:
    exact = {name: np.asarray(value, np.float64) for name, value in params.items()}
    for pair in pairs:
        weight, bias, mean, variance = (
            exact.pop(f"{pair.norm}.{leaf}")
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / np.sqrt(variance + pair.epsilon)
        exact[f"{pair.conv}.weight"] = exact[f"{pair.conv}.weight"] * scale
        before = exact.get(f"{pair.conv}.bias", 0)
        exact[f"{pair.conv}.bias"] = bias + (before - mean) * scale
    return {name: value.astype(_dtype(params, name)) for name, value in exact.items()}


def _dtype(params: Mapping[str, Array], name: str) -> np.dtype:
    """Of a parameter; a bias that is new has its weight's."""
    return params[name if name in params else f"{name.removesuffix('.bias')}.weight"].dtype
