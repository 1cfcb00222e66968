"""The two passes over annotated images: thresholds of all units, then what their maps meet."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping, Sequence

import jax
import numpy as np
from jax import Array

from jaxinterp.data.concepts.batches import ConceptBatch, concept_batches
from jaxinterp.data.concepts.concept_set import ConceptSet
from jaxinterp.dissect.best_images import BestImages
from jaxinterp.dissect.config import DissectionSettings
from jaxinterp.dissect.digests import digest_of_arrays
from jaxinterp.dissect.listener import DissectionListener
from jaxinterp.dissect.passes import PassFile
from jaxinterp.errors import UserError
from jaxinterp.methods.dissection import (
    Dissection,
    Tally,
    ThresholdPass,
    Thresholds,
    Upsampling,
    counter,
    dissection_of,
    upsampling,
)
from jaxinterp.methods.layer_maps import Compute, all_layer_maps, frozen_values
from jaxinterp.models.network import Network
from jaxinterp.transform.compiler_options import compiler_options

__all__ = ["ConceptPasses"]

_MANY_IMAGES = 1000
"""For a ResNet-18 on two cores the two are even at about 700."""

_BUDGET = 16384
"""Values that are kept of each unit, see `jaxinterp.methods.quantiles`."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Setup:
    network: Network
    layers: tuple[str, ...]
    concepts: ConceptSet
    settings: DissectionSettings
    size: int
    mask_size: int
    batch_size: int


