"""The passes over test images with units turned off: planned sets of units, and each one alone."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import numpy as np

from jaxinterp.dissect.class_images import ClassImages, class_batches
from jaxinterp.dissect.digests import digest_of_arrays
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
    tested: str,
    file: PassFile,
    listener: DissectionListener,
) -> AblationCounts:
    """All variants of a plan on all images, or on those that are left.

    The network's first logits are those of the run's classes (`merge_classes`); `tested` is a
    digest of the images.
    """
    counts = AblationCounts(len(plan.variants))
    fills = {f"fill/{name}": value for name, value in (fill or {}).items()}
    saved = file.load(f"{digest_of_arrays(plan.keep | fills)} {tested}")
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
        counts.add(batch.classes, ablator(inputs, batch.classes))
        file.failed(batch.unreadable)
        listener.advanced(batch.stop)
        if file.due:
            file.save(counts.to_arrays(), position=batch.stop)
    file.save(counts.to_arrays(), position=len(images), finished=True)
    return counts


def find_unit_effects(
    network: Network,
    layers: Sequence[str],
    classes: int,
    images: ClassImages,
    *,
    size: int,
    batch_size: int,
    fill: Mapping[str, np.ndarray] | None,
    tested: str,
    file: PassFile,
    listener: DissectionListener,
) -> dict[str, UnitEffects]:
    """What each unit of the layers does to each class when it alone is turned off.

    Args:
      network: whose first logits are those of the run's classes (`merge_classes`).
      classes: how many they are.
      tested: a digest of the images.
    """
    done: dict[str, np.ndarray] = {}
    saved = file.load(f"{digest_of_arrays(fill or {})} {tested}")
    if saved is not None:
        done = dict(saved.arrays)
    shape = (size, size, network.preprocess.channels)

    def batches() -> Generator[tuple[np.ndarray, np.ndarray]]:
        for batch in class_batches(images, shape=shape, mask_size=1, batch_size=batch_size):
            inputs = network.preprocess(batch.pixels.astype(np.float32) / 255)
            yield np.asarray(inputs), batch.classes

    left = [name for name in layers if f"accuracy/{name}" not in done]
    if left:
        listener.begins("single units", len(layers), len(layers) - len(left), unit="layers")
    for number, name in enumerate(left, start=len(layers) - len(left) + 1):
        own = None if fill is None else fill[name]
        found = unit_effects(network, name, batches(), classes=range(classes), fill=own)
        done[f"accuracy/{name}"] = found.accuracy_drop
        done[f"probability/{name}"] = found.probability_drop
        done[f"images/{name}"] = found.images
        listener.advanced(number)
        file.save(done, position=number, finished=number == len(layers))
    return {
        name: UnitEffects(
            *(done[f"{kind}/{name}"] for kind in ("accuracy", "probability", "images"))
        )
        for name in layers
    }
