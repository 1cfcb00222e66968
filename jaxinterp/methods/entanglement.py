"""How far classes share units: what ablating for one class does to every other.

Paper 004 (Islam et al. 2021), Figs. 5 and 6, for all pairs of classes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.methods.ablation_counts import AblationCounts, class_outcomes, estimate
from jaxinterp.methods.ablation_plan import AblationPlan, AblationVariant
from jaxinterp.metrics.intervals import bootstrap_controls

__all__ = ["DIRECTIONS", "Entanglement", "entanglement", "own_class_effects"]

DIRECTIONS = ("most", "least")


@dataclasses.dataclass(frozen=True)
class Entanglement:
    """Accuracies on every class after ablating for every class. NumPy arrays, float64.

    Attributes:
      shares: of the units turned off.
      targets: classes for which units were chosen, as indices of logits.
      classes: classes whose images were tested, as indices of logits.
      baseline: accuracy of the network itself, [classes]; NaN for a class without images.
      accuracy: [shares, directions, targets, classes], the directions as in `DIRECTIONS`.
      random: the mean over the random draws, [shares, classes]; NaN without draws.
      random_low, random_high: its interval over images and draws.
    """

    shares: tuple[float, ...]
    targets: tuple[int, ...]
    classes: tuple[int, ...]
    baseline: np.ndarray
    accuracy: np.ndarray
    random: np.ndarray
    random_low: np.ndarray
    random_high: np.ndarray

    @property
    def drop(self) -> np.ndarray:
        """What the ablation costs each class, [shares, directions, targets, classes]."""
        return self.baseline - self.accuracy


def entanglement(
    plan: AblationPlan,
    counts: AblationCounts,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Entanglement:
    """The full matrix of a plan that has the most and least relevant units of every target.

    Args:
      plan: what was done.
      counts: its outcomes.
      level: of confidence.
      resamples: of the bootstrap.
      seed: of the bootstrap.

    Raises:
      UserError: outcomes of another number of variants; a plan that lacks a variant.
    """
    places = _places(plan)
    accuracy, random = [], []
    for own in class_outcomes(plan, counts, resamples=resamples, seed=seed):
        accuracy.append(own.accuracy[0])
        unknown = np.full(1, math.nan)
        means = [own.random.get(share, unknown) for share in plan.shares]
        random.append([estimate(mean, level=level) for mean in means])
    of_variants = np.stack(accuracy, axis=-1)
    mean, low, high = np.array(random, float).transpose(2, 1, 0)
    return Entanglement(
        plan.shares,
        _targets(plan),
        plan.classes,
        of_variants[0],
        of_variants[places],
        mean,
        low,
        high,
    )


def own_class_effects(
    plan: AblationPlan,
    counts: AblationCounts,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """What ablating for a class costs that class and the others, on average over the classes.

    Columns:
      which, share: "most", "least" or "random" units.
      classes: how many target classes had images, and count alike.
      own_drop, own_low, own_high: the mean drop of the accuracy of the class for which units were
        chosen. For "random", of all these classes and draws.
      other_drop, other_low, other_high: the same of the other classes (NaN for "random").
      excess, excess_low, excess_high: by how much more the own class is hurt than by random units.
        NaN for "random", and without draws.

    Intervals are the percentile bootstrap's: images are drawn anew within every class, and random
    draws as well. They say nothing about other classes.

    Args:
      plan: what was done.
      counts: its outcomes.
      level: of confidence.
      resamples: of the bootstrap.
      seed: of the bootstrap.

    Returns:
      For each share a row for "most", "least" and, if there are draws, "random".

    Raises:
      UserError: as `entanglement`.
    """
    targets, places, controls = _targets(plan), _places(plan), plan.controls
    # Of every variant, summed over classes: the drop, then its resamples, [1 + resamples, ...].
    own_drop = np.zeros((1 + resamples, len(plan.variants)))
    own_sum = np.zeros((1 + resamples, len(plan.shares), len(DIRECTIONS)))
    other_sum, classes, others = np.zeros_like(own_sum), 0, 0
    for own in class_outcomes(plan, counts, resamples=resamples, seed=seed):
        drop = own.accuracy[:, :1] - own.accuracy
        for target, of_target in zip(targets, np.moveaxis(places, -1, 0), strict=True):
            if not own.images:
                continue
            if target == own.class_index:
                classes += 1
                own_sum += drop[:, of_target]
                own_drop += drop
            else:
                others += 1
                other_sum += drop[:, of_target]
    own_mean, all_mean = (values / (classes or math.nan) for values in (own_sum, own_drop))
    other_mean = other_sum / (others or math.nan)
    generator = np.random.default_rng(seed)
    unknown, rows = np.full(1, math.nan), []
    for s, share in enumerate(plan.shares):
        random = unknown
        if share in controls:
            # The draws serve all classes: drawn anew once for their mean, not for each class.
            drops = all_mean[:, controls[share]]
            random = np.append(drops[0].mean(), bootstrap_controls(generator, drops[1:]))
        for d, which in enumerate(DIRECTIONS):
            excess = own_mean[:, s, d] - random if share in controls else unknown
            row = {"which": which, "share": share, "classes": classes}
            row |= _named("own", own_mean[:, s, d], level)
            row |= _named("other", other_mean[:, s, d], level)
            rows.append(row | _named("excess", excess, level, value="excess"))
        if share in controls:
            row = {"which": "random", "share": share, "classes": classes}
            row |= _named("own", random, level) | _named("other", unknown, level)
            rows.append(row | _named("excess", unknown, level, value="excess"))
    return rows


def _named(prefix: str, values: np.ndarray, level: float, *, value: str = "") -> dict[str, float]:
    """A value and its interval, from the value and its resamples behind it."""
    numbers = map(float, estimate(values, level=level))
    names = (value or f"{prefix}_drop", f"{prefix}_low", f"{prefix}_high")
    return dict(zip(names, numbers, strict=True))


def _targets(plan: AblationPlan) -> tuple[int, ...]:
    found = {one.target_class for one in plan.variants if one.target_class is not None}
    targets = tuple(one for one in plan.classes if one in found)
    if not targets:
        raise UserError("The plan ablates for no class: it has random units alone.")
    return targets


def _places(plan: AblationPlan) -> np.ndarray:
    """Where in the plan each variant is, int [shares, directions, targets]."""
    return np.array(
        [
            [
                [plan.find(AblationVariant(which, share, target)) for target in _targets(plan)]
                for which in DIRECTIONS
            ]
            for share in plan.shares
        ]
    )