class ConceptPasses:
    """Both passes, with what they share: the compiled network and how images are read.

    Attributes:
      map_shapes: by layer, (h, w, units).
      upsamplings: by layer, how the maps come to the grid of the masks.
    """

    def __init__(
        self,
        network: Network,
        layers: Sequence[str],
        concepts: ConceptSet,
        settings: DissectionSettings,
        *,
        size: int,
        mask_size: int,
        batch_size: int,
    ) -> None:
        batch_size = max(1, min(batch_size, concepts.count))
        self._setup = _Setup(
            network, tuple(layers), concepts, settings, size, mask_size, batch_size
        )
        shape = (batch_size, size, size, network.preprocess.channels)
        if network.preprocess.channels != 3:
            raise UserError(f"{network.name} takes grey images: concepts are read for RGB ones.")
        # For few images, preparing quick convolutions takes longer than it saves.
        compute = Compute(convolutions="auto" if concepts.count > _MANY_IMAGES else "direct")
        prepared, values = frozen_values(all_layer_maps(network, layers), network, shape, compute)
        self._prepared = jax.device_put(prepared)

        def forward(prepared: list[Array], pixels: Array) -> dict[str, Array]:
            return values(prepared, network.preprocess(pixels.astype(np.float32) / 255))

        example = jax.ShapeDtypeStruct(shape, np.uint8)
        shapes = jax.eval_shape(forward, prepared, example)
        self.map_shapes = {name: tuple(shapes[name].shape[1:]) for name in layers}
        self._forward = jax.jit(forward, compiler_options=compiler_options())
        self.upsamplings: dict[str, Upsampling] = {
            name: upsampling(
                settings.mode,
                shape[:2],
                (mask_size, mask_size),
                layer=network.layers.find(name),
                image=(size, size),
            )
            for name, shape in self.map_shapes.items()
        }

    def maps(self, pixels: np.ndarray) -> dict[str, Array]:
        """The maps of all layers for a whole batch, uint8 [batch_size, s, s, 3]."""
        return self._forward(self._prepared, pixels)

    def batches(
        self, start: int = 0, *, only: Sequence[int] | None = None
    ) -> Generator[ConceptBatch]:
        """The concept images from position `start`, or some of them."""
        setup = self._setup
        return concept_batches(
            setup.concepts,
            size=setup.size,
            mask_size=setup.mask_size,
            fit=setup.settings.fit,
            batch_size=setup.batch_size,
            positions=only,
            start=start,
        )

    def thresholds(self, file: PassFile, listener: DissectionListener) -> Thresholds:
        """The first pass, or what is left of it."""
        settings, count = self._setup.settings, self._setup.concepts.count
        saved = file.load()
        if saved is not None and saved.finished:
            return _restored(saved.arrays, list(self.map_shapes), settings.share)
        # At least one position of every image is ranked.
        budget = max(_BUDGET, math.ceil(settings.share * count) + 1)
        ranking = ThresholdPass(self.map_shapes, count, share=settings.share, budget=budget)
        state = ranking.init()
        start = 0
        if saved is not None:
            start = saved.position
            for name, layer in state.items():
                for key in layer:
                    layer[key] = saved.arrays[f"{key}/{name}"].copy()

        def save(position: int) -> None:
            arrays = {f"{k}/{name}": a for name, layer in state.items() for k, a in layer.items()}
            file.save(arrays, position=position)

        def update(batch: ConceptBatch) -> None:
            ranking.update(state, self.maps(batch.images), batch.filled)

        self._walk("thresholds", start, update, file, listener, save)
        if not any(int(layer["seen"]) for layer in state.values()):
            name, reason = file.unreadable[0] if file.unreadable else ("", "there is none")
            raise UserError(
                f"None of the {count} images of {self._setup.concepts.location} can be read: "
                f"{name}: {reason}."
            )
        definition = "linear" if settings.mode == "lite" else "order"
        found = ranking.finish(state, definition=definition)
        # The buffers have done their work: what is kept is small.
        file.save(_stored(found), position=count, finished=True)
        return found

    def dissection(
        self, thresholds: Thresholds, file: PassFile, listener: DissectionListener, *, best: int
    ) -> tuple[Dissection, BestImages]:
        """The second pass, or what is left of it; `best` images are remembered for each unit."""
        setup = self._setup
        concepts, mode = setup.concepts, setup.settings.mode
        count = jax.jit(counter(self.upsamplings, mode=mode))
        units = {name: shape[2] for name, shape in self.map_shapes.items()}
        tally = Tally(units, concepts.category_of, len(concepts.categories), mode=mode)
        images = BestImages(units, best)
        limits = {name: np.asarray(thresholds.values[name]) for name in units}
        saved = file.load(digest_of_arrays(limits))
        start = 0
        if saved is not None:
            start = saved.position
            tally.restore(saved.arrays)
            images.restore(saved.arrays)

        def save(position: int, *, finished: bool = False) -> None:
            file.save(tally.arrays() | images.arrays(), position=position, finished=finished)

        def update(batch: ConceptBatch) -> None:
            counts = count(
                self.maps(batch.images),
                limits,
                batch.labels,
                batch.present,
                batch.whole,
                np.int32(batch.filled),
            )
            tally.add(counts, batch.present, batch.filled)
            images.add(counts.peak, batch.positions)

        if saved is None or not saved.finished:
            self._walk("units x concepts", start, update, file, listener, save)
            save(concepts.count, finished=True)
        names = [concept.name for concept in concepts.concepts]
        return dissection_of(tally, thresholds, names, concepts.categories), images

    def _walk(
        self,
        title: str,
        start: int,
        update: Callable[[ConceptBatch], None],
        file: PassFile,
        listener: DissectionListener,
        save: Callable[..., None],
    ) -> None:
        count = self._setup.concepts.count
        listener.begins(title, count, start)
        position = start
        for batch in self.batches(start):
            if batch.filled:
                update(batch)
                position = int(batch.positions[-1]) + 1
            file.failed(tuple((image.path, image.reason) for image in batch.unreadable))
            listener.advanced(position)
            if file.due:
                save(position)
        if position < count:
            listener.advanced(count)


def _stored(thresholds: Thresholds) -> dict[str, np.ndarray]:
    by_layer = ("values", "exact", "not_finite")
    arrays = {f"{k}/{name}": a for k in by_layer for name, a in getattr(thresholds, k).items()}
    return arrays | {f"error/{name}": np.asarray(e) for name, e in thresholds.error.items()}


def _restored(arrays: Mapping[str, np.ndarray], layers: Sequence[str], share: float) -> Thresholds:
    return Thresholds(
        values={name: arrays[f"values/{name}"] for name in layers},
        exact={name: arrays[f"exact/{name}"] for name in layers},
        error={name: float(arrays[f"error/{name}"]) for name in layers},
        not_finite={name: arrays[f"not_finite/{name}"] for name in layers},
        share=share,
    )
