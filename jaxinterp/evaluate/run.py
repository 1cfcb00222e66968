"""Judging a classifier on labelled images."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import time
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.data.labelled import LabelledImages
from jaxinterp.data.positions import spread_evenly
from jaxinterp.errors import UserError
from jaxinterp.evaluate.accuracy import ClassAccuracy, Share, class_accuracies, share_below
from jaxinterp.evaluate.labels import LabelMap, map_labels
from jaxinterp.evaluate.stream import Batch, Geometry, Unreadable, batches
from jaxinterp.models.network import Network

__all__ = ["Evaluation", "evaluate"]

# Batches handed to the device and not waited for: one is computed while the next is sent.
_IN_FLIGHT = 2


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Accuracies, and of what on what.

    Attributes:
      model: the network's name.
      weights_sha256: of its weights' file, or a word for their origin.
      kind, location, split: of the images, as the source tells.
      label_rule: how classes were found among the logits, in words.
      logits: how many there are.
      geometry: what was cut out of each image.
      top1, top5: images whose class has the first logit, or one of the first five.
      classes: the accuracies of each class that occurs, in the order of the logits.
      unreadable: images that could not be judged and are in no accuracy.
      seconds: wall time, compilation included.
    """

    model: str
    weights_sha256: str
    kind: str
    location: str
    split: str | None
    label_rule: str
    logits: int
    geometry: Geometry
    top1: Share
    top5: Share
    classes: tuple[ClassAccuracy, ...]
    unreadable: tuple[Unreadable, ...]
    seconds: float

    @property
    def mean_class_top1(self) -> float:
        """The mean of the classes' top-1 accuracies, each counting alike, in [0, 1]."""
        return float(np.mean([own.top1.value for own in self.classes]))


def evaluate(
    network: Network,
    source: LabelledImages,
    *,
    batch_size: int = 32,
    limit: int | None = None,
    advanced: Callable[[int], None] = lambda images: None,
) -> Evaluation:
    """Judges a network on labelled images, prepared as torchvision prepares them.

    Of classes with equal logits the one with the lower index is the first, as in `argmax`; a logit
    that is not a number comes before all others, so it never counts as a success. Weights that are
    not finite are refused: compiled for CPUs, sums over ReLUs make zeros of NaNs, and a network
    without any numbers would pass for one that always answers the first class.

    Args:
      network: its `preprocess` says how images are resized and cropped.
      source: the images; a class without a logit is an error before any is read.
      batch_size: images at once; the last batch is filled up, so that it is compiled once.
      limit: judge only so many, spread evenly over the source.
      advanced: told the number of images done so far, unreadable ones included, after each batch.

    Raises:
      UserError: weights that are not finite numbers, classes that do not fit the logits, images
        without labels, not one readable image.
    """
    if not source.count:
        raise UserError(f"There are no images to evaluate on in {source.location}.")
    _check_finite(network)
    preprocess = network.preprocess
    geometry = Geometry(preprocess.resize, preprocess.size, preprocess.channels)
    logits = _count_logits(network, geometry)
    label_map = map_labels(source, logits=logits, class_names=network.class_names)
    positions = spread_evenly(source.count, limit or source.count)
    count = len(positions)
    ranks_of = jax.jit(lambda params, pixels, truth: _ranks(network, params, pixels, truth))

    started = time.perf_counter()
    waiting: collections.deque[tuple[Array, int]] = collections.deque()
    ranks: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    unreadable: list[Unreadable] = []
    done = 0
    stream = batches(source, positions, geometry=geometry, batch_size=batch_size)
    with _quiet_pillow(), contextlib.closing(stream):
        for batch in stream:
            unreadable += batch.unreadable
            truth = _truth(batch, label_map, source)
            waiting.append((ranks_of(network.params, batch.pixels, truth), batch.filled))
            truths.append(truth[: batch.filled])
            if len(waiting) >= _IN_FLIGHT:
                ranks.append(_fetch(waiting))
            done += batch.filled + len(batch.unreadable)
            advanced(done)
        while waiting:
            ranks.append(_fetch(waiting))
    rank, truth = np.concatenate(ranks), np.concatenate(truths)
    if not len(rank):
        raise UserError(
            f"None of the {count} images of {source.location} can be read: "
            f"{unreadable[0].name}: {unreadable[0].reason}."
        )
    return Evaluation(
        model=network.name,
        weights_sha256=network.weights_sha256,
        kind=source.kind,
        location=source.location,
        split=source.split,
        label_rule=label_map.rule,
        logits=logits,
        geometry=geometry,
        top1=share_below(rank, 1),
        top5=share_below(rank, 5),
        classes=class_accuracies(
            rank, truth, names=list(zip(label_map.logits, label_map.names, strict=True))
        ),
        unreadable=tuple(unreadable),
        seconds=time.perf_counter() - started,
    )


def _check_finite(network: Network) -> None:
    arrays = jax.tree_util.tree_leaves_with_path(network.params)
    broken = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, value in arrays
        if jnp.issubdtype(value.dtype, jnp.floating) and not bool(jnp.isfinite(value).all())
    ]
    if broken:
        raise UserError(
            f"The weights of {network.name} have values that are not finite numbers (NaN or "
            f"infinity) in {', '.join(broken[:6])}: there is nothing to evaluate."
        )


def _ranks(network: Network, params: object, pixels: Array, truth: Array) -> Array:
    """int [n]: how many logits come before the true class's."""
    logits = network.apply(params, network.preprocess(pixels.astype(jnp.float32) / 255))
    own = jnp.take_along_axis(logits, truth[:, None], axis=1)
    ties_before = (logits == own) & (jnp.arange(logits.shape[1]) < truth[:, None])
    return (~(logits <= own) | ties_before).sum(1)


def _count_logits(network: Network, geometry: Geometry) -> int:
    shape = (1, geometry.size, geometry.size, geometry.channels)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(network.apply, network.params, images).shape[-1]


def _truth(batch: Batch, label_map: LabelMap, source: LabelledImages) -> np.ndarray:
    """int32 [batch_size]: the logit of each image's class."""
    wrong = [label for label in batch.labels if not 0 <= label < len(label_map.logits)]
    if wrong:
        raise UserError(
            f"An image of {source.location} has the label {wrong[0]}, which is none of its "
            f"{len(label_map.logits)} classes: this split has no labels."
        )
    return np.asarray(label_map.logits, np.int32)[batch.labels]


def _fetch(waiting: collections.deque[tuple[Array, int]]) -> np.ndarray:
    """The oldest ranks, without those of the filling."""
    ranks, filled = waiting.popleft()
    return np.asarray(ranks)[:filled]


@contextlib.contextmanager
def _quiet_pillow():  # type: ignore[no-untyped-def]
    """Pillow's warnings of odd metadata are silenced, once for all threads: filters are global."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
