"""The residual block that both families of ResNets are built from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax import Array

from jaxinterp.models.layers import BatchNorm, Conv, ReLU
from jaxinterp.transform import tap

__all__ = ["Convolution", "Projection", "ResidualBlock", "ZeroPadding"]


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One convolution of a block; 3x3 ones are padded by 1."""

    channels: int
    kernel_size: int
    stride: int = 1
    groups: int = 1


class Projection(nnx.List):
    """Shortcut by a 1x1 convolution and batch normalisation (option B of He et al.)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        conv = Conv(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
        super().__init__([conv, BatchNorm(out_channels)])


class ZeroPadding(nnx.Module):
    """Shortcut without parameters: every `stride`-th pixel, and channels of zeros (option A).

    [n, h, w, in_channels] -> [n, ceil(h / stride), ceil(w / stride), out_channels], the zeros in
    equal parts before and behind.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        added = out_channels - in_channels
        self.added, self.stride = (added // 2, added - added // 2), stride

    def __call__(self, x: Array) -> Array:
        x = x[:, :: self.stride, :: self.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), self.added))


class ResidualBlock(nnx.Module):
    """ReLU(shortcut(x) + convolutions(x)), each convolution followed by batch norm.

    Parameters are called `conv1`, `bn1`, ... and `downsample.0`, `downsample.1`, as in torchvision.
    Taps, after the block's path and a dot: `conv1`, `bn1`, `relu1`, `conv2`, `bn2`, ...; the
    shortcut's `downsample.0` and `downsample.1`, or `shortcut`; the path itself names the output.

    Args:
      path: of the block in the network, such as `layer3.5`.
      in_channels: of the input.
      convolutions: in their order; a ReLU stands between each two.
      shortcut: what makes the block's input fit its output; None is the identity.
    """

    def __init__(
        self,
        path: str,
        in_channels: int,
        convolutions: Sequence[Convolution],
        shortcut: Projection | ZeroPadding | None,
    ) -> None:
        self.path, self.depth = path, len(convolutions)
        channels = in_channels
        for i, plan in enumerate(convolutions, start=1):
            conv = Conv(
                channels,
                plan.channels,
                kernel_size=plan.kernel_size,
                stride=plan.stride,
                padding=plan.kernel_size // 2,
                groups=plan.groups,
                bias=False,
            )
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", BatchNorm(plan.channels))
            channels = plan.channels
        self.relu = ReLU()
        self.downsample = shortcut

    def __call__(self, x: Array, *, training: bool = False) -> Array:
        """x: [n, h, w, in_channels] -> [n, h', w', channels of the last convolution]."""
        y = x
        for i in range(1, self.depth + 1):
            y = tap(getattr(self, f"conv{i}")(y), f"{self.path}.conv{i}")
            y = tap(getattr(self, f"bn{i}")(y, training=training), f"{self.path}.bn{i}")
            if i < self.depth:
                y = tap(self.relu(y), f"{self.path}.relu{i}")
        if isinstance(self.downsample, Projection):
            conv, norm = self.downsample
            x = tap(conv(x), f"{self.path}.downsample.0")
            x = tap(norm(x, training=training), f"{self.path}.downsample.1")
        elif self.downsample is not None:
            x = tap(self.downsample(x), f"{self.path}.shortcut")
        return tap(self.relu(y + x), self.path)
