"""VGG-F, also CNN-F (Chatfield et al. 2014), as MatConvNet's `imagenet-vgg-f` has it.

Taps: `conv1` ... `conv5`, `relu1` ... `relu5`, `norm1`, `norm2`, `pool1`, `pool2`, `pool5`,
`avgpool`, `fc6`, `relu6`, `fc7`, `relu7`, `fc8`. Parameters are called as the layers.
"""

from __future__ import annotations

from collections.abc import Sequence

from jax import Array

from jaxinterp.models.classifier import Classifier
from jaxinterp.models.layers import (
    Conv,
    Linear,
    LocalResponseNorm,
    ReLU,
    adaptive_average_pool,
)
from jaxinterp.models.pooling import MaxPool
from jaxinterp.transform import tap

__all__ = ["VGGF"]

_GRID = 6


class VGGF(Classifier):
    """Five convolutions, two of them followed by local response normalisation; dense layers.

    The max poolings, 3x3 with stride 2, are padded below and on the right only. In the original
    fc6 is a 6x6 convolution, which images of 224 px give exactly one place; here it is a dense
    layer above an average pool to 6x6, which is the identity at 224 px and lets other sizes in.

    Args:
      classes: number of logits.
      widths: channels of the convolutions.
      hidden: width of the two hidden dense layers.
    """

    def __init__(
        self,
        *,
        classes: int,
        widths: Sequence[int] = (64, 256, 256, 256, 256),
        hidden: int = 4096,
    ) -> None:
        one, two, three, four, five = widths
        self.conv1 = Conv(3, one, kernel_size=11, stride=4)
        self.conv2 = Conv(one, two, kernel_size=5, padding=2)
        self.conv3 = Conv(two, three, kernel_size=3, padding=1)
        self.conv4 = Conv(three, four, kernel_size=3, padding=1)
        self.conv5 = Conv(four, five, kernel_size=3, padding=1)
        self.relu = ReLU()
        self.norm = LocalResponseNorm(size=5, k=2, alpha=1e-4, beta=0.75)
        self.pool = MaxPool(kernel_size=3, stride=2, padding=((0, 1), (0, 1)))
        self.fc6 = Linear(five * _GRID * _GRID, hidden)
        self.fc7 = Linear(hidden, hidden)
        self.fc8 = Linear(hidden, classes)
        self.flattened_channels = five

    def __call__(self, images: Array, *, training: bool = False) -> Array:
        """images: [n, h, w, 3], 0 to 255 less the mean image -> logits [n, classes].

        Sides are of at least 39 px.
        """
        del training  # nothing in it is trained otherwise than it is used
        x = images
        for i, conv in enumerate((self.conv1, self.conv2, self.conv3, self.conv4, self.conv5), 1):
            x = tap(conv(x), f"conv{i}")
            x = tap(self.relu(x), f"relu{i}")
            if i <= 2:
                x = tap(self.norm(x), f"norm{i}")
            if i in (1, 2, 5):
                x = tap(self.pool(x), f"pool{i}")
        x = tap(adaptive_average_pool(x, _GRID), "avgpool")
        x = tap(self.fc6(x.reshape(x.shape[0], -1)), "fc6")
        x = tap(self.fc7(tap(self.relu(x), "relu6")), "fc7")
        return tap(self.fc8(tap(self.relu(x), "relu7")), "fc8")

    @property
    def kinds(self) -> dict[str, str]:
        return {"norm1": "local_response_norm", "norm2": "local_response_norm"}

    @property
    def flattened(self) -> dict[str, tuple[int, int]]:
        return {"fc6.weight": (self.flattened_channels, _GRID)}
