"""Labelled images by the name that a user gives: what kind of source it is, its content says."""

from __future__ import annotations

import os
from pathlib import Path

from jaxinterp.data.an8flower.labelled import read_labelled_flowers
from jaxinterp.data.an8flower.splits import PREFIX as FLOWERS
from jaxinterp.data.cifar10 import holds_cifar10, read_cifar10
from jaxinterp.data.class_folders import has_class_folders, read_class_folders
from jaxinterp.data.labelled import LabelledImages
from jaxinterp.data.open_image import reason
from jaxinterp.data.pack import INDEX, holds_index, read_pack
from jaxinterp.data.tfds_source import PREFIX, holds_tfds, read_tfds
from jaxinterp.errors import UserError, nearest

__all__ = ["read_labelled_images"]

_KINDS = (
    f"a folder of class folders, a folder or an uncompressed .tar with an {INDEX}, "
    f"{PREFIX}NAME, the folder of a prepared TFDS set, CIFAR-10, or {FLOWERS}VARIANT"
)


def read_labelled_images(
    location: str, *, split: str | None = None, data_dir: str | None = None
) -> LabelledImages:
    """Finds out what is at `location` and opens it.

    Args:
      location: a path, `tfds:NAME[/CONFIG][:VERSION]` or `an8flower:VARIANT[:COUNT]`.
      split: of a TFDS set, of CIFAR-10 or an8Flower (there "test" unless told).
      data_dir: where TFDS sets are.

    Raises:
      UserError: nothing there, nothing that is known, or something broken; `split` or `data_dir`
        where they mean nothing.
    """
    if location.startswith(FLOWERS):
        if data_dir is not None:
            raise UserError(f"The data folder {data_dir} is for {PREFIX}NAME, not for {location}.")
        return read_labelled_flowers(location, split=split)
    if location.startswith(PREFIX):
        return read_tfds(location, split=split, data_dir=data_dir)
    if data_dir is not None:
        raise UserError(f"The data folder {data_dir} is for {PREFIX}NAME, not for {location}.")
    path = Path(os.path.expanduser(location))
    try:
        return _read(path, split)
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be read: {reason(error)}.") from None


def _read(path: Path, split: str | None) -> LabelledImages:
    if not path.exists():
        near = [str(other) for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(nearest(str(path), sorted(near), kind="folder or archive"))
    if path.is_dir() and holds_tfds(path):
        return read_tfds(str(path), split=split, data_dir=None)
    if holds_index(path):
        read = read_pack
    elif holds_cifar10(path):
        return read_cifar10(path, split or "test")
    elif path.is_dir() and has_class_folders(path):
        read = read_class_folders
    else:
        raise UserError(f"No labelled images are recognised in {path}: give {_KINDS}.")
    if split is not None:
        raise UserError(f"{path} has no splits: give the folder of one split instead of {split!r}.")
    return read(path)
