"""What every network of the library has in common."""

from __future__ import annotations

import abc

from flax import nnx
from jax import Array

__all__ = ["Classifier"]


class Classifier(nnx.Module):
    """A classifier of images in Flax NNX whose parameters have PyTorch's names.

    Values of interest carry names (`transform.tap`); parameters lie at the path that is their name
    in a PyTorch checkpoint. Everything else about the layers is found by tracing
    (`models.describe`).
    """

    @abc.abstractmethod
    def __call__(self, images: Array, *, training: bool = False) -> Array:
        """images: [n, h, w, c], normalised -> logits [n, classes].

        `training` makes batch normalisation use the batch's statistics and update the running ones.
        """

    @property
    def aliases(self) -> dict[str, str]:
        """Second names of taps: PyTorch's module paths where they differ."""
        return {}

    @property
    def kinds(self) -> dict[str, str]:
        """Kinds of layers, by tap, that a trace cannot tell."""
        return {}

    @property
    def flattened(self) -> dict[str, tuple[int, int]]:
        """Dense weights that follow the flattening of a map: name -> (channels, side of the map).

        Their inputs are in the order (c, h, w) in PyTorch and (h, w, c) here.
        """
        return {}
