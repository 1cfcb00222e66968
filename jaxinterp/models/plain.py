"""Small networks of one shape: convolutions in a row, global average pooling, one dense layer.

They are ours, made for measurements that need many images: `cifar_wide` has at least 128 kernels in
every convolution, the two of an8Flower (the data set of Oramas et al. 2019, sec. 4.3) differ in how
they shrink their maps, by max pooling or by strides.

Taps, for convolution i: `conv{i}`, `bn{i}`, `relu{i}`, and `pool{i}` where max pooling follows;
`avgpool`, `fc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jax import Array

from jaxinterp.models.classifier import Classifier
from jaxinterp.models.layers import BatchNorm, Conv, Linear, ReLU, adaptive_average_pool
from jaxinterp.models.pooling import MaxPool
from jaxinterp.transform import tap

__all__ = [
    "CIFAR_WIDE_LAYERS",
    "FLOWER_DOUBLE_LAYERS",
    "FLOWER_SINGLE_LAYERS",
    "PlainLayer",
    "PlainNetwork",
]


class PlainLayer(NamedTuple):
    """A convolution with batch norm and ReLU, padded by half its kernel.

    Attributes:
      width: kernels.
      kernel_size: side of a kernel in pixels, odd.
      stride: of the convolution.
      pool: whether 2x2 max pooling follows.
    """

    width: int
    kernel_size: int = 3
    stride: int = 1
    pool: bool = False


CIFAR_WIDE_LAYERS: tuple[PlainLayer, ...] = (
    PlainLayer(128, kernel_size=5, stride=2),
    PlainLayer(128, stride=2),
    PlainLayer(128, pool=True),
    PlainLayer(160),
    PlainLayer(160),
)
"""28 million multiplications and as many additions for an image of 32x32."""

FLOWER_SINGLE_LAYERS: tuple[PlainLayer, ...] = (
    PlainLayer(32, pool=True),
    PlainLayer(64, pool=True),
    PlainLayer(64, pool=True),
    PlainLayer(96, pool=True),
    PlainLayer(96),
)

FLOWER_DOUBLE_LAYERS: tuple[PlainLayer, ...] = (
    PlainLayer(32, kernel_size=5, stride=2),
    PlainLayer(64, stride=2),
    PlainLayer(64),
    PlainLayer(96, stride=2),
    PlainLayer(96),
)


class PlainNetwork(Classifier):
    """Convolutions with batch norm and ReLU in a row, global average pooling, one dense layer.

    Args:
      layers: the convolutions, from the image on.
      classes: number of logits.
    """

    def __init__(self, layers: Sequence[PlainLayer], *, classes: int) -> None:
        channels = 3
        for i, layer in enumerate(layers, 1):
            convolution = Conv(
                channels,
                layer.width,
                kernel_size=layer.kernel_size,
                stride=layer.stride,
                padding=layer.kernel_size // 2,
                bias=False,
            )
            setattr(self, f"conv{i}", convolution)
            setattr(self, f"bn{i}", BatchNorm(layer.width))
            channels = layer.width
        self.relu, self.pool = ReLU(), MaxPool()
        self.fc = Linear(channels, classes)
        self.plan = tuple(layers)

    def __call__(self, images: Array, *, training: bool = False) -> Array:
        """images: [n, h, w, 3], normalised -> logits [n, classes].

        The sides must leave each max pooling a map of at least 2x2.
        """
        x = images
        for i, layer in enumerate(self.plan, 1):
            x = tap(getattr(self, f"conv{i}")(x), f"conv{i}")
            x = tap(getattr(self, f"bn{i}")(x, training=training), f"bn{i}")
            x = tap(self.relu(x), f"relu{i}")
            if layer.pool:
                x = tap(self.pool(x), f"pool{i}")
        x = tap(adaptive_average_pool(x, 1), "avgpool")
        return tap(self.fc(x.reshape(x.shape[0], -1)), "fc")
