"""The mean over images in equation 3 of class-specific relevance, added up batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxinterp.errors import UserError, nearest

__all__ = ["RelevanceSums"]

_SUM, _SQUARES = "sum/", "squares/"


class RelevanceSums:
    """Sums of the relevance of units for every class, of as many images as come.

    An image whose mask is empty says nothing of its object, and one whose relevance is not finite
    would spoil the sums: both are left out of them and counted. NumPy arrays, sums in float64.

    Attributes:
        images: How many images of each class are in the sums, int64 [classes].
        empty: How many were left out because their mask is empty, int64 [classes].
        failed: How many were left out because a unit's relevance is infinite or not a number,
            int64 [classes].

    Example:
        >>> sums = RelevanceSums({"relu5_3": 512}, classes=10)
        >>> sums.add(labels, found.units, mask_sum=found.mask_sum)
        >>> sums.mean()["relu5_3"].shape
        (512, 10)
    """

    def __init__(self, layers: Mapping[str, int], *, classes: int) -> None:
        """Begins with no image.

        Args:
            layers: The number of units of each layer.
            classes: The number of classes.

        Raises:
            UserError: No layer or no class.
        """
        if not layers or classes < 1:
            raise UserError("Sums of relevance need at least one layer and one class.")
        self.images, self.empty, self.failed = np.zeros((3, classes), np.int64)
        self._sums = {name: np.zeros((classes, units)) for name, units in layers.items()}
        self._squares = {name: np.zeros((classes, units)) for name, units in layers.items()}

    @property
    def layers(self) -> dict[str, int]:
        """The number of units of each layer."""
        return {name: values.shape[1] for name, values in self._sums.items()}

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.images)

    def add(self, labels: Any, units: Mapping[str, Any], *, mask_sum: Any = None) -> None:
        """Adds a batch.

        Args:
            labels: The class of each image, int [n], counted from 0; images with a label of -1,
                such as those that fill up a batch, do not count.
            units: Their relevance, float [n, units] for each layer: `ClassRelevance.units`.
            mask_sum: The sums of their masks, float [n]; None if there are no masks.

        Raises:
            UserError: A label out of range, other layers than those of the sums, or arrays of
                another shape.
        """
        labels = np.asarray(labels)
        self._check(labels, units, mask_sum)
        values = {name: np.asarray(units[name], np.float64) for name in self._sums}
        real = labels >= 0
        seen = real & (np.asarray(mask_sum) > 0) if mask_sum is not None else real
        finite = np.all([np.isfinite(value).all(1) for value in values.values()], axis=0)
        for counts, chosen in (
            (self.images, seen & finite),
            (self.empty, real & ~seen),
            (self.failed, seen & ~finite),
        ):
            counts += np.bincount(labels[chosen], minlength=self.classes)
        chosen = seen & finite
        one_hot = (labels[chosen, None] == np.arange(self.classes)).astype(np.float64)
        for name, value in values.items():
            self._sums[name] += one_hot.T @ value[chosen]
            self._squares[name] += one_hot.T @ value[chosen] ** 2

    def merge(self, other: RelevanceSums) -> None:
        """Adds the sums of other images, of the same layers and classes; a UserError if not."""
        if other.layers != self.layers or other.classes != self.classes:
            raise UserError("Sums of relevance can be merged only for equal layers and classes.")
        self.images += other.images
        self.empty += other.empty
        self.failed += other.failed
        for name in self._sums:
            self._sums[name] += other._sums[name]
            self._squares[name] += other._squares[name]

    def mean(self) -> dict[str, np.ndarray]:
        """Equation 3: float64 [units, classes] for each layer; NaN for a class without images."""
        count = np.where(self.images > 0, self.images, np.nan)
        return {name: (total / count[:, None]).T for name, total in self._sums.items()}

    def standard_error(self) -> dict[str, np.ndarray]:
        """The standard error of `mean` over images, same shapes; NaN below two images."""
        count = np.where(self.images > 1, self.images, np.nan)[:, None]
        errors = {}
        for name, total in self._sums.items():
            # Rounding may leave a little less than nothing where all images agree.
            spread = np.maximum(self._squares[name] - total**2 / count, 0)
            errors[name] = np.sqrt(spread / (count - 1) / count).T
        return errors

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything, as copies of arrays by name, for a checkpoint."""
        arrays = {"images": self.images, "empty": self.empty, "failed": self.failed}
        arrays |= {_SUM + name: value for name, value in self._sums.items()}
        arrays |= {_SQUARES + name: value for name, value in self._squares.items()}
        return {name: value.copy() for name, value in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> RelevanceSums:
        """The sums that `to_arrays` gave.

        Raises:
            UserError: An array is missing.
        """
        names = [name.removeprefix(_SUM) for name in arrays if name.startswith(_SUM)]
        wanted = ["images", "empty", "failed", *(_SQUARES + name for name in names)]
        for name in wanted:
            if name not in arrays:
                raise UserError(nearest(name, arrays, kind="array of a relevance checkpoint"))
        units = {name: arrays[_SUM + name].shape[1] for name in names}
        made = cls(units, classes=len(arrays["images"]))
        for name in wanted[:3]:
            getattr(made, name)[:] = arrays[name]
        for name in names:
            made._sums[name][:] = arrays[_SUM + name]
            made._squares[name][:] = arrays[_SQUARES + name]
        return made

    def _check(self, labels: np.ndarray, units: Mapping[str, Any], mask_sum: Any) -> None:
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(f"Labels are whole numbers [n], not {labels.dtype} {labels.shape}.")
        wrong = labels[(labels < -1) | (labels >= self.classes)]
        if wrong.size:
            raise UserError(
                f"Label {wrong[0]} is out of range: there are {self.classes} classes, 0 to "
                f"{self.classes - 1} (-1 for an image that does not count)."
            )
        for name in {**self._sums, **units}:
            if name not in units or name not in self._sums:
                where = "the batch" if name not in units else "the sums"
                raise UserError(f"Layer {name!r} is missing in {where}.")
            shape = (len(labels), self._sums[name].shape[1])
            if np.shape(units[name]) != shape:
                raise UserError(
                    f"The relevance of layer {name!r} has the shape {list(np.shape(units[name]))}, "
                    f"not {list(shape)}."
                )
        if mask_sum is not None and np.shape(mask_sum) != labels.shape:
            raise UserError(f"mask_sum has the shape {list(np.shape(mask_sum))}, not [n].")
