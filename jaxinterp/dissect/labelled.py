"""Where the labelled images of relevance and ablation come from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxinterp.data.an8flower import render
from jaxinterp.data.an8flower.classes import CLASS_NAMES, labels_of
from jaxinterp.data.an8flower.labelled import flower_split
from jaxinterp.data.an8flower.splits import PREFIX
from jaxinterp.data.class_folders import has_class_folders
from jaxinterp.data.concepts.batches import Fit, concept_batches, decode_concept_image
from jaxinterp.data.concepts.concept_set import ConceptSet
from jaxinterp.data.labelled import LabelledImages
from jaxinterp.data.labelled_pixels import labelled_pixels
from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.data.source import read_labelled_images
from jaxinterp.dissect.class_images import ClassImages
from jaxinterp.dissect.classes import RunClass
from jaxinterp.dissect.config import LabelledConfig
from jaxinterp.dissect.digests import digest_of_arrays, digest_of_concepts
from jaxinterp.dissect.passes import PassFile
from jaxinterp.errors import UserError
from jaxinterp.evaluate.labels import map_labels
from jaxinterp.models.network import Network

__all__ = ["open_labelled"]


def open_labelled(
    config: LabelledConfig,
    network: Network,
    classes: Sequence[RunClass],
    *,
    logits: int,
    size: int,
    mask_size: int,
    masks: str,
    concepts: ConceptSet | None,
    fit: Fit,
    file: PassFile,
) -> ClassImages:
    """The images of the run's classes; those of other classes are left out.

    Args:
      config: where they are.
      network: whose input they become.
      classes: the run's.
      logits: how many the network has.
      size: height and width of the network's input, px.
      mask_size: height and width of the masks.
      masks: "object", "discriminative" or "none".
      concepts: for the source "concepts".
      fit: how concept images are cut.
      file: keeps which concept images show a class, which takes a walk through all of them.

    Raises:
      UserError: nothing there; no image of a class; masks that the source does not have.
    """
    if config.source == "concepts":
        assert concepts is not None
        chosen = concepts.in_split(config.split)
        found = _of_concepts(chosen, classes, size, mask_size, masks, fit, file)
    elif config.source.startswith(PREFIX):
        found = _flowers(config, network, classes, size, mask_size, masks)
    else:
        found = _labelled(config, network, classes, logits, size, masks)
    found = found.first_of_each(config.per_class)
    counts = np.bincount(found.classes, minlength=len(classes))
    missing = [own.name for own, count in zip(classes, counts, strict=True) if not count]
    if missing:
        raise UserError(
            f"{found.location} has no image of {', '.join(missing[:6])}"
            f"{' and others' if len(missing) > 6 else ''}: give other images, or list only the "
            "other classes in [[classes]]."
        )
    return found


def _labelled(
    config: LabelledConfig,
    network: Network,
    classes: Sequence[RunClass],
    logits: int,
    size: int,
    masks: str,
) -> ClassImages:
    location, split = config.source, config.split
    # Class folders in the folder of a split.
    inside = Path(os.path.expanduser(location)) / (split or ".")
    if split and "/" not in split and inside.is_dir() and has_class_folders(inside):
        location, split = str(inside), None
    source = read_labelled_images(location, split=split)
    if masks != "none":
        raise UserError(
            f'The images of {source.location} have no masks: relevance.masks must be "none", '
            f"not {masks!r}."
        )
    mapped = map_labels(source, logits=logits, class_names=network.class_names)
    class_of = {logit: i for i, own in enumerate(classes) for logit in own.logits}
    names, positions, own_logits = _scan(source, mapped.logits, class_of)
    preprocess = network.preprocess
    resize = max(size, round(preprocess.resize * size / preprocess.size))

    def read(position: int) -> tuple[np.ndarray, None]:
        image = source.read(positions[position])
        pixels = labelled_pixels(image, resize=resize, size=size, channels=preprocess.channels)
        return pixels, None

    return ClassImages(
        source.location + (f" ({source.split})" if source.split else ""),
        tuple(names),
        np.array([class_of[logit] for logit in own_logits], int),
        read,
    )


def _scan(
    source: LabelledImages, logit_of: Sequence[int], wanted: dict[int, int]
) -> tuple[list[str], list[int], list[int]]:
    """Names, positions and logits of the images of wanted logits; nothing is decoded."""
    names, positions, own_logits = [], [], []
    for position in range(source.count):
        try:
            image = source.read(position)
        except UnreadableImage:
            continue
        if not 0 <= image.label < len(logit_of):
            raise UserError(
                f"An image of {source.location} has the label {image.label}, which is none of its "
                f"{len(logit_of)} classes: this split has no labels."
            )
        if logit_of[image.label] in wanted:
            names.append(image.name)
            positions.append(position)
            own_logits.append(logit_of[image.label])
    return names, positions, own_logits


def _flowers(
    config: LabelledConfig,
    network: Network,
    classes: Sequence[RunClass],
    size: int,
    mask_size: int,
    masks: str,
) -> ClassImages:
    variant, count, seed = flower_split(config.source, config.split)
    split = config.split or "test"
    labels = labels_of(variant, 0, count, seed=seed)
    if network.class_names and tuple(network.class_names) != tuple(CLASS_NAMES[variant]):
        raise UserError(
            f"{network.name} tells {', '.join(network.class_names[:3])}, ... apart, not the "
            f"classes of {config.source}."
        )
    class_of = {logit: i for i, own in enumerate(classes) for logit in own.logits}
    kept = [index for index, label in enumerate(labels.tolist()) if label in class_of]
    # The pixels at the centres of the grid's cells, as for concepts.
    rows = ((np.arange(mask_size) + 0.5) * size / mask_size).astype(int)

    def read(position: int) -> tuple[np.ndarray, np.ndarray | None]:
        flower = render(variant, kept[position], size=size, seed=seed)
        if masks == "none":
            return flower.image, None
        mask = flower.discriminative if masks == "discriminative" else flower.parts > 0
        return flower.image, mask[np.ix_(rows, rows)]

    return ClassImages(
        f"{PREFIX}{variant} ({split})",
        tuple(f"{variant}/{split}/{index}" for index in kept),
        np.array([class_of[label] for label in labels[kept].tolist()], int),
        read,
    )


def _of_concepts(
    concepts: ConceptSet,
    classes: Sequence[RunClass],
    size: int,
    mask_size: int,
    masks: str,
    fit: Fit,
    file: PassFile,
) -> ClassImages:
    """The concept images that show a class's concept, once for each class that they show."""
    if masks == "discriminative":
        raise UserError(
            f"{concepts.location} says where objects are, not which part defines a class: give "
            'relevance.masks "object" or "none".'
        )
    without = [own.name for own in classes if own.concept < 0]
    if without:
        raise UserError(
            f"The class {without[0]!r} matches no concept of {concepts.location}: name it by "
            "`concept` in [[classes]], or leave the class out."
        )
    geometry = {"size": size, "mask_size": mask_size, "fit": fit}
    wanted = {"concepts": np.array([own.concept for own in classes], int)}
    saved = file.load(f"{digest_of_concepts(concepts)} {digest_of_arrays(wanted)} {geometry}")
    if saved is None:
        names, positions, own_classes = [], [], []
        for batch in concept_batches(concepts, batch_size=1, **geometry):
            shown = set(batch.present[0].tolist()) if batch.filled else set()
            for i, own in enumerate(classes):
                if own.concept in shown:
                    names.append(batch.names[0])
                    positions.append(int(batch.positions[0]))
                    own_classes.append(i)
        found = {
            "positions": np.array(positions, int),
            "classes": np.array(own_classes, int),
            "names": np.array([name.encode("utf-8", "replace") for name in names], bytes),
        }
        file.save(found, position=concepts.count, finished=True)
    else:
        found = saved.arrays
    places, indices = found["positions"].tolist(), found["classes"].tolist()

    def read(position: int) -> tuple[np.ndarray, np.ndarray | None]:
        decoded = decode_concept_image(concepts, places[position], **geometry)
        if masks == "none":
            return decoded.image, None
        return decoded.image, decoded.mask_of(classes[indices[position]].concept)

    return ClassImages(
        concepts.location,
        tuple(name.decode("utf-8", "replace") for name in found["names"].tolist()),
        found["classes"].astype(int),
        read,
    )
