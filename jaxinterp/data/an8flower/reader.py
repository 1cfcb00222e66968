"""Reads an8Flower from class folders with a folder of masks: the authors' set, or a written one.

The authors' page is where their set is had; what is known of its layout here comes from code that
loads it, that of the rate-distortion explanations of Macdonald et al. (2019): two folders,
`an8Flower_double_12c` and `an8Flower_double_12c_MASK`, each with a folder for each class, and
images and masks paired in the order of their names. The single-colour variant is taken to look
alike; the set itself was not at hand to check this.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from jaxinterp.data.class_folders import has_class_folders, read_class_folders
from jaxinterp.data.labelled import LabelledImages
from jaxinterp.data.open_image import UnreadableImage, open_image, reason
from jaxinterp.errors import UserError

__all__ = ["FlowerFile", "FlowerFolders", "read_flower_folders"]

_SUFFIXES = ("_MASK", "_mask", "_MASKS", "_masks")


@dataclasses.dataclass(frozen=True, eq=False)
class FlowerFile:
    """One picture of a folder.

    Attributes:
      name: path below the folder.
      label: index into the folder's classes.
      image: uint8 [h, w, 3], RGB.
      discriminative: bool [h, w], where the class is defined.
    """

    name: str
    label: int
    image: np.ndarray
    discriminative: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class FlowerFolders:
    """Pictures and masks, read one at a time.

    Attributes:
      location, masks: the two folders.
      classes: names of the class folders, in order.
      count: how many pictures.
      pairing: how a picture's mask was found, in words.
      read: the picture at a position from 0 to count - 1. It raises `UserError` if a file cannot be
        read or the mask has another size than the picture.
    """

    location: str
    masks: str
    classes: tuple[str, ...]
    count: int
    pairing: str
    read: Callable[[int], FlowerFile]


def read_flower_folders(
    path: str | Path, *, masks: str | Path | None = None, threshold: int = 127
) -> FlowerFolders:
    """The pictures in the class folders of `path`, and their masks.

    The masks lie in a sibling whose name ends in `_MASK`, as the authors' do, or in
    `masks/discriminative` beside `path`, as `write_folders` puts them. A mask is the file with the
    picture's path, whatever its extension; if no file is called so, the n-th of the class is taken
    for the n-th picture, provided that there are as many.

    Args:
      path: a folder of class folders.
      masks: the folder of the masks, if it is elsewhere.
      threshold: a mask's pixel counts if a channel is above it (0 to 255).

    Raises:
      UserError: a folder that is missing, no masks, or pictures without a mask.
    """
    folder = Path(os.path.expanduser(path))
    found = _find_masks(folder) if masks is None else Path(os.path.expanduser(masks))
    for one in (folder, found):
        if not one.is_dir() or not has_class_folders(one):
            raise UserError(f"{one} is no folder with a folder of images for each class.")
    images, mask_images = read_class_folders(folder), read_class_folders(found)
    files, mask_files = _files(images), _files(mask_images)
    pairs, pairing = _pair(list(files), list(mask_files), folder, found)
    names, labels = list(files), [files[name] for name in files]

    def read(position: int) -> FlowerFile:
        name = names[position]
        image = _pixels(folder / name)
        mask = _pixels(found / pairs[name]).max(axis=-1) > threshold
        if mask.shape != image.shape[:2]:
            raise UserError(
                f"The mask {pairs[name]} of {found} has {mask.shape[1]} x {mask.shape[0]} px, "
                f"its image {image.shape[1]} x {image.shape[0]} px."
            )
        return FlowerFile(name, labels[position], image, mask)

    return FlowerFolders(
        location=str(path),
        masks=str(found),
        classes=tuple(own.key for own in images.classes),
        count=images.count,
        pairing=pairing,
        read=read,
    )


def _find_masks(folder: Path) -> Path:
    folder = folder.absolute()
    places = [
        *(folder.with_name(folder.name + suffix) for suffix in _SUFFIXES),
        folder.parent / "masks" / "discriminative" / folder.name,
    ]
    for place in places:
        if place.is_dir():
            return place
    raise UserError(
        f"No masks of {folder} are found: looked for {places[0].name} beside it and for "
        f"{places[-1].relative_to(folder.parent)} in {folder.parent}."
    )


def _files(images: LabelledImages) -> dict[str, int]:
    """The label of each file."""
    read = [images.read(position) for position in range(images.count)]
    return {image.name: image.label for image in read}


def _pair(
    images: list[str], masks: list[str], folder: Path, mask_folder: Path
) -> tuple[dict[str, str], str]:
    """The mask of each image."""
    by_name = {_stem(name): name for name in masks}
    missing = [name for name in images if _stem(name) not in by_name]
    if not missing:
        return {name: by_name[_stem(name)] for name in images}, "masks are called as the images"
    by_class = _by_class(masks)
    own = _by_class(images)
    if len(missing) == len(images) and {name: len(own[name]) for name in own} == {
        name: len(by_class.get(name, ())) for name in own
    }:
        pairs = {
            image: mask
            for name in own
            for image, mask in zip(own[name], by_class[name], strict=True)
        }
        return pairs, "masks are in the order of the images"
    raise UserError(
        f"{len(missing)} of {len(images)} images of {folder} have no mask in {mask_folder}, such "
        f"as {missing[0]}."
    )


def _by_class(names: list[str]) -> dict[str, list[str]]:
    classes: dict[str, list[str]] = {}
    for name in names:
        classes.setdefault(PurePosixPath(name).parts[0], []).append(name)
    return classes


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))


def _pixels(path: Path) -> np.ndarray:
    try:
        with open_image(path) as image:
            return np.asarray(image.convert("RGB"))
    except UnreadableImage as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from None
