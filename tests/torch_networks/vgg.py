"""The VGG family with torchvision's names (Simonyan & Zisserman 2015), and our small one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

VGG_BLOCKS: dict[str, list[list[int]]] = {
    "vgg11": [[64], [128], [256, 256], [512, 512], [512, 512]],
    "vgg13": [[64, 64], [128, 128], [256, 256], [512, 512], [512, 512]],
    "vgg16": [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]],
    "vgg19": [[64, 64], [128, 128], [256] * 4, [512] * 4, [512] * 4],
}


def convolutions(widths: Sequence[int], channels: int, *, batch_norm: bool) -> list[nn.Module]:
    """A block without its pooling: 3x3 convolutions, each with its normalisation and its ReLU."""
    layers: list[nn.Module] = []
    for width in widths:
        layers.append(nn.Conv2d(channels, width, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU())
        channels = width
    return layers


class VGG(nn.Module):
    """torchvision's VGG, its widths divided by `thin`."""

    def __init__(
        self, blocks: Sequence[Sequence[int]], *, batch_norm: bool, classes: int, thin: int
    ) -> None:
        super().__init__()
        features: list[nn.Module] = []
        channels, hidden = 3, 4096 // thin
        for block in blocks:
            widths = [width // thin for width in block]
            features += convolutions(widths, channels, batch_norm=batch_norm)
            features.append(nn.MaxPool2d(2, 2))
            channels = widths[-1]
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(channels * 7 * 7, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class VggCifar10(nn.Module):
    """The network that comes with weights: four blocks, three of them pooled, one dense layer."""

    def __init__(self, *, classes: int, thin: int) -> None:
        super().__init__()
        a, b, c, d = (width // thin for width in (32, 64, 128, 256))
        self.features = nn.Sequential(
            *convolutions([a], 3, batch_norm=True),
            nn.MaxPool2d(2, 2),
            *convolutions([b, b], a, batch_norm=True),
            nn.MaxPool2d(2, 2),
            *convolutions([c, c, c], b, batch_norm=True),
            nn.MaxPool2d(2, 2),
            *convolutions([d, d], c, batch_norm=True),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(d, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
