"""ResNet, wide ResNet and ResNeXt with torchvision's names (He et al. 2016, "V1.5").

The stride of a bottleneck stands in its 3x3 convolution, as in torchvision.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


class Settings(NamedTuple):
    """What tells the members of the family apart."""

    depths: tuple[int, int, int, int]
    bottleneck: bool
    groups: int = 1
    width_per_group: int = 64


RESNETS: dict[str, Settings] = {
    "resnet18": Settings((2, 2, 2, 2), False),
    "resnet34": Settings((3, 4, 6, 3), False),
    "resnet50": Settings((3, 4, 6, 3), True),
    "resnet101": Settings((3, 4, 23, 3), True),
    "resnet152": Settings((3, 8, 36, 3), True),
    "wide_resnet50_2": Settings((3, 4, 6, 3), True, width_per_group=128),
    "wide_resnet101_2": Settings((3, 4, 23, 3), True, width_per_group=128),
    "resnext50_32x4d": Settings((3, 4, 6, 3), True, groups=32, width_per_group=4),
    "resnext101_32x8d": Settings((3, 4, 23, 3), True, groups=32, width_per_group=8),
}


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1):
    return nn.Conv2d(
        inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False
    )


def projection(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """The shortcut of a block that changes the map's size or its channels."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, `width` kernels each."""

    def __init__(self, inputs: int, width: int, outputs: int, *, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, width, 3, stride, groups)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(width, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = projection(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.relu1(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(inner)) + shortcut)


class Bottleneck(nn.Module):
    """A 3x3 convolution, perhaps grouped, between two 1x1 convolutions."""

    def __init__(self, inputs: int, width: int, outputs: int, *, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(width, width, 3, stride, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = convolution(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = projection(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.relu1(self.bn1(self.conv1(x)))
        inner = self.relu2(self.bn2(self.conv2(inner)))
        return torch.relu(self.bn3(self.conv3(inner)) + shortcut)


class ResNet(nn.Module):
    """torchvision's ResNet with the widths divided by `thin`.

    Of a grouped convolution the number of groups is divided, so that a group stays as wide.
    """

    def __init__(self, settings: Settings, *, classes: int, thin: int) -> None:
        super().__init__()
        stem = 64 // thin
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1, channels = stage(settings, 1, stem, thin)
        self.layer2, channels = stage(settings, 2, channels, thin)
        self.layer3, channels = stage(settings, 3, channels, thin)
        self.layer4, channels = stage(settings, 4, channels, thin)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def stage(settings: Settings, number: int, channels: int, thin: int) -> tuple[nn.Sequential, int]:
    """The blocks of a stage, and the channels of their output."""
    planes = 32 * 2**number
    groups = settings.groups if settings.groups == 1 else settings.groups // thin
    if settings.bottleneck:
        block, outputs = Bottleneck, 4 * planes // thin
        width = planes * settings.width_per_group // 64 * settings.groups // thin
    else:
        block, outputs, width = BasicBlock, planes // thin, planes // thin
    blocks = []
    for b in range(settings.depths[number - 1]):
        stride = 2 if b == 0 and number > 1 else 1
        blocks.append(block(channels, width, outputs, stride=stride, groups=groups))
        channels = outputs
    return nn.Sequential(*blocks), channels
