"""VGG and ResNet as PyTorch modules, with this library's weights, up to one layer."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from jaxinterp.errors import UserError, nearest
from jaxinterp.models.folding import fold_batch_norm
from jaxinterp.models.layers import Conv, ReLU
from jaxinterp.models.network import Network
from jaxinterp.models.pooling import MaxPool
from jaxinterp.models.residual import Projection, ResidualBlock
from jaxinterp.models.resnet import ResNet
from jaxinterp.models.vgg import VGG
from jaxinterp.weights.layout import to_torch_layout

__all__ = ["torch_features"]


def torch_features(network: Network, layer: str) -> nn.Module:
    """The layers of a VGG or a ResNet up to one of them, with its weights.

    Batch norm is folded into the convolution before it: it is fixed, and a user of PyTorch who runs
    many steps would fold it too (`torch.ao.quantization.fuse_modules`, `torch.fx`).

    Args:
      network: from `jaxinterp.load`.
      layer: a name or alias from its layer table: of VGG any feature; of ResNet those of the stem,
        a block's output, or a ReLU within a block.

    Returns:
      A module in evaluation mode, without parameters' gradients: images [n, c, h, w] -> maps
      [n, kernels, h', w'].

    Raises:
      UserError: another network or layer.
    """
    folded = fold_batch_norm(network)
    module = None if folded.blueprint is None else folded.blueprint.module
    name = network.layers.find(layer).name
    weights = {k: np.asarray(v) for k, v in folded.params.items() if np.ndim(v) in (1, 4)}
    state = {k: torch.tensor(v) for k, v in to_torch_layout(weights, flattened={}).items()}
    if isinstance(module, VGG):
        modules = _vgg(module, name, state)
    elif isinstance(module, ResNet):
        modules = _resnet(module, name, state)
    else:
        raise UserError(f"{network.name!r} has no twin in PyTorch: only VGG and ResNet have.")
    return nn.Sequential(*modules).eval().requires_grad_(False)


def _vgg(module: VGG, wanted: str, state: dict[str, torch.Tensor]) -> list[nn.Module]:
    modules: list[nn.Module] = []
    for i, (name, own) in enumerate(zip(module.feature_names, module.features, strict=True)):
        if isinstance(own, Conv):
            modules.append(_convolution(own, f"features.{i}", state))
        elif isinstance(own, ReLU):
            modules.append(nn.ReLU(inplace=True))
        elif isinstance(own, MaxPool):
            modules.append(nn.MaxPool2d(2))
        if name == wanted:
            return modules
    raise UserError(nearest(wanted, module.feature_names, kind="feature layer"))


def _resnet(module: ResNet, wanted: str, state: dict[str, torch.Tensor]) -> list[nn.Module]:
    modules: list[nn.Module] = [_convolution(module.conv1, "conv1", state)]
    if wanted in ("conv1", "bn1"):
        return modules
    modules.append(nn.ReLU(inplace=True))
    if wanted == "relu1":
        return modules
    modules.append(nn.MaxPool2d(3, 2, padding=1))
    if wanted == "maxpool":
        return modules
    known = ["relu1", "maxpool"]
    for stage in module.stages:
        for block in getattr(module, stage):
            main, shortcut = _block(block, state)
            for i in range(1, block.depth):
                if wanted == f"{block.path}.relu{i}":
                    inner = [(conv, nn.ReLU(inplace=True)) for conv in main[:i]]
                    return [*modules, *(part for pair in inner for part in pair)]
            modules.append(_ResidualBlock(main, shortcut))
            if wanted == block.path:
                return modules
            known += [*(f"{block.path}.relu{i}" for i in range(1, block.depth)), block.path]
    raise UserError(nearest(wanted, known, kind="layer with a twin in PyTorch"))


def _block(
    block: ResidualBlock, state: dict[str, torch.Tensor]
) -> tuple[list[nn.Conv2d], nn.Module | None]:
    """The convolutions of the main path, and the shortcut's if it has one."""
    main = [
        _convolution(getattr(block, f"conv{i}"), f"{block.path}.conv{i}", state)
        for i in range(1, block.depth + 1)
    ]
    shortcut: Any = block.downsample
    if shortcut is None:
        return main, None
    if not isinstance(shortcut, Projection):
        raise UserError(f"The shortcut of {block.path} has no twin in PyTorch.")
    return main, _convolution(shortcut[0], f"{block.path}.downsample.0", state)


class _ResidualBlock(nn.Module):
    """ReLU(shortcut(x) + convolutions(x)): two 3x3 convolutions, or the three of a bottleneck."""

    def __init__(self, convolutions: Sequence[nn.Conv2d], shortcut: nn.Module | None) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i, convolution in enumerate(self.convolutions):
            y = convolution(y if i == 0 else y.relu_())
        y += x if self.shortcut is None else self.shortcut(x)
        return y.relu_()


def _convolution(own: Conv, path: str, state: dict[str, torch.Tensor]) -> nn.Conv2d:
    weight, bias = state[f"{path}.weight"], state.get(f"{path}.bias")
    convolution = nn.Conv2d(
        weight.shape[1] * own.groups,
        weight.shape[0],
        own.kernel_size,
        stride=own.stride,
        padding=own.padding,
        groups=own.groups,
        bias=bias is not None,
        device="meta",  # the weights come next
    )
    convolution.load_state_dict(
        {"weight": weight} | ({} if bias is None else {"bias": bias}), assign=True
    )
    return convolution
