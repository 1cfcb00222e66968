"""What a dissection's figures and page are made from: plain arrays and names, nothing to compute.

The run fills `DissectionReport`; `dissection_files` writes it to a run folder and reads it back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxinterp.report.views import Table

__all__ = [
    "Completeness",
    "DissectionReport",
    "ExamplePicture",
    "UnitExample",
]


@dataclasses.dataclass(frozen=True, eq=False)
class ExamplePicture:
    """An image with what a unit does on it.

    Attributes:
      name: of the image.
      image: uint8 [s, s, 3], RGB.
      activation: float [m, m], the unit's map at the size of the mask grid.
      mask: bool [m, m], where the concept is annotated.
    """

    name: str
    image: np.ndarray
    activation: np.ndarray
    mask: np.ndarray

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(
                f"image must be uint8 [s, s, 3], got {self.image.dtype} {self.image.shape}."
            )
        if self.activation.ndim != 2 or self.activation.shape != self.mask.shape:
            raise ValueError(
                f"activation and mask must have one shape [m, m], got {self.activation.shape} "
                f"and {self.mask.shape}."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class UnitExample:
    """A row of the figure of single units (the paper's Fig. 3).

    Attributes:
      layer: its name.
      unit: channel of the layer, from 0.
      concept: the concept that the masks show, usually the unit's best.
      iou: of the unit and the concept, in [0, 1].
      threshold: the unit is active where its map is above it.
      pictures: as many as are to be seen, in this order.
    """

    layer: str
    unit: int
    concept: str
    iou: float
    threshold: float
    pictures: tuple[ExamplePicture, ...]


@dataclasses.dataclass(frozen=True)
class Completeness:
    """How far the integrated gradients of a layer miss the change of the class probability.

    Attributes:
      layer: its name.
      images: how many were measured.
      median: of the absolute difference, in units of probability.
      high: its 95th percentile.
    """

    layer: str
    images: int
    median: float
    high: float


@dataclasses.dataclass(frozen=True, eq=False)
class DissectionReport:
    """The results of a dissection, for its figures and its page.

    Attributes:
      title: of the page.
      network: its name.
      concepts: (name, category) of each concept.
      iou: for each layer, in the network's order, float [units, concepts] in [0, 1]; NaN where a
        unit or a concept was never compared.
      thresholds: for each layer float [units], the activation that a unit exceeds at a share 0.005
        of all positions.
      cutoff: a unit is a detector of its best concept if their IoU is above it.
      images: how many were dissected.
      relevance: for some or all layers float [units, classes], Eq. 3 of the paper; None if it was
        not computed.
      class_names: a name for each class of `relevance`, `effects` and `ablation`.
      class_concepts: for each class the index of its concept, -1 if it has none.
      class_images: how many images of each class the relevance is a mean over; may be empty.
      agreement: a table of the agreement of IoU and relevance: "rows", a list of dicts with the
        same keys (one a layer), and optionally "summary", a dict, and "note", a sentence.
      ablation: a dict for each ablation and class tested, with the keys which ("most", "least" or
        "random"), share (of the units of each layer), target_class (index, or None for random),
        draw (of random units; else None or 0), class (index), images, correct, accuracy, drop (of
        the accuracy, both as shares), low and high (interval of the drop).
      effects: for some or all layers float [units, classes], what a class loses when the unit alone
        is ablated.
      effect_name: what `effects` holds, with its unit.
      completeness: one a layer.
      examples: units to look at.
      tables: further ones, shown below the page's own.
      facts: names and values at the head of the page: weights, data, versions, time.
      notes: sentences on how the numbers were made.
      config_toml: the configuration as it was run.

    Raises:
      ValueError: arrays, names and indices that do not fit together.
    """

    title: str
    network: str
    concepts: tuple[tuple[str, str], ...]
    iou: Mapping[str, np.ndarray]
    thresholds: Mapping[str, np.ndarray]
    cutoff: float = 0.04
    images: int = 0
    relevance: Mapping[str, np.ndarray] | None = None
    class_names: tuple[str, ...] = ()
    class_concepts: tuple[int, ...] = ()
    class_images: tuple[int, ...] = ()
    agreement: Mapping[str, Any] | None = None
    ablation: tuple[Mapping[str, Any], ...] | None = None
    effects: Mapping[str, np.ndarray] | None = None
    effect_name: str = "drop of the true class's probability"
    completeness: tuple[Completeness, ...] = ()
    examples: tuple[UnitExample, ...] = ()
    tables: tuple[Table, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    config_toml: str = ""

    @property
    def layers(self) -> tuple[str, ...]:
        """Their names, in the network's order."""
        return tuple(self.iou)

    @property
    def units(self) -> dict[str, int]:
        """How many units each layer has."""
        return {layer: len(values) for layer, values in self.iou.items()}

    @property
    def categories(self) -> tuple[str, ...]:
        """Of the concepts, in the order in which they are met."""
        return tuple(dict.fromkeys(category for _, category in self.concepts))

    def __post_init__(self) -> None:
        classes = len(self.class_names)
        for layer, values in self.iou.items():
            _check(f"iou[{layer!r}]", values, (len(values), len(self.concepts)))
            if layer not in self.thresholds:
                raise ValueError(f"The layer {layer!r} has no thresholds.")
            _check(f"thresholds[{layer!r}]", self.thresholds[layer], (len(values),))
        for name, by_layer in (("relevance", self.relevance), ("effects", self.effects)):
            for layer, values in (by_layer or {}).items():
                if layer not in self.iou:
                    raise ValueError(f"{name} has the layer {layer!r}, iou has not.")
                _check(f"{name}[{layer!r}]", values, (len(self.iou[layer]), classes))
        for name, one_a_class in (
            ("class_concepts", self.class_concepts),
            ("class_images", self.class_images),
        ):
            if one_a_class and len(one_a_class) != classes:
                raise ValueError(f"{name} has {len(one_a_class)} entries for {classes} classes.")
        if any(not -1 <= concept < len(self.concepts) for concept in self.class_concepts):
            raise ValueError(f"class_concepts must be -1 or below {len(self.concepts)}.")
        for row in self.ablation or ():
            for key in ("target_class", "class"):
                if row[key] is not None and not 0 <= row[key] < classes:
                    raise ValueError(f"ablation: {key} {row[key]} is not one of {classes} classes.")


def _check(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {values.shape}.")
