"""Units to look at: the images on which they answer most strongly, their maps and the masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxinterp.dissect.best_images import BestImages
from jaxinterp.dissect.concept_passes import ConceptPasses
from jaxinterp.methods.dissection import Dissection, Upsampling
from jaxinterp.report.dissection_data import ExamplePicture, UnitExample

__all__ = ["choose_units", "unit_examples"]


def choose_units(dissection: Dissection, count: int) -> list[tuple[str, int]]:
    """Units with a high IoU, as many different concepts and layers among them as can be.

    The layers take turns, each with its unit of the highest IoU among those whose best concept is
    not shown yet.
    """
    best = {name: (iou.argmax(1), iou.max(1)) for name, iou in dissection.iou.items()}
    chosen: list[tuple[str, int]] = []
    shown: set[int] = set()
    left = {name: list(np.argsort(-values)) for name, (_, values) in best.items()}
    while len(chosen) < count and any(left.values()):
        for name, (concepts, values) in best.items():
            while left[name]:
                unit = int(left[name].pop(0))
                if values[unit] <= 0:
                    left[name].clear()
                elif int(concepts[unit]) not in shown:
                    shown.add(int(concepts[unit]))
                    chosen.append((name, unit))
                    break
            if len(chosen) == count:
                break
    order = {name: place for place, name in enumerate(dissection.iou)}
    return sorted(chosen, key=lambda one: (order[one[0]], one[1]))


def unit_examples(
    units: Sequence[tuple[str, int]],
    passes: ConceptPasses,
    dissection: Dissection,
    best: BestImages,
) -> tuple[UnitExample, ...]:
    """Reads the images again that the units are shown on.

    Args:
      units: (layer, unit) of each.
      passes: that found them.
      dissection: names the concepts.
      best: which images.
    """
    wanted: dict[int, list[tuple[int, int]]] = {}
    for number, (layer, unit) in enumerate(units):
        for rank, position in enumerate(best.positions[layer][unit].tolist()):
            if position >= 0:
                wanted.setdefault(position, []).append((number, rank))
    concepts = [int(dissection.iou[layer][unit].argmax()) for layer, unit in units]
    ways = passes.upsamplings
    pictures: dict[tuple[int, int], ExamplePicture] = {}
    for batch in passes.batches(only=sorted(wanted)):
        maps = passes.maps(batch.images)
        needed = {
            units[number][0] for position in batch.positions for number, _ in wanted[position]
        }
        values = {layer: np.asarray(maps[layer]) for layer in needed}
        for row, position in enumerate(batch.positions.tolist()):
            present = batch.present[row].tolist()
            for number, rank in wanted[position]:
                layer, unit = units[number]
                concept = concepts[number]
                mask = (batch.labels[row] == concept).any(0)
                if concept in present and batch.whole[row, present.index(concept)]:
                    mask = np.ones_like(mask)
                pictures[number, rank] = ExamplePicture(
                    name=batch.names[row],
                    image=batch.images[row],
                    activation=_upsampled(ways[layer], values[layer][row, :, :, unit]),
                    mask=mask,
                )
    return tuple(
        UnitExample(
            layer=layer,
            unit=unit,
            concept=dissection.concepts[concepts[number]],
            iou=float(dissection.iou[layer][unit, concepts[number]]),
            threshold=float(dissection.thresholds.values[layer][unit]),
            pictures=tuple(own for (one, _), own in sorted(pictures.items()) if one == number),
        )
        for number, (layer, unit) in enumerate(units)
    )


def _upsampled(way: Upsampling, values: np.ndarray) -> np.ndarray:
    return way.rows @ values.astype(np.float32) @ way.columns.T
