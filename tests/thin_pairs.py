"""Thinned networks with random weights, PyTorch's and ours, for comparisons that take a while."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import numpy as np
import pytest
from torch import nn
from torch_comparison import randomise, save_state
from torch_networks import torch_network
from torch_networks.resnet import BasicBlock

import jaxinterp
from jaxinterp.models.classifier import Classifier
from jaxinterp.models.folding import fold_batch_norm
from jaxinterp.models.network import Network
from jaxinterp.models.registry import ARCHITECTURES, find_architecture

__all__ = ["folded_pair", "thin_pair"]


def thin_pair(
    name: str,
    construct: Callable[..., Classifier],
    classes: int,
    folder: Path,
    *,
    prepare: Callable[[nn.Module], None] = lambda network: None,
) -> tuple[nn.Module, Network]:
    """PyTorch's network with an eighth of the channels, and ours with the same weights.

    Args:
      name: of the architecture.
      construct: makes our thinned module.
      classes: number of logits.
      folder: for the weights.
      prepare: changes PyTorch's network before its weights are taken over.
    """
    theirs = randomise(torch_network(name, classes=classes, thin=8))
    prepare(theirs)
    path = folder / "weights.safetensors"
    save_state(theirs, path)
    with pytest.MonkeyPatch.context() as patch:
        thin = dataclasses.replace(find_architecture(name), construct=construct)
        patch.setitem(ARCHITECTURES, name, thin)
        return theirs, jaxinterp.load(name, weights=path, classes=classes)


def folded_pair(
    name: str,
    construct: Callable[..., Classifier],
    classes: int,
    layers: Iterable[str],
    folder: Path,
) -> tuple[nn.Module, dict[str, nn.Module], Network]:
    """As `thin_pair`: PyTorch's, its modules of some of our layers, and ours folded, in float64.

    Every ReLU of PyTorch's network is a module, so that Captum's hooks see it.
    """
    theirs, ours = thin_pair(name, construct, classes, folder)
    double = {key: np.asarray(value, np.float64) for key, value in ours.params.items()}
    with jax.enable_x64(True):
        ours = fold_batch_norm(dataclasses.replace(ours, params=double))
    paths = {layer.name: (layer.name, layer.alias) for layer in ours.layers}
    modules = dict(theirs.named_modules())
    found = {
        layer: next(modules[path] for path in paths[layer] if path in modules) for layer in layers
    }
    for module in modules.values():
        if isinstance(module, BasicBlock):
            module.__class__, module.relu2 = _Block, nn.ReLU()
    return theirs, found, ours


class _Block(BasicBlock):
    """A residual block whose last ReLU is a module, too."""

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(inner)) + shortcut)
