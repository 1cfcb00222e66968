"""From an RGB image in [0, 1] to a network's input, and back."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = ["CIFAR10", "IMAGENET", "Preprocess"]


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Normalisation per colour channel, and the geometry that the network was trained with.

    Attributes:
      mean, std: per channel, of images in [0, 1].
      size: side of the square crop the network is evaluated on, in pixels.
      resize: side that an image's shorter edge is resized to before that crop.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    resize: int

    def __call__(self, images: Array | np.ndarray) -> Array:
        """images: [..., h, w, c] float32 in [0, 1] -> the network's input, same shape."""
        return (jnp.asarray(images, jnp.float32) - self._array(self.mean)) / self._array(self.std)

    def invert(self, inputs: Array | np.ndarray) -> Array:
        """The network's input -> images, [..., h, w, c], not clipped to [0, 1]."""
        return jnp.asarray(inputs, jnp.float32) * self._array(self.std) + self._array(self.mean)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The network's input for black (0) and white (1) pixels: two float32 arrays [c]."""
        mean, std = self._array(self.mean), self._array(self.std)
        return (0 - mean) / std, (1 - mean) / std

    @staticmethod
    def _array(values: tuple[float, ...]) -> np.ndarray:
        return np.asarray(values, np.float32)


IMAGENET = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=224, resize=256)
CIFAR10 = Preprocess(
    mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616), size=32, resize=32
)
