"""The small network for MNIST of FSAGN (Qian et al., sec. 3.1): two convolutions, two dense layers.

The paper gives its widths in a figure only; kernels 13 and 18 of the last convolution occur in the
text. Here they are 16 and 32 kernels of 5x5, each followed by 2x2 max pooling, and 128 hidden
units.

Taps: `conv1`, `relu1`, `pool1`, `conv2`, `relu2`, `pool2`, `avgpool`, `fc1`, `relu3`, `fc2`.
"""

from __future__ import annotations

from collections.abc import Sequence

from jax import Array

from jaxinterp.models.classifier import Classifier
from jaxinterp.models.layers import Conv, Linear, ReLU, adaptive_average_pool
from jaxinterp.models.pooling import MaxPool
from jaxinterp.transform import tap

__all__ = ["MnistNetwork"]

_GRID = 7


class MnistNetwork(Classifier):
    """Two 5x5 convolutions with ReLU and 2x2 max pooling below two dense layers.

    Args:
      classes: number of logits.
      widths: channels of the convolutions.
      hidden: width of the hidden dense layer.
    """

    def __init__(
        self, *, classes: int, widths: Sequence[int] = (16, 32), hidden: int = 128
    ) -> None:
        one, two = widths
        self.conv1 = Conv(1, one, kernel_size=5, padding=2)
        self.conv2 = Conv(one, two, kernel_size=5, padding=2)
        self.relu, self.pool = ReLU(), MaxPool()
        self.fc1 = Linear(two * _GRID * _GRID, hidden)
        self.fc2 = Linear(hidden, classes)
        self.flattened_channels = two

    def __call__(self, images: Array, *, training: bool = False) -> Array:
        """images: [n, h, w, 1], normalised, sides of at least 4 px -> logits [n, classes]."""
        del training  # nothing in it is trained otherwise than it is used
        x = images
        for i, conv in enumerate((self.conv1, self.conv2), 1):
            x = tap(conv(x), f"conv{i}")
            x = tap(self.relu(x), f"relu{i}")
            x = tap(self.pool(x), f"pool{i}")
        x = tap(adaptive_average_pool(x, _GRID), "avgpool")
        x = tap(self.fc1(x.reshape(x.shape[0], -1)), "fc1")
        return tap(self.fc2(tap(self.relu(x), "relu3")), "fc2")

    @property
    def flattened(self) -> dict[str, tuple[int, int]]:
        return {"fc1.weight": (self.flattened_channels, _GRID)}
