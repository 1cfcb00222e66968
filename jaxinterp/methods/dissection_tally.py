"""Sums of the pixels that `dissection_counter` counts in batches, and the IoU that they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jaxinterp.methods.dissection_counter import BatchCounts
from jaxinterp.methods.dissection_upsampling import Mode, check_mode

__all__ = ["Tally"]


class Tally:
    """Sums of pixels over all images, on the host.

    Args:
      units: by layer, how many units it has.
      category_of: int [concepts], the category of each concept.
      categories: how many categories there are.
      mode: decides which images count for A_cat, the pixels of a unit's mask in images of a
        category: those that carry a label of the category anywhere ("paper", "v1"), or those where
        the unit's mask meets such a label ("lite").

    Attributes:
      intersection: by layer, int64 [units, concepts].
      activated: by layer, int64 [units, categories], A_cat.
      everywhere: by layer, int64 [units], the pixels of the unit's mask in all images.
      labelled: int64 [concepts].
      images: int64 [categories], how many images carry a label of the category.
      seen: int64 [], how many images there were.
    """

    def __init__(
        self,
        units: Mapping[str, int],
        category_of: Sequence[int] | np.ndarray,
        categories: int,
        *,
        mode: Mode = "paper",
    ) -> None:
        check_mode(mode)
        self.mode = mode
        self.category_of = np.asarray(category_of)
        concepts = len(self.category_of)

        def zeros(*shape: int) -> np.ndarray:
            return np.zeros(shape, np.int64)

        self.intersection = {name: zeros(number, concepts) for name, number in units.items()}
        self.activated = {name: zeros(number, categories) for name, number in units.items()}
        self.everywhere = {name: zeros(number) for name, number in units.items()}
        self.labelled = zeros(concepts)
        self.images = zeros(categories)
        self.seen = zeros()

    def add(self, counts: BatchCounts, present: np.ndarray, filled: int) -> None:
        """Adds a batch.

        Args:
          counts: of n images.
          present: int [n, k], the concepts counted, -1 where there is none.
          filled: how many images, from the first, are real.
        """
        labelled = np.asarray(counts.labelled)
        carried = np.zeros((filled, len(self.images)), np.int64)
        for image in range(filled):
            here = (present[image] >= 0) & (labelled[image] > 0)
            concepts = present[image, here]
            self.labelled[concepts] += labelled[image, here]
            carried[image, self.category_of[concepts]] = 1
        self.images += carried.sum(0)
        self.seen += filled
        for name, totals in self.intersection.items():
            found = np.asarray(counts.intersection[name])
            active = np.asarray(counts.activated[name][:filled]).astype(np.int64)
            self.everywhere[name] += active.sum(0)
            if self.mode != "lite":
                self.activated[name] += active.T @ carried
            for image in range(filled):
                here = np.flatnonzero(present[image] >= 0)
                concepts, common = present[image, here], found[image][:, here]
                totals[:, concepts] += common
                if self.mode == "lite":
                    for category in np.flatnonzero(carried[image]):
                        met = common[:, self.category_of[concepts] == category].any(1)
                        self.activated[name][:, category] += active[image] * met

    def merge(self, other: Tally) -> None:
        """Adds what another tally of the same layers and concepts has counted."""
        mine, theirs = self.arrays(), other.arrays()
        for name, total in mine.items():
            total += theirs[name]

    def arrays(self) -> dict[str, np.ndarray]:
        """All sums by name, such as `intersection/relu1`, to be stored; not copies."""
        by_layer = {
            f"{kind}/{name}": array
            for kind in ("intersection", "activated", "everywhere")
            for name, array in getattr(self, kind).items()
        }
        return by_layer | {name: getattr(self, name) for name in ("labelled", "images", "seen")}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over sums that `arrays` gave.

        Raises:
          ValueError: a sum is missing or has another shape.
        """
        for name, total in self.arrays().items():
            if name not in arrays or arrays[name].shape != total.shape:
                raise ValueError(f"the stored tally has no {name} of shape {total.shape}")
            total[...] = arrays[name]

    def iou(self) -> dict[str, np.ndarray]:
        """IoU = I / (A_cat + L - I) by layer, float64 [units, concepts]; 0 where all are 0."""
        found = {}
        for name, common in self.intersection.items():
            union = self.activated[name][:, self.category_of] + self.labelled - common
            found[name] = np.divide(common, union, out=np.zeros(common.shape), where=union > 0)
        return found
