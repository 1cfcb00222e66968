"""The ResNets for CIFAR-10 (He et al. 2016, sec. 4.2) with the names of akamaster's checkpoints.

Shortcuts of option A: no parameters; where a stage begins, every second pixel is kept and the new
channels, half of them before and half behind the old ones, are zero.
"""

from __future__ import annotations

import torch
from torch import nn

CIFAR_RESNET_DEPTHS = (20, 32, 44, 56, 110)


class PaddedShortcut(nn.Module):
    """[n, c, h, w] -> [n, c + 2 extra, ceil(h / 2), ceil(w / 2)]."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, :, ::2, ::2]
        zeros = x.new_zeros(x.shape[0], self.extra, *x.shape[2:])
        return torch.cat([zeros, x, zeros], dim=1)


class Block(nn.Module):
    """Two 3x3 convolutions."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        stride = 1 if inputs == width else 2
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = None if inputs == width else PaddedShortcut(width // 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        inner = self.relu1(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(inner)) + shortcut)


class CifarResNet(nn.Module):
    """Three stages of (depth - 2) / 6 blocks, its widths divided by `thin`."""

    def __init__(self, depth: int, *, classes: int, thin: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        a, b, c = (width // thin for width in (16, 32, 64))
        self.conv1 = nn.Conv2d(3, a, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(a)
        self.relu1 = nn.ReLU()
        self.layer1 = nn.Sequential(*[Block(a, a) for _ in range(blocks)])
        self.layer2 = nn.Sequential(Block(a, b), *[Block(b, b) for _ in range(blocks - 1)])
        self.layer3 = nn.Sequential(Block(b, c), *[Block(c, c) for _ in range(blocks - 1)])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(c, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(self.avgpool(x), 1))
