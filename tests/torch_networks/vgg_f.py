"""VGG-F, "CNN-F" of Chatfield et al. 2014, as MatConvNet's imagenet-vgg-f defines it."""

from __future__ import annotations

import torch
from torch import nn


def normalisation() -> nn.Module:
    """MatConvNet's x / (2 + 1e-4 * the sum of five squares)^0.75; PyTorch divides alpha by five."""
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)


def pooling() -> nn.Module:
    """3x3 windows with stride 2, one pixel of padding below and to the right.

    A last window that reaches over the edge, which is what rounding up allows, is the same.
    """
    return nn.MaxPool2d(3, 2, ceil_mode=True)


class VggF(nn.Module):
    """Five convolutions and three dense layers, its widths divided by `thin`."""

    def __init__(self, *, classes: int, thin: int) -> None:
        super().__init__()
        a, b, hidden = (width // thin for width in (64, 256, 4096))
        self.conv1, self.relu1 = nn.Conv2d(3, a, 11, stride=4), nn.ReLU()
        self.norm1, self.pool1 = normalisation(), pooling()
        self.conv2, self.relu2 = nn.Conv2d(a, b, 5, padding=2), nn.ReLU()
        self.norm2, self.pool2 = normalisation(), pooling()
        self.conv3, self.relu3 = nn.Conv2d(b, b, 3, padding=1), nn.ReLU()
        self.conv4, self.relu4 = nn.Conv2d(b, b, 3, padding=1), nn.ReLU()
        self.conv5, self.relu5 = nn.Conv2d(b, b, 3, padding=1), nn.ReLU()
        self.pool5, self.avgpool = pooling(), nn.AdaptiveAvgPool2d(6)
        self.fc6, self.relu6 = nn.Linear(b * 6 * 6, hidden), nn.ReLU()
        self.fc7, self.relu7 = nn.Linear(hidden, hidden), nn.ReLU()
        self.fc8 = nn.Linear(hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool1(self.norm1(self.relu1(self.conv1(x))))
        x = self.pool2(self.norm2(self.relu2(self.conv2(x))))
        x = self.relu4(self.conv4(self.relu3(self.conv3(x))))
        x = self.avgpool(self.pool5(self.relu5(self.conv5(x))))
        x = self.relu6(self.fc6(torch.flatten(x, 1)))
        return self.fc8(self.relu7(self.fc7(x)))
