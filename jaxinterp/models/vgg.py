"""The VGG family (Simonyan & Zisserman 2015), numbered and named as in torchvision.

Taps, for block b and convolution i of it: `conv{b}_{i}`, with batch norm `bn{b}_{i}`, then
`relu{b}_{i}`; `pool{b}`; `avgpool`; dense layers `fc6`, `relu6`, `fc7`, `relu7`, `fc8` (one dense
layer only: `fc`).
"""

from __future__ import annotations

from collections.abc import Sequence

from flax import nnx
from jax import Array

from jaxinterp.models.classifier import Classifier
from jaxinterp.models.layers import (
    BatchNorm,
    Conv,
    Dropout,
    Linear,
    ReLU,
    adaptive_average_pool,
)
from jaxinterp.models.pooling import MaxPool
from jaxinterp.transform import tap

__all__ = ["VGG", "VGG_BLOCKS", "VGG_CIFAR10_BLOCKS"]

VGG_BLOCKS: dict[str, tuple[tuple[int, ...], ...]] = {
    "vgg11": ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2),
    "vgg13": ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2),
    "vgg16": ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    "vgg19": ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}
"""Output channels of the convolutions, block by block."""

VGG_CIFAR10_BLOCKS: tuple[tuple[int, ...], ...] = ((32,), (64,) * 2, (128,) * 3, (256,) * 2)


class VGG(Classifier):
    """Blocks of 3x3 convolutions, each closed by 2x2 max pooling, below dense layers.

    Args:
      blocks: output channels of the convolutions, block by block.
      batch_norm: batch normalisation between each convolution and its ReLU.
      classes: number of logits.
      hidden: widths of the hidden dense layers.
      grid: the average pool's output is `grid` x `grid`, whatever the image's size.
      pool_last: whether max pooling closes the last block too.
      in_channels: channels of the image.
    """

    def __init__(
        self,
        blocks: Sequence[Sequence[int]],
        *,
        batch_norm: bool,
        classes: int,
        hidden: Sequence[int] = (4096, 4096),
        grid: int = 7,
        pool_last: bool = True,
        in_channels: int = 3,
    ) -> None:
        features: list[nnx.Module] = []
        names: list[str] = []
        channels = in_channels
        for b, widths in enumerate(blocks, start=1):
            for i, width in enumerate(widths, start=1):
                features.append(Conv(channels, width, kernel_size=3, padding=1))
                names.append(f"conv{b}_{i}")
                if batch_norm:
                    features.append(BatchNorm(width))
                    names.append(f"bn{b}_{i}")
                features.append(ReLU())
                names.append(f"relu{b}_{i}")
                channels = width
            if pool_last or b < len(blocks):
                features.append(MaxPool())
                names.append(f"pool{b}")
        classifier: list[nnx.Module] = []
        dense_names: list[str | None] = []
        inputs = channels * grid * grid
        for i, width in enumerate(hidden, start=6):
            classifier += [Linear(inputs, width), ReLU(), Dropout()]
            dense_names += [f"fc{i}", f"relu{i}", None]
            inputs = width
        classifier.append(Linear(inputs, classes))
        dense_names.append(f"fc{6 + len(hidden)}" if hidden else "fc")
        self.features, self.classifier = nnx.List(features), nnx.List(classifier)
        self.feature_names, self.dense_names = tuple(names), tuple(dense_names)
        self.grid, self.flattened_channels = grid, channels

    def __call__(self, images: Array, *, training: bool = False) -> Array:
        """images: [n, h, w, in_channels], normalised -> logits [n, classes]."""
        x = images
        for layer, name in zip(self.features, self.feature_names, strict=True):
            x = layer(x, training=training) if isinstance(layer, BatchNorm) else layer(x)
            x = tap(x, name)
        x = tap(adaptive_average_pool(x, self.grid), "avgpool")
        x = x.reshape(x.shape[0], -1)
        for layer, name in zip(self.classifier, self.dense_names, strict=True):
            x = layer(x)
            if name is not None:
                x = tap(x, name)
        return x

    @property
    def aliases(self) -> dict[str, str]:
        features = {name: f"features.{i}" for i, name in enumerate(self.feature_names)}
        dense = {name: f"classifier.{i}" for i, name in enumerate(self.dense_names) if name}
        return features | {"avgpool": "avgpool"} | dense

    @property
    def flattened(self) -> dict[str, tuple[int, int]]:
        return {"classifier.0.weight": (self.flattened_channels, self.grid)}
