"""What every single unit of a layer is worth to every class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jax import Array

from jaxinterp.errors import UserError
from jaxinterp.methods.ablation import Ablator
from jaxinterp.methods.ablation_layers import find_units
from jaxinterp.models.network import Network

__all__ = ["UnitEffects", "unit_effects"]


class UnitEffects(NamedTuple):
    """What turning off every single unit of a layer does to each class. NumPy arrays.

    Attributes:
      accuracy_drop: the share of the class's images that the network gets right, less that without
        the unit; float64 [units, classes] in [-1, 1], NaN where a class has no image.
      probability_drop: the same of the mean probability of the true class.
      images: of each class, int64 [classes].
    """

    accuracy_drop: np.ndarray
    probability_drop: np.ndarray
    images: np.ndarray


def unit_effects(
    network: Network,
    layer: str,
    batches: Iterable[tuple[Array | np.ndarray, np.ndarray]],
    *,
    classes: Sequence[int],
    fill: np.ndarray | None = None,
    memory: int | None = None,
) -> UnitEffects:
    """Turns off every unit of a layer, one at a time.

    Args:
      network: to ablate.
      layer: the name of a tap, or an alias from its layer table.
      batches: inputs [n, h, w, c] as `network.preprocess` makes them, and labels int [n], -1 for
        padding; images of other classes are left out. Batches of one shape share a program.
      classes: whose images count, as indices of logits, each once.
      fill: what a unit is when it is off, float [units]; 0 unless given.
      memory: bytes for what is computed at a time, as in `Ablator`.

    Returns:
      The effects, one row a unit.

    Raises:
      UserError: as in `Ablator`; classes that are none, or given twice.
    """
    units = find_units(network.layers, layer).channels
    # The first variant is the network itself.
    keep = {layer: ~np.eye(units + 1, units, k=-1, dtype=bool)}
    fills = None if fill is None else {layer: fill}
    ablator = Ablator(network, keep, fill=fills, memory=memory)
    numbers = np.asarray(list(classes), int)
    if not len(numbers) or len(set(numbers.tolist())) < len(numbers):
        raise UserError(f"Name the classes, each once, not {numbers.tolist()}.")
    images = np.zeros(len(numbers), np.int64)
    sums = np.zeros((2, units + 1, len(numbers)))
    for inputs, labels in batches:
        member = np.asarray(labels)[:, None] == numbers
        outcomes = ablator(inputs, labels)
        images += member.sum(0)
        for total, values in zip(sums, outcomes, strict=True):
            total += values.astype(np.float64) @ member
    means = np.where(images > 0, sums, np.nan) / np.maximum(images, 1)
    accuracy, probability = means[:, :1] - means[:, 1:]
    return UnitEffects(accuracy, probability, images)
