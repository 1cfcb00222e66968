"""What a plan of ablations did, image by image, and the table made of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.methods.ablation import Outcomes
from jaxinterp.methods.ablation_plan import AblationPlan
from jaxinterp.metrics.intervals import (
    bootstrap_controls,
    bootstrap_means,
    percentile_interval,
    wilson_interval,
)

__all__ = ["AblationCounts", "ClassOutcomes", "ablation_rows", "class_outcomes", "estimate"]

Row = dict[str, Any]


class AblationCounts:
    """Collects the outcomes of every variant on every image; a byte and a float32 for each.

    Single outcomes are kept, not counts, because variants are compared on the same images.
    """

    def __init__(self, variants: int) -> None:
        """Begins with no image.

        Args:
          variants: of the plan.
        """
        self.variants = variants
        self._labels: list[np.ndarray] = []
        self._correct: list[np.ndarray] = []
        self._probability: list[np.ndarray] = []

    def add(self, labels: np.ndarray, outcomes: Outcomes) -> None:
        """Adds a batch.

        Args:
          labels: the true class of each image, int [n]; what is -1 is left out.
          outcomes: of every variant, [variants, n].

        Raises:
          UserError: another number of variants or images.
        """
        labels = np.asarray(labels)
        for values in outcomes:
            if values.shape != (self.variants, len(labels)):
                raise UserError(
                    f"Outcomes must be [variants, images], {self.variants} by {len(labels)}, not "
                    f"{list(values.shape)}."
                )
        real = labels >= 0
        self._labels.append(labels[real].astype(np.int32))
        self._correct.append(np.asarray(outcomes.correct[:, real], bool))
        self._probability.append(np.asarray(outcomes.probability[:, real], np.float32))

    @property
    def labels(self) -> np.ndarray:
        """The true class of each image, int32 [images]."""
        return np.concatenate([np.empty(0, np.int32), *self._labels])

    @property
    def outcomes(self) -> Outcomes:
        """Of every variant on every image, [variants, images]."""
        none = np.empty((self.variants, 0), bool)
        return Outcomes(
            np.concatenate([none, *self._correct], axis=1),
            np.concatenate([none.astype(np.float32), *self._probability], axis=1),
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays, to be saved: `labels`, `correct` and `probability`."""
        correct, probability = self.outcomes
        return {"labels": self.labels, "correct": correct, "probability": probability}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> AblationCounts:
        """What `to_arrays` was called on.

        Raises:
          UserError: an array is missing, or they do not fit together.
        """
        missing = {"labels", "correct", "probability"} - set(arrays)
        if missing:
            raise UserError(f"Outcomes of ablations lack the arrays {', '.join(sorted(missing))}.")
        counts = cls(len(arrays["correct"]))
        counts.add(arrays["labels"], Outcomes(arrays["correct"], arrays["probability"]))
        return counts


@dataclasses.dataclass(frozen=True)
class ClassOutcomes:
    """How every variant of a plan does on the images of one class. NumPy arrays.

    Attributes:
      class_index: of the class, among the logits.
      images: how many there are.
      correct: how many of them are right, int64 [variants].
      probability: of the class, mean over its images; float64 [variants], NaN without images.
      accuracy: float64 [1 + resamples, variants]: first on the images, then on images drawn anew,
        the same for all variants. Without images it is one row of NaN.
      random: for each share, the mean accuracy of its random controls, [1 + resamples]; the
        controls are drawn anew as well.
    """

    class_index: int
    images: int
    correct: np.ndarray
    probability: np.ndarray
    accuracy: np.ndarray
    random: dict[float, np.ndarray]


def class_outcomes(
    plan: AblationPlan, counts: AblationCounts, *, resamples: int, seed: int
) -> Iterator[ClassOutcomes]:
    """Goes through the classes of a plan.

    Args:
      plan: what was done.
      counts: its outcomes.
      resamples: of the bootstrap.
      seed: of the bootstrap.

    Raises:
      UserError: outcomes of another number of variants, or no resample.
    """
    if counts.variants != len(plan.variants):
        raise UserError(
            f"These are outcomes of {counts.variants} variants, but the plan has "
            f"{len(plan.variants)}."
        )
    labels, (correct, probability) = counts.labels, counts.outcomes
    for index in plan.classes:
        generator = np.random.default_rng((seed, index))
        own = correct[:, labels == index]
        images = own.shape[1]
        accuracy = np.full((1, counts.variants), math.nan)
        mean = accuracy[0]
        if images:
            drawn = bootstrap_means(generator, own, resamples=resamples)
            accuracy = np.vstack([own.mean(1), drawn])
            mean = probability[:, labels == index].mean(1, dtype=np.float64)
        random = {}
        for share, places in plan.controls.items():
            controls = accuracy[:, places]
            random[share] = controls[:, :1].mean(1)
            if images:
                drawn = bootstrap_controls(generator, controls[1:])
                random[share] = np.append(controls[0].mean(), drawn)
        yield ClassOutcomes(index, images, own.sum(1), mean, accuracy, random)


