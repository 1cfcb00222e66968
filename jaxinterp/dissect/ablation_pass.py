"""The passes over test images with units turned off: planned sets of units, and each one alone."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import numpy as np

from jaxinterp.dissect.class_images import ClassImages, class_batches
from jaxinterp.dissect.listener import DissectionListener
from jaxinterp.dissect.passes import PassFile
from jaxinterp.methods.ablation import Ablator
from jaxinterp.methods.ablation_counts import AblationCounts
from jaxinterp.methods.ablation_plan import AblationPlan
from jaxinterp.methods.unit_effects import UnitEffects, unit_effects
from jaxinterp.models.network import Network

__all__ = ["find_unit_effects", "run_ablations"]


def run_ablations(
    network: Network,
    plan: AblationPlan,
    images: ClassImages,
    *,
    size: int,
    batch_size: int,
    fill: Mapping[str, np.ndarray] | None,
    file: PassFile,
    listener: DissectionListener,
) -> AblationCounts:
    """All variants of a plan on all images, or on those that are left.

    The classes of the counts are the run's, not logits.
    """
    counts = AblationCounts(len(plan.variants))
    saved = file.load()
    start = 0
    if saved is not None:
        start = saved.position
        counts = AblationCounts.from_arrays(saved.arrays)
    if saved is not None and saved.finished:
        return counts
    ablator = Ablator(network, plan.keep, fill=fill)
    listener.begins(f"ablation, {len(plan.variants)} variants", len(images), start)
    shape = (size, size, network.preprocess.channels)
    for batch in class_batches(
        images, shape=shape, mask_size=1, batch_size=batch_size, start=start
    ):
        inputs = network.preprocess(batch.pixels.astype(np.float32) / 255)
        counts.add(batch.classes, ablator(inputs, batch.logits))
        file.failed(batch.unreadable)
        listener.advanced(batch.stop)
        if file.due:
            file.save(counts.to_arrays(), position=batch.stop)
    file.save(counts.to_arrays(), position=len(images), finished=True)
    return counts


def find_unit_effects(
    network: Network,
    layers: Sequence[str],
    classes: Sequence[Sequence[int]],
    images: ClassImages,
    *,
    size: int,
    batch_size: int,
    fill: Mapping[str, np.ndarray] | None,
    file: PassFile,
    listener: DissectionListener,
) -> dict[str, UnitEffects]:
    """What each unit of the layers does to each class when it alone is turned off.

    Args:
      classes: the logits of each of the run's classes.
    """
    done: dict[str, np.ndarray] = {}
    saved = file.load()
    if saved is not None:
        done = dict(saved.arrays)
    logits = [logit for own in classes for logit in own]
    shape = (size, size, network.preprocess.channels)

    def batches() -> Generator[tuple[np.ndarray, np.ndarray]]:
        for batch in class_batches(images, shape=shape, mask_size=1, batch_size=batch_size):
            inputs = network.preprocess(batch.pixels.astype(np.float32) / 255)
            yield np.asarray(inputs), batch.logits

    left = [name for name in layers if f"accuracy/{name}" not in done]
    if left:
        listener.begins("single units", len(layers), len(layers) - len(left), unit="layers")
    for number, name in enumerate(left, start=len(layers) - len(left) + 1):
        own = None if fill is None else fill[name]
        found = unit_effects(network, name, batches(), classes=logits, fill=own)
        done[f"accuracy/{name}"] = found.accuracy_drop
        done[f"probability/{name}"] = found.probability_drop
        done[f"images/{name}"] = found.images
        listener.advanced(number)
        file.save(done, position=number, finished=number == len(layers))
    return {
        name: _by_class(
            UnitEffects(
                *(done[f"{kind}/{name}"] for kind in ("accuracy", "probability", "images"))
            ),
            classes,
        )
        for name in layers
    }


def _by_class(effects: UnitEffects, classes: Sequence[Sequence[int]]) -> UnitEffects:
    """Effects on logits as those on classes: means over all images of a class."""
    ends = np.cumsum([len(own) for own in classes])[:-1]
    counts = [part.sum() for part in np.split(effects.images, ends)]

    def means(drops: np.ndarray) -> np.ndarray:
        weighed = np.split(np.nan_to_num(drops) * effects.images, ends, axis=1)
        return np.stack(
            [
                part.sum(1) / count if count else np.full(len(part), np.nan)
                for part, count in zip(weighed, counts, strict=True)
            ],
            axis=1,
        )

    return UnitEffects(
        means(effects.accuracy_drop),
        means(effects.probability_drop),
        np.array(counts, np.int64),
    )
