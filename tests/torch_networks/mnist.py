"""The network for MNIST of Qian et al. (FSAGN): two convolutions, two dense layers."""

from __future__ import annotations

import torch
from torch import nn


class Mnist(nn.Module):
    """For grey images, its widths divided by `thin`."""

    def __init__(self, *, classes: int, thin: int) -> None:
        super().__init__()
        a, b, hidden = (width // thin for width in (16, 32, 128))
        self.conv1, self.relu1, self.pool1 = nn.Conv2d(1, a, 5, padding=2), nn.ReLU(), pooling()
        self.conv2, self.relu2, self.pool2 = nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), pooling()
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.fc1, self.relu3 = nn.Linear(b * 7 * 7, hidden), nn.ReLU()
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.avgpool(self.pool2(self.relu2(self.conv2(x))))
        return self.fc2(self.relu3(self.fc1(torch.flatten(x, 1))))


def pooling() -> nn.Module:
    return nn.MaxPool2d(2, 2)
