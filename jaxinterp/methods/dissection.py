"""Network Dissection: which human concept each unit of a network answers to.

After Bau et al. 2017 and paper 004 (section IV.A). Two passes over annotated images:
`quantiles.ThresholdPass` finds the value T_u that a unit exceeds at 0.5 % of all positions, then
`dissection_counter.counter` brings the maps to the masks' resolution, thresholds them and counts
where they meet the concepts. IoU = I / (A_cat + L - I) (Eq. 1): I, L and A_cat are the pixels of
the intersection, of the concept's mask, and of the unit's mask in images with a label of the
concept's category.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.methods.dissection_counter import BatchCounts, counter
from jaxinterp.methods.dissection_tally import Tally
from jaxinterp.methods.dissection_upsampling import Mode, Upsampling, upsampling
from jaxinterp.methods.quantiles import ThresholdPass, Thresholds

__all__ = [
    "BatchCounts",
    "Detectors",
    "Dissection",
    "Mode",
    "Tally",
    "ThresholdPass",
    "Thresholds",
    "TopConcepts",
    "Upsampling",
    "counter",
    "detectors",
    "dissection_of",
    "top_concepts",
    "upsampling",
]

DETECTOR_CUTOFF = 0.04
"""Network Dissection calls a unit with a larger IoU a detector of the concept."""


@dataclasses.dataclass(frozen=True)
class TopConcepts:
    """The best concepts of each unit, best first; equal ones in the order of the concepts.

    Attributes:
      concepts: int64 [units, k], -1 where fewer than k concepts have an IoU above 0.
      iou: float64 [units, k], 0 there.
    """

    concepts: np.ndarray
    iou: np.ndarray


@dataclasses.dataclass(frozen=True)
class Detectors:
    """How many units of a layer are detectors (Fig. 2 of the paper).

    Attributes:
      units: int64 [categories]: units that count for the category of their best concept.
      concepts: int64 [categories]: different concepts among these (unique detectors).
    """

    units: np.ndarray
    concepts: np.ndarray


@dataclasses.dataclass(frozen=True)
class Dissection:
    """What a dissection found.

    Attributes:
      iou: by layer, float64 [units, concepts].
      concepts: their names.
      categories: their names.
      category_of: int [concepts].
      thresholds: of the units.
      tally: the sums of pixels behind `iou`.
    """

    iou: dict[str, np.ndarray]
    concepts: tuple[str, ...]
    categories: tuple[str, ...]
    category_of: np.ndarray
    thresholds: Thresholds
    tally: Tally

    def top(self, layer: str, k: int = 3) -> TopConcepts:
        """The k best concepts of each unit of a layer."""
        return top_concepts(self.iou[layer], k)

    def detectors(self, cutoff: float = DETECTOR_CUTOFF) -> dict[str, Detectors]:
        """By layer, how many units are detectors of each category."""
        return {
            name: detectors(iou, self.category_of, len(self.categories), cutoff=cutoff)
            for name, iou in self.iou.items()
        }


def dissection_of(
    tally: Tally, thresholds: Thresholds, concepts: Sequence[str], categories: Sequence[str]
) -> Dissection:
    """The dissection that a finished tally amounts to.

    Args:
      tally: of all images.
      thresholds: with which it was counted.
      concepts: names, in the tally's order.
      categories: names, in the tally's order.

    Raises:
      ValueError: other numbers of names than the tally has concepts and categories.
    """
    if (len(concepts), len(categories)) != (len(tally.labelled), len(tally.images)):
        raise ValueError(
            "the tally has other numbers of concepts or categories than there are names"
        )
    return Dissection(
        tally.iou(), tuple(concepts), tuple(categories), tally.category_of, thresholds, tally
    )


def top_concepts(iou: np.ndarray, k: int) -> TopConcepts:
    """The k best concepts of each unit, from float [units, concepts].

    Raises:
      UserError: k under 1.
    """
    if k < 1:
        raise UserError(f"{k} best concepts were asked for; 1 is the least.")
    order = np.argsort(-iou, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(iou, order, 1)
    missing = ((0, 0), (0, k - order.shape[1]))
    order = np.pad(np.where(best > 0, order, -1), missing, constant_values=-1)
    return TopConcepts(order, np.pad(best, missing))


def detectors(
    iou: np.ndarray,
    category_of: Sequence[int] | np.ndarray,
    categories: int,
    *,
    cutoff: float = DETECTOR_CUTOFF,
) -> Detectors:
    """Counts the units whose best concept has an IoU above the cutoff, by its category.

    Args:
      iou: float [units, concepts].
      category_of: int [concepts].
      categories: how many there are.
      cutoff: in [0, 1).
    """
    best = iou.argmax(1)
    found = best[iou[np.arange(len(iou)), best] > cutoff]
    category_of = np.asarray(category_of)
    return Detectors(
        np.bincount(category_of[found], minlength=categories),
        np.bincount(category_of[np.unique(found)], minlength=categories),
    )
