"""From an RGB image in [0, 1] to a network's input, and back."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = ["AN8FLOWER", "CIFAR10", "CIFAR_RESNET", "IMAGENET", "MNIST", "VGG_F", "Preprocess"]


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """Normalisation per colour channel, and the geometry that the network was trained with.

    Attributes:
      mean, std: per channel, of images in [0, 1]; one value each if the network takes grey images.
      size: side of the square crop the network is evaluated on, in pixels.
      resize: side that an image's shorter edge is resized to before that crop.
      mean_image: [h, w, c] in [0, 1], subtracted from images of exactly its size (`mean` from all
        others); None for networks that subtract a colour. It does not count in comparisons.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int
    resize: int
    mean_image: np.ndarray | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def channels(self) -> int:
        """Of the images: 3 for RGB, 1 for grey."""
        return len(self.mean)

    def __call__(self, images: Array | np.ndarray) -> Array:
        """images: [..., h, w, c] float32 in [0, 1] -> the network's input, same shape."""
        images = jnp.asarray(images, jnp.float32)
        return (images - self._mean(images.shape)) / self._std

    def invert(self, inputs: Array | np.ndarray) -> Array:
        """The network's input -> images, [..., h, w, c], not clipped to [0, 1]."""
        inputs = jnp.asarray(inputs, jnp.float32)
        return inputs * self._std + self._mean(inputs.shape)

    def bounds(self, inputs: Array | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The network's input for black (0) and white (1) pixels.

        Two float32 arrays that broadcast to `inputs`, of which only the shape counts.
        """
        mean = self._mean(inputs.shape)
        return (0 - mean) / self._std, (1 - mean) / self._std

    def _mean(self, shape: tuple[int, ...]) -> np.ndarray:
        fits = self.mean_image is not None and self.mean_image.shape == shape[-3:]
        return np.asarray(self.mean_image if fits else self.mean, np.float32)

    @property
    def _std(self) -> np.ndarray:
        return np.asarray(self.std, np.float32)


IMAGENET = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=224, resize=256)
CIFAR10 = Preprocess(
    mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616), size=32, resize=32
)
CIFAR_RESNET = dataclasses.replace(IMAGENET, size=32, resize=32)
AN8FLOWER = Preprocess(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), size=64, resize=64)
MNIST = Preprocess(mean=(0.1307,), std=(0.3081,), size=28, resize=28)
# Pixels of 0 to 255 less a mean image, whose average stands for it here; the weights' file has it.
VGG_F = Preprocess(
    mean=(123.7 / 255, 116.8 / 255, 103.9 / 255), std=(1 / 255,) * 3, size=224, resize=256
)
