"""The images that a network is trained on, all in memory, from whichever source the user names."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Literal

import numpy as np

from jaxinterp.data.an8flower import CLASS_NAMES as FLOWER_CLASS_NAMES, render_many
from jaxinterp.data.an8flower.splits import PREFIX as FLOWERS, SPLIT_COUNTS, SPLIT_SEEDS
from jaxinterp.data.cifar10 import CLASS_NAMES as CIFAR10_CLASS_NAMES, load_cifar10
from jaxinterp.data.class_folders import has_class_folders, read_class_folders
from jaxinterp.data.labelled import LabelledImages
from jaxinterp.data.positions import spread_evenly
from jaxinterp.data.source import read_labelled_images
from jaxinterp.data.tfds_source import PREFIX as TFDS_PREFIX
from jaxinterp.errors import UserError, nearest
from jaxinterp.evaluate.stream import Geometry, batches

__all__ = ["Split", "TrainingImages", "training_images"]

Split = Literal["train", "test"]

_OTHERS = (
    f"Training takes {FLOWERS}VARIANT, {TFDS_PREFIX}NAME and a folder with the class folders "
    "train and test as well."
)

_DECODED_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingImages:
    """Labelled images of one size.

    Attributes:
      images: uint8 [n, h, w, 3], RGB.
      labels: int32 [n], indices into `class_names`.
      class_names: of all classes, also of those without an image.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]


def training_images(
    source: str, split: Split, *, size: int, count: int = 0, seed: int = 0
) -> TrainingImages:
    """All images of a split, or some of them.

    Args:
      source: where CIFAR-10 is; `an8flower:VARIANT`, which is rendered here; `tfds:NAME`; or a
        folder that holds the class folders `train` and `test`.
      split: "train" or "test". Rendered pictures of the two have different seeds.
      size: side of the images in pixels. CIFAR-10 keeps its 32. Images from files have their
        shorter side resized to it and their centre cut out, as for evaluation.
      count: how many, spread evenly over the source; 0 takes all, or `SPLIT_COUNTS` rendered ones.
      seed: which pictures are rendered.

    Raises:
      UserError: no images there, an unreadable file, an unknown variant, classes that differ
        between `train` and `test`.
    """
    if source.startswith(FLOWERS):
        return _flowers(source, split, size=size, count=count, seed=seed)
    if source.startswith(TFDS_PREFIX):
        return _decoded(read_labelled_images(source, split=split), size, count)
    path = Path(os.path.expanduser(source))
    folders = {name: path / name for name in ("train", "test")}
    if all(folder.is_dir() and has_class_folders(folder) for folder in folders.values()):
        sources = {name: read_class_folders(folder) for name, folder in folders.items()}
        _check_same_classes(sources["train"], sources["test"])
        return _decoded(sources[split], size, count)
    try:
        cifar10 = load_cifar10(path, split)
    except UserError as error:
        raise UserError(f"{error} {_OTHERS}" if not path.is_file() else str(error)) from None
    places = spread_evenly(len(cifar10.labels), count or len(cifar10.labels))
    return TrainingImages(cifar10.images[places], cifar10.labels[places], CIFAR10_CLASS_NAMES)


def _flowers(source: str, split: Split, *, size: int, count: int, seed: int) -> TrainingImages:
    variant = source.removeprefix(FLOWERS)
    if variant not in FLOWER_CLASS_NAMES:
        raise UserError(nearest(variant, FLOWER_CLASS_NAMES, kind="variant of an8Flower"))
    rendered = render_many(variant, count or SPLIT_COUNTS[split], size, SPLIT_SEEDS[split] + seed)
    return TrainingImages(
        rendered.images, rendered.labels.astype(np.int32), FLOWER_CLASS_NAMES[variant]
    )


def _check_same_classes(train: LabelledImages, test: LabelledImages) -> None:
    ours, theirs = ({one.key for one in source.classes} for source in (train, test))
    if ours != theirs:
        raise UserError(
            f"{train.location} and {test.location} have different class folders: "
            f"{', '.join(sorted(ours ^ theirs)[:6])} in one of them only."
        )


def _decoded(source: LabelledImages, size: int, count: int) -> TrainingImages:
    geometry = Geometry(resize=size, size=size)
    places = spread_evenly(source.count, count or source.count)
    images = np.empty((len(places), size, size, 3), np.uint8)
    labels = np.empty(len(places), np.int32)
    filled = 0
    for batch in batches(source, places, geometry=geometry, batch_size=_DECODED_AT_ONCE):
        if batch.unreadable:
            broken = batch.unreadable[0]
            raise UserError(f"{broken.name} of {source.location} cannot be read: {broken.reason}.")
        images[filled : filled + batch.filled] = batch.pixels[: batch.filled]
        labels[filled : filled + batch.filled] = batch.labels[: batch.filled]
        filled += batch.filled
    names = tuple(one.name or one.key for one in source.classes)
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        raise UserError(f"Images of {source.location} have labels that are none of its classes.")
    return TrainingImages(images, labels, names)
