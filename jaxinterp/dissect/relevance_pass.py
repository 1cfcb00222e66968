"""The pass over labelled images that finds the class-specific relevance of every unit (Eq. 3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxinterp.dissect.class_images import ClassBatch, ClassImages, class_batches
from jaxinterp.dissect.config import RelevanceConfig
from jaxinterp.dissect.listener import DissectionListener
from jaxinterp.dissect.passes import PassFile
from jaxinterp.methods.class_relevance import class_relevance
from jaxinterp.methods.layer_maps import all_layer_maps
from jaxinterp.methods.relevance_baselines import baseline_inputs
from jaxinterp.methods.relevance_sums import RelevanceSums
from jaxinterp.models.network import Network

__all__ = ["RelevancePass", "find_relevance"]


@dataclasses.dataclass(frozen=True, eq=False)
class RelevancePass:
    """What the pass found.

    Attributes:
      sums: of the relevance; `mean()` is Eq. 3.
      positions: int [n], the images that were read, in the order of the source.
      delta: float [n, layers], the error of completeness of each image and layer.
      score: float [n], the class's probability.
      baseline_score: float [n, layers], the same where the path begins.
      means: for each layer float [units], the units' mean activations; empty unless asked for.
    """

    sums: RelevanceSums
    positions: np.ndarray
    delta: np.ndarray
    score: np.ndarray
    baseline_score: np.ndarray
    means: dict[str, np.ndarray]


def find_relevance(
    network: Network,
    layers: Sequence[str],
    classes: int,
    images: ClassImages,
    config: RelevanceConfig,
    *,
    size: int,
    mask_size: int,
    batch_size: int,
    means: bool,
    file: PassFile,
    listener: DissectionListener,
) -> RelevancePass:
    """Runs the pass, or what is left of it.

    Args:
      network: whose first logits are those of the run's classes (`merge_classes`).
      classes: how many they are.
    """
    rows = [network.layers.find(name) for name in layers]
    shape = (size, size, network.preprocess.channels)
    worker = _Worker(network, layers, config, means=means)
    sums = RelevanceSums({row.name: row.channels for row in rows}, classes=classes)
    records: dict[str, np.ndarray] = {
        "positions": np.zeros(0, int),
        "delta": np.zeros((0, len(rows))),
        "score": np.zeros(0),
        "baseline_score": np.zeros((0, len(rows))),
    }
    totals = {row.name: np.zeros(row.channels) for row in rows} if means else {}
    saved = file.load("with means" if means else "")
    start = 0
    if saved is not None:
        start = saved.position
        prefix = "sums/"
        sums = RelevanceSums.from_arrays(
            {n.removeprefix(prefix): a for n, a in saved.arrays.items() if n.startswith(prefix)}
        )
        records = {name: saved.arrays[name] for name in records}
        totals = {name: saved.arrays[f"means/{name}"] for name in totals}

    def save(position: int, *, finished: bool) -> None:
        arrays = {f"sums/{name}": value for name, value in sums.to_arrays().items()}
        arrays |= records | {f"means/{name}": value for name, value in totals.items()}
        file.save(arrays, position=position, finished=finished)

    if saved is None or not saved.finished:
        listener.begins("class-specific relevance", len(images), start)
        position = start
        for batch in class_batches(
            images, shape=shape, mask_size=mask_size, batch_size=batch_size, start=start
        ):
            found = worker(batch)
            sums.add(batch.classes, found["units"], mask_sum=found["mask_sum"])
            records["positions"] = np.append(records["positions"], batch.positions)
            for name in ("delta", "score", "baseline_score"):
                records[name] = np.concatenate([records[name], found[name][: batch.filled]])
            for name in totals:
                totals[name] = totals[name] + found["means"][name]
            file.failed(batch.unreadable)
            position = batch.stop
            listener.advanced(position)
            if file.due:
                save(position, finished=False)
        save(len(images), finished=True)
    count = max(len(records["positions"]), 1)
    return RelevancePass(
        sums=sums, **records, means={name: total / count for name, total in totals.items()}
    )


class _Worker:
    """The relevance of a batch."""

    def __init__(
        self,
        network: Network,
        layers: Sequence[str],
        config: RelevanceConfig,
        *,
        means: bool,
    ) -> None:
        self._network, self._config = network, config
        self._rows = [network.layers.find(name) for name in layers]
        self._names = [row.name for row in self._rows]
        self._axes = {row.name: row.channel_axis for row in self._rows if row.channel_axis != -1}
        self._means = jax.jit(self._sum_means) if means else None

    def __call__(self, batch: ClassBatch) -> dict[str, Any]:
        network, config = self._network, self._config
        inputs = network.preprocess(batch.pixels.astype(np.float32) / 255)
        targets = np.maximum(batch.classes, 0)
        found = class_relevance(
            network.apply,
            network.params,
            inputs,
            targets,
            self._names,
            batch.masks,
            path=config.path,
            part=config.part,
            sum_over=config.sum_over,
            baselines=baseline_inputs(config.baseline, inputs, network.preprocess),
            n_steps=config.steps,
            method=config.quadrature,
            channel_axes=self._axes,
        )
        result: dict[str, Any] = {
            "units": {name: np.asarray(value) for name, value in found.units.items()},
            "mask_sum": np.asarray(found.mask_sum),
            "score": np.asarray(found.score),
        }
        for field in ("delta", "baseline_score"):
            values = getattr(found, field)
            result[field] = np.stack([np.asarray(values[name]) for name in self._names], axis=1)
        if self._means is not None:
            real = (batch.classes >= 0).astype(np.float32)
            sums = self._means(network.params, inputs, real)
            result["means"] = {name: np.asarray(value, float) for name, value in sums.items()}
        return result

    def _sum_means(self, params: Any, inputs: jax.Array, real: jax.Array) -> dict[str, jax.Array]:
        """Of each unit: the sum over images of its mean over positions."""
        values = all_layer_maps(self._network, self._names)(params, inputs)
        return {name: (real[:, None] * one.mean((1, 2))).sum(0) for name, one in values.items()}
