"""The ResNets for CIFAR-10 (He et al. 2016, sec. 4.2): 6 n + 2 layers, shortcuts of option A.

Taps: `conv1`, `bn1`, `relu1`; in block b of stage s those of `ResidualBlock` after
`layer{s}.{b}.`, and the block's output `layer{s}.{b}` (that of the last block has the alias
`layer{s}`); `avgpool`, `linear`. Parameter names are those of the checkpoints in common use for
PyTorch (akamaster/pytorch_resnet_cifar10).
"""

from __future__ import annotations

from collections.abc import Sequence

from flax import nnx
from jax import Array

from jaxinterp.models.classifier import Classifier
from jaxinterp.models.layers import BatchNorm, Conv, Linear, ReLU, adaptive_average_pool
from jaxinterp.models.residual import Convolution, ResidualBlock, ZeroPadding
from jaxinterp.transform import tap

__all__ = ["CIFAR_RESNET_DEPTHS", "CifarResNet"]

CIFAR_RESNET_DEPTHS: tuple[int, ...] = (20, 32, 44, 56, 110)
"""Layers of the published networks, counted as in the paper."""


class CifarResNet(Classifier):
    """Three stages of residual blocks for small images, global average pooling, one dense layer.

    Args:
      depth: 6 n + 2 for n blocks a stage.
      classes: number of logits.
      widths: channels of the stages.
    """

    def __init__(self, depth: int, *, classes: int, widths: Sequence[int] = (16, 32, 64)) -> None:
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise ValueError(f"a CIFAR ResNet has 6 n + 2 layers, such as 20 or 56, not {depth}")
        channels = widths[0]
        self.conv1 = Conv(3, channels, kernel_size=3, padding=1, bias=False)
        self.bn1 = BatchNorm(channels)
        self.relu = ReLU()
        self.stages = tuple(f"layer{s}" for s in range(1, len(widths) + 1))
        for s, (stage, width) in enumerate(zip(self.stages, widths, strict=True)):
            members = []
            for b in range(blocks):
                stride = 2 if s and not b else 1
                fits = stride == 1 and channels == width
                shortcut = None if fits else ZeroPadding(channels, width, stride=stride)
                convolutions = Convolution(width, 3, stride), Convolution(width, 3)
                members.append(ResidualBlock(f"{stage}.{b}", channels, convolutions, shortcut))
                channels = width
            setattr(self, stage, nnx.List(members))
        self.linear = Linear(channels, classes)

    def __call__(self, images: Array, *, training: bool = False) -> Array:
        """images: [n, h, w, 3], normalised, sides of any length -> logits [n, classes]."""
        x = tap(self.conv1(images), "conv1")
        x = tap(self.bn1(x, training=training), "bn1")
        x = tap(self.relu(x), "relu1")
        for stage in self.stages:
            for block in getattr(self, stage):
                x = block(x, training=training)
        x = tap(adaptive_average_pool(x, 1), "avgpool")
        return tap(self.linear(x.reshape(x.shape[0], -1)), "linear")

    @property
    def aliases(self) -> dict[str, str]:
        return {f"{stage}.{len(getattr(self, stage)) - 1}": stage for stage in self.stages}
