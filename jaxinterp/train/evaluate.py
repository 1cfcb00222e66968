"""Accuracy of a classifier."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.models.network import Network

__all__ = ["Evaluation", "evaluate"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Accuracies in [0, 1].

    Attributes:
      images: how many were judged.
      top1, top5: share whose label is the first, or among the first five.
      classes: (name, number of images, top-1) of each class that occurs.
    """

    images: int
    top1: float
    top5: float
    classes: tuple[tuple[str, int, float], ...]


def evaluate(
    network: Network, images: np.ndarray, labels: np.ndarray, *, batch_size: int = 250
) -> Evaluation:
    """Judges a network on labelled images.

    Of classes with equal logits the one with the lower index is the first, as in `argmax`; a logit
    that is not a number comes before all others, so it never counts as a success.

    Args:
      network: with at least as many logits as there are labels.
      images: RGB, uint8 [n, h, w, 3].
      labels: int [n].
      batch_size: images at once.

    Raises:
      UserError: no images.
    """
    if not len(images):
        raise UserError("There are no images to evaluate on.")

    @jax.jit
    def ranks(params, batch, truth):  # type: ignore[no-untyped-def]
        pixels = batch.astype(np.float32) / 255
        logits = network.apply(params, network.preprocess(pixels))
        own = jax.numpy.take_along_axis(logits, truth[:, None], axis=1)
        index = jax.numpy.arange(logits.shape[1])
        ties_before = (logits == own) & (index < truth[:, None])
        return (~(logits <= own) | ties_before).sum(1)

    placed = []
    for start in range(0, len(images), batch_size):
        batch, truth = images[start : start + batch_size], labels[start : start + batch_size]
        placed.append(np.asarray(ranks(network.params, batch, truth)))
    rank = np.concatenate(placed)
    names = network.class_names
    classes = tuple(
        (names[c] if c < len(names) else str(c), int(own.sum()), float((rank[own] == 0).mean()))
        for c in np.unique(labels).tolist()
        for own in [labels == c]
    )
    return Evaluation(len(rank), float((rank == 0).mean()), float((rank < 5).mean()), classes)