def estimate(values: np.ndarray, *, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A value and its interval, [...] each, from [1 + resamples, ...]: the value comes first."""
    return values[0], *percentile_interval(values[1:], level=level)


def ablation_rows(
    plan: AblationPlan,
    counts: AblationCounts,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Row]:
    """A row for every variant and class: Figs. 5 and 6, and all classes beside.

    Columns:
      which, share, target_class, draw: the variant's; see `AblationVariant`. "random_mean" is the
        mean over a share's random draws.
      class: whose images are tested, an index of a logit.
      images, correct: how many images the class has, and how many of them are right (null for
        "random_mean").
      accuracy, accuracy_low, accuracy_high: their share, with Wilson's interval (for "random_mean"
        the bootstrap's, over images and draws).
      drop, low, high: the accuracy of the network itself less that of the variant, with the paired
        bootstrap's percentile interval (over images; for "random_mean" over images and draws).
      probability, probability_drop: mean probability of the true class, and its drop.
      excess, excess_low, excess_high: by how much more the variant hurts than the share's random
        draws on average, with the bootstrap's interval over images and draws; for "most" and
        "least". Above 0: more than chance.

    What cannot be told (no image of the class, no random draw) is NaN.

    Args:
      plan: what was done.
      counts: its outcomes.
      level: of confidence.
      resamples: of the bootstrap.
      seed: of the bootstrap.

    Returns:
      The rows, class by class, in the order of the plan; after them the class's means over draws.

    Raises:
      UserError: outcomes of another number of variants, or a level out of range.
    """
    rows: list[Row] = []
    for own in class_outcomes(plan, counts, resamples=resamples, seed=seed):
        wilson = wilson_interval(own.correct, own.images, level=level)
        drops = estimate(own.accuracy[:, :1] - own.accuracy, level=level)
        for place, variant in enumerate(plan.variants):
            excess: Estimate = _UNKNOWN
            if variant.which in ("most", "least") and variant.share in own.random:
                more = own.random[variant.share] - own.accuracy[:, place]
                excess = estimate(more, level=level)
            rows.append(
                {
                    "which": variant.which,
                    "share": variant.share,
                    "target_class": variant.target_class,
                    "draw": variant.draw,
                    "class": own.class_index,
                    "images": own.images,
                    "correct": int(own.correct[place]),
                    "accuracy": float(own.accuracy[0, place]),
                    "accuracy_low": float(wilson[0][place]),
                    "accuracy_high": float(wilson[1][place]),
                    **_named("drop", [values[place] for values in drops], prefix=""),
                    "probability": float(own.probability[place]),
                    "probability_drop": float(own.probability[0] - own.probability[place]),
                    **_named("excess", excess),
                }
            )
        rows += [_mean_row(plan, own, share, level) for share in own.random]
    return rows


Estimate = Sequence[Any]
_UNKNOWN = (math.nan, math.nan, math.nan)


def _mean_row(plan: AblationPlan, own: ClassOutcomes, share: float, level: float) -> Row:
    """The mean over a share's random draws."""
    probability = own.probability[plan.controls[share]].mean()
    drops = own.accuracy[:, 0] - own.random[share]
    return {
        "which": "random_mean",
        "share": share,
        "target_class": None,
        "draw": None,
        "class": own.class_index,
        "images": own.images,
        "correct": None,
        **_named("accuracy", estimate(own.random[share], level=level)),
        **_named("drop", estimate(drops, level=level), prefix=""),
        "probability": float(probability),
        "probability_drop": float(own.probability[0] - probability),
        **_named("excess", _UNKNOWN),
    }


def _named(name: str, values: Estimate, *, prefix: str | None = None) -> Row:
    prefix = f"{name}_" if prefix is None else prefix
    value, low, high = map(float, values)
    return {name: value, f"{prefix}low": low, f"{prefix}high": high}
