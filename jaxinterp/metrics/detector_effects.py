"""Whether units that detect a class's concept are those whose ablation hurts the class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["DetectorEffects", "detector_effects"]


@dataclasses.dataclass(frozen=True)
class DetectorEffects:
    """What turning off single detectors of classes' concepts does.

    A detector of a class is a unit whose best concept is the class's, with an IoU above the cutoff.
    Where several classes have the same concept, its effect on its own class is the mean over them.

    Attributes:
      detectors: how many there are.
      own: the mean of their effects on their own class.
      own_interval: of this mean, over units (percentile bootstrap, 95 %).
      other: the mean of their effects on the other classes.
      other_interval: likewise.
      excess: the mean of own less other, detector by detector.
      excess_interval: likewise.
      others_on_class: the mean effect on a class of the units that are no detectors of it.
      first: the share of detectors whose largest effect is that on their own class.
      chance: the same if the largest effect were on any class alike.
    """

    detectors: int
    own: float
    own_interval: tuple[float, float]
    other: float
    other_interval: tuple[float, float]
    excess: float
    excess_interval: tuple[float, float]
    others_on_class: float
    first: float
    chance: float


def detector_effects(
    iou: Mapping[str, np.ndarray],
    effects: Mapping[str, np.ndarray],
    class_concepts: Sequence[int],
    *,
    cutoff: float = 0.04,
    draws: int = 2000,
    seed: int = 0,
) -> DetectorEffects | None:
    """Compares the effects of detectors on their own class with those on other classes.

    Args:
      iou: for each layer float [units, concepts].
      effects: for some or all layers float [units, classes], what a class loses without the unit.
      class_concepts: for each class the index of its concept, -1 if it has none.
      cutoff: a unit is a detector of its best concept if their IoU is above.
      draws: of the bootstrap.
      seed: likewise.

    Returns:
      The comparison; None if there is no detector, or the classes have fewer than two concepts.
    """
    columns = np.flatnonzero(np.asarray(class_concepts) >= 0).tolist()
    if len(columns) < 2:
        return None
    # Several classes may have the same concept: its detectors belong to all of them.
    concepts = [int(class_concepts[column]) for column in columns]
    classes_of = {one: np.array([other == one for other in concepts]) for one in concepts}
    if len(classes_of) < 2:
        return None
    own, other, first, chance, rest = [], [], [], [], []
    for name, values in effects.items():
        best = iou[name].argmax(1)
        for unit in range(len(values)):
            row = values[unit, columns]
            if not np.isfinite(row).all():
                continue
            concept = int(best[unit])
            detected = classes_of.get(concept) if iou[name][unit, concept] > cutoff else None
            rest.append(row if detected is None else row[~detected])
            if detected is not None:
                own.append(row[detected].mean())
                other.append(row[~detected].mean())
                first.append(row[detected].max() > row[~detected].max())
                chance.append(detected.mean())
    if not own:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(own), (draws, len(own)))

    def mean(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
        array = np.asarray(values, float)
        low, high = np.percentile(array[drawn].mean(1), [2.5, 97.5])
        return float(array.mean()), (float(low), float(high))

    (own_mean, own_interval), (other_mean, other_interval) = mean(own), mean(other)
    excess, excess_interval = mean(np.subtract(own, other).tolist())
    return DetectorEffects(
        detectors=len(own),
        own=own_mean,
        own_interval=own_interval,
        other=other_mean,
        other_interval=other_interval,
        excess=excess,
        excess_interval=excess_interval,
        others_on_class=float(np.concatenate(rest).mean()),
        first=float(np.mean(first)),
        chance=float(np.mean(chance)),
    )
