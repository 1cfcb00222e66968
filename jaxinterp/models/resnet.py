"""ResNet (He et al. 2016), wide ResNet (Zagoruyko & Komodakis 2016) and ResNeXt (Xie et al. 2017).

Names are torchvision's module paths. Taps: `conv1`, `bn1`, `relu1` (alias `relu`), `maxpool`; in
block b of stage s those of `ResidualBlock` after `layer{s}.{b}.`, and the block's output
`layer{s}.{b}` (that of the last block has the alias `layer{s}`); `avgpool`, `fc`. As in torchvision
the stride of a bottleneck is in its 3x3 convolution.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from flax import nnx
from jax import Array

from jaxinterp.models.classifier import Classifier
from jaxinterp.models.layers import (
    BatchNorm,
    Conv,
    Linear,
    ReLU,
    adaptive_average_pool,
)
from jaxinterp.models.pooling import MaxPool
from jaxinterp.models.residual import Convolution, Projection, ResidualBlock
from jaxinterp.transform import tap

__all__ = ["RESNETS", "ResNet", "ResNetPlan"]

_EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class ResNetPlan:
    """What distinguishes one ResNet from another.

    Attributes:
      depths: blocks of each stage.
      bottleneck: blocks of 1x1, 3x3 and 1x1 convolutions instead of two 3x3.
      groups: of the bottlenecks' 3x3 convolutions.
      group_width: channels of one group in the first stage; they double with each stage.
      width: of the first stage before the bottlenecks' expansion by 4; doubles with each stage.
    """

    depths: tuple[int, ...]
    bottleneck: bool = True
    groups: int = 1
    group_width: int = 64
    width: int = 64


RESNETS: dict[str, ResNetPlan] = {
    "resnet18": ResNetPlan((2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNetPlan((3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNetPlan((3, 4, 6, 3)),
    "resnet101": ResNetPlan((3, 4, 23, 3)),
    "resnet152": ResNetPlan((3, 8, 36, 3)),
    "wide_resnet50_2": ResNetPlan((3, 4, 6, 3), group_width=128),
    "wide_resnet101_2": ResNetPlan((3, 4, 23, 3), group_width=128),
    "resnext50_32x4d": ResNetPlan((3, 4, 6, 3), groups=32, group_width=4),
    "resnext101_32x8d": ResNetPlan((3, 4, 23, 3), groups=32, group_width=8),
}
"""The networks of torchvision, by name."""


class ResNet(Classifier):
    """A strided stem, stages of residual blocks, global average pooling, one dense layer.

    Args:
      plan: depths and widths.
      classes: number of logits.
    """

    def __init__(self, plan: ResNetPlan, *, classes: int) -> None:
        channels = plan.width
        self.conv1 = Conv(3, channels, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = BatchNorm(channels)
        self.relu = ReLU()
        self.maxpool = MaxPool(kernel_size=3, stride=2, padding=1)
        self.stages = tuple(f"layer{s}" for s in range(1, len(plan.depths) + 1))
        for s, (stage, depth) in enumerate(zip(self.stages, plan.depths, strict=True)):
            blocks = []
            for b in range(depth):
                stride = 2 if s and not b else 1
                convolutions = _convolutions(plan, s, stride)
                out_channels = convolutions[-1].channels
                fits = stride == 1 and channels == out_channels
                shortcut = None if fits else Projection(channels, out_channels, stride=stride)
                blocks.append(ResidualBlock(f"{stage}.{b}", channels, convolutions, shortcut))
                channels = out_channels
            setattr(self, stage, nnx.List(blocks))
        self.fc = Linear(channels, classes)

    def __call__(self, images: Array, *, training: bool = False) -> Array:
        """images: [n, h, w, 3], normalised, sides of any length -> logits [n, classes]."""
        x = tap(self.conv1(images), "conv1")
        x = tap(self.bn1(x, training=training), "bn1")
        x = tap(self.relu(x), "relu1")
        x = tap(self.maxpool(x), "maxpool")
        for stage in self.stages:
            for block in getattr(self, stage):
                x = block(x, training=training)
        x = tap(adaptive_average_pool(x, 1), "avgpool")
        return tap(self.fc(x.reshape(x.shape[0], -1)), "fc")

    @property
    def aliases(self) -> dict[str, str]:
        last = {f"{stage}.{len(getattr(self, stage)) - 1}": stage for stage in self.stages}
        return {"relu1": "relu"} | last


def _convolutions(plan: ResNetPlan, stage: int, stride: int) -> Sequence[Convolution]:
    """Those of one block; the stage is counted from 0."""
    width = plan.width * 2**stage
    if not plan.bottleneck:
        return Convolution(width, 3, stride), Convolution(width, 3)
    inner = plan.group_width * 2**stage * plan.groups
    return (
        Convolution(inner, 1),
        Convolution(inner, 3, stride, plan.groups),
        Convolution(width * _EXPANSION, 1),
    )
