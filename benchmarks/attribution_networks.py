"""The same network for JAX, for Captum and for Zennit: what `attribution.py` compares."""

from __future__ import annotations

import copy
import itertools
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from attribution_zennit import sum_module
from torch import nn

import jaxinterp

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from torch_comparison import randomise, save_state
from torch_networks import torch_network

__all__ = ["Twins", "below_layer", "fold", "guided_relus", "make_twins", "module_at"]


class Twins(NamedTuple):
    """One network twice, with the same weights, and images for it.

    Attributes:
        ours: The network for JAX.
        theirs: PyTorch's, frozen, in evaluation mode.
        images: Normalised noise, [n, h, w, c].
    """

    ours: jaxinterp.Network
    theirs: nn.Module
    images: np.ndarray


def make_twins(
    name: str,
    *,
    images: int,
    size: int | None = None,
    folded: bool = False,
    dtype: type = np.float32,
) -> Twins:
    """Random weights, and batch norm that is not the identity; `folded` merges it.

    In float64 the weights are those of float32, widened before batch norm is merged.
    """
    theirs = randomise(torch_network(name))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.safetensors"
        save_state(theirs, path)
        os.environ["JAXINTERP_CACHE"] = folder  # not the user's
        ours = jaxinterp.load(name, weights=path)
    side = size or ours.preprocess.size
    shape = images, side, side, ours.preprocess.channels
    pixels = np.random.default_rng(1).uniform(size=shape)
    inputs = np.asarray(ours.preprocess(pixels), dtype)
    if dtype == np.float64:
        params = {name: np.asarray(value, dtype) for name, value in ours.params.items()}
        ours = ours.__class__(**{**ours.__dict__, "params": params})
        theirs = theirs.double()
    if folded:
        ours, theirs = jaxinterp.fold_batch_norm(ours), fold(theirs)
    return Twins(ours, theirs.eval().requires_grad_(False), inputs)


def fold(network: nn.Module) -> nn.Module:
    """A copy with batch norm merged into the convolutions, and sums and ReLUs as modules.

    Zennit's rules and Captum's hooks apply to modules; the sum of a residual block and the ReLU
    after it are none.
    """
    network = copy.deepcopy(network)
    for owner in list(network.modules()):
        children = list(owner.named_children())
        pairs = itertools.pairwise(children)
        for (conv_name, conv), (norm_name, norm) in pairs:
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                kind = conv.weight.dtype
                fused = nn.utils.fuse_conv_bn_eval(conv.double(), norm.double()).to(kind)
                setattr(owner, conv_name, fused)
                setattr(owner, norm_name, nn.Dropout())  # passes on, and every tool knows it
    for name, module in list(network.named_modules()):
        if hasattr(module, "downsample"):
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, _Block(module))
    return network.eval()


class _Block(nn.Module):
    """A residual block made of modules only."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        numbers = [number for number in (1, 2, 3) if hasattr(block, f"conv{number}")]
        inner: list[nn.Module] = []
        for number in numbers:
            inner.append(getattr(block, f"conv{number}"))
            if number != numbers[-1]:
                inner.append(nn.ReLU())
        self.inner, self.shortcut = nn.Sequential(*inner), block.downsample or nn.Sequential()
        self.sum, self.relu = sum_module(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.sum(torch.stack([self.inner(x), self.shortcut(x)], dim=-1)))


def module_at(twins: Twins, layer: str) -> nn.Module:
    """PyTorch's module whose output is tapped under this name."""
    return twins.theirs.get_submodule(twins.ours.layers.find(layer).alias)


class below_layer(nn.Module):
    """The sums of the feature maps, [n, kernels], at a layer of a VGG network's `features`."""

    def __init__(self, network: nn.Module, alias: str) -> None:
        super().__init__()
        last = int(alias.removeprefix("features."))
        features = network.get_submodule("features")
        assert isinstance(features, nn.Sequential)
        self.features = copy.deepcopy(features[: last + 1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(x).sum((2, 3))


def guided_relus(network: nn.Module) -> nn.Module:
    """A copy whose ReLUs pass positive signals through active units only."""

    def guide(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        (x,) = inputs
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient.clamp(min=0))

    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_pre_hook(guide)
    return network
