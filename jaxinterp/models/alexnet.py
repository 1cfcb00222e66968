"""AlexNet in torchvision's form (Krizhevsky 2014, "One weird trick"), numbered as there.

Taps: `conv1` ... `conv5`, `relu1` ... `relu5`, `pool1`, `pool2`, `pool5`, `avgpool`, `fc6`,
`relu6`, `fc7`, `relu7`, `fc8`; aliases `features.{i}` and `classifier.{i}`.
"""

from __future__ import annotations

from collections.abc import Sequence

from flax import nnx
from jax import Array

from jaxinterp.models.classifier import Classifier
from jaxinterp.models.layers import Conv, Dropout, Linear, ReLU, adaptive_average_pool
from jaxinterp.models.pooling import MaxPool
from jaxinterp.transform import tap

__all__ = ["AlexNet"]

_FEATURES = (
    *("conv1", "relu1", "pool1"),
    *("conv2", "relu2", "pool2"),
    *("conv3", "relu3"),
    *("conv4", "relu4"),
    *("conv5", "relu5", "pool5"),
)
_CLASSIFIER = (None, "fc6", "relu6", None, "fc7", "relu7", "fc8")
_GRID = 6


class AlexNet(Classifier):
    """Five convolutions, three max poolings of 3x3 with stride 2, three dense layers.

    Args:
      classes: number of logits.
      widths: channels of the convolutions.
      hidden: width of the two hidden dense layers.
    """

    def __init__(
        self,
        *,
        classes: int,
        widths: Sequence[int] = (64, 192, 384, 256, 256),
        hidden: int = 4096,
    ) -> None:
        one, two, three, four, five = widths
        self.features = nnx.List(
            [
                Conv(3, one, kernel_size=11, stride=4, padding=2),
                ReLU(),
                MaxPool(kernel_size=3, stride=2),
                Conv(one, two, kernel_size=5, padding=2),
                ReLU(),
                MaxPool(kernel_size=3, stride=2),
                Conv(two, three, kernel_size=3, padding=1),
                ReLU(),
                Conv(three, four, kernel_size=3, padding=1),
                ReLU(),
                Conv(four, five, kernel_size=3, padding=1),
                ReLU(),
                MaxPool(kernel_size=3, stride=2),
            ]
        )
        self.classifier = nnx.List(
            [
                Dropout(),
                Linear(five * _GRID * _GRID, hidden),
                ReLU(),
                Dropout(),
                Linear(hidden, hidden),
                ReLU(),
                Linear(hidden, classes),
            ]
        )
        self.flattened_channels = five

    def __call__(self, images: Array, *, training: bool = False) -> Array:
        """images: [n, h, w, 3], normalised, sides of at least 63 px -> logits [n, classes]."""
        del training  # nothing in it is trained otherwise than it is used
        x = images
        for layer, name in zip(self.features, _FEATURES, strict=True):
            x = tap(layer(x), name)
        x = tap(adaptive_average_pool(x, _GRID), "avgpool")
        x = x.reshape(x.shape[0], -1)
        for layer, name in zip(self.classifier, _CLASSIFIER, strict=True):
            x = layer(x) if name is None else tap(layer(x), name)
        return x

    @property
    def aliases(self) -> dict[str, str]:
        features = {name: f"features.{i}" for i, name in enumerate(_FEATURES)}
        return features | {name: f"classifier.{i}" for i, name in enumerate(_CLASSIFIER) if name}

    @property
    def flattened(self) -> dict[str, tuple[int, int]]:
        return {"classifier.1.weight": (self.flattened_channels, _GRID)}
