"""The images on which each unit answers most strongly, found while they pass by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["BestImages"]


class BestImages:
    """For each unit the images with the highest peaks.

    Attributes:
      peaks: for each layer float32 [units, k], falling; -inf where there were fewer images.
      positions: for each layer int64 [units, k], the images' positions; -1 likewise. Of equal peaks
        the image that came first is before the other.
    """

    def __init__(self, units: Mapping[str, int], count: int) -> None:
        self.peaks = {n: np.full((size, count), -np.inf, np.float32) for n, size in units.items()}
        self.positions = {n: np.full((size, count), -1, np.int64) for n, size in units.items()}

    def add(self, peaks: Mapping[str, Any], positions: np.ndarray) -> None:
        """Adds a batch: for each layer float [n, units], of which the first images are real."""
        filled = len(positions)
        for name, known in self.peaks.items():
            count = known.shape[1]
            new = np.asarray(peaks[name])[:filled].T
            both = np.concatenate([known, np.where(np.isnan(new), -np.inf, new)], axis=1)
            places = np.concatenate(
                [self.positions[name], np.broadcast_to(positions, new.shape)], axis=1
            )
            order = np.argsort(-both, axis=1, kind="stable")[:, :count]
            self.peaks[name] = np.take_along_axis(both, order, axis=1)
            self.positions[name] = np.take_along_axis(places, order, axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name, to be stored."""
        peaks = {f"best_peaks/{name}": array for name, array in self.peaks.items()}
        return peaks | {f"best_images/{name}": array for name, array in self.positions.items()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over what `arrays` gave."""
        for name in self.peaks:
            self.peaks[name] = arrays[f"best_peaks/{name}"]
            self.positions[name] = arrays[f"best_images/{name}"]
