"""Convolutions in a row with batch norm, global average pooling, one dense layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Plain(nn.Module):
    """The widths divided by `thin`; `pooled` are the convolutions that max pooling follows.

    `convolutions` has (kernels, side of a kernel, stride) of each, and they are padded so that
    stride 1 keeps the sides.
    """

    def __init__(
        self,
        convolutions: Sequence[tuple[int, int, int]],
        pooled: Sequence[int],
        *,
        classes: int,
        thin: int,
    ) -> None:
        super().__init__()
        channels = 3
        for i, (width, side, stride) in enumerate(convolutions, 1):
            conv = nn.Conv2d(
                channels, width // thin, side, stride, padding=(side - 1) // 2, bias=False
            )
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(width // thin))
            self.add_module(f"relu{i}", nn.ReLU())
            if i in pooled:
                self.add_module(f"pool{i}", nn.MaxPool2d(2, 2))
            channels = width // thin
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name, layer in self.named_children():
            x = layer(torch.flatten(x, 1) if name == "fc" else x)
        return x


PLAIN = {
    "cifar_wide": ([(128, 5, 2), (128, 3, 2), (128, 3, 1), (160, 3, 1), (160, 3, 1)], [3], 10),
    "flower_single": (
        [(32, 3, 1), (64, 3, 1), (64, 3, 1), (96, 3, 1), (96, 3, 1)],
        [1, 2, 3, 4],
        6,
    ),
    "flower_double": ([(32, 5, 2), (64, 3, 2), (64, 3, 1), (96, 3, 2), (96, 3, 1)], [], 12),
}
"""Name: (convolutions, those that max pooling follows, classes)."""
