"""CIFAR-10 from whichever form the user has.

Three forms are recognised:

- the original binary archive, `cifar-10-binary.tar.gz`, or the folder it unpacks to;
- a set prepared by TensorFlow Datasets (`cifar10` below the given folder), read without TensorFlow;
- a folder of lossless mosaics, 1,000 images of 32x32 each (`train_00.webp` ..., `labels.npz`).

The archive for Python holds pickles, which are never executed: it is refused by name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxinterp.data.labelled import LabelledImage, LabelledImages, SourceClass
from jaxinterp.errors import UserError

__all__ = ["CLASS_NAMES", "Cifar10", "holds_cifar10", "load_cifar10", "read_cifar10"]

CLASS_NAMES: tuple[str, ...] = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

_RECORD = 1 + 3 * 32 * 32
_MEMBERS = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
_PICKLES = ("data_batch_1", "test_batch")

# What broken files make tarfile, gzip, NumPy and Pillow raise.
_UNREADABLE = (OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class Cifar10:
    """Images uint8 [n, 32, 32, 3] and labels int32 [n] of one split."""

    images: np.ndarray
    labels: np.ndarray


def load_cifar10(path: str | Path, split: str) -> Cifar10:
    """Reads one split, "train" (50,000 images) or "test" (10,000).

    Raises:
      UserError: nothing recognisable at `path`, or a file of the wrong size; the sentence says
        which forms are read.
    """
    path = Path(path)
    if split not in _MEMBERS:
        raise UserError(f"CIFAR-10 has the splits train and test, not {split!r}.")
    try:
        data = _read_first_form(path, split)
    except UserError:
        raise
    except _UNREADABLE as error:
        raise UserError(f"The CIFAR-10 at {path} cannot be read: {error}.") from error
    if data.labels.min() < 0 or data.labels.max() >= len(CLASS_NAMES):
        raise UserError(f"The data at {path} have labels other than 0 to 9: this is not CIFAR-10.")
    return data


def holds_cifar10(path: Path) -> bool:
    """Whether `path` looks like one of the forms above, or like the archive of pickles."""
    if path.is_file():
        with contextlib.suppress(*_UNREADABLE), tarfile.open(path) as archive:
            known = {*_MEMBERS["train"], *_MEMBERS["test"], *_PICKLES}
            return any(Path(member.name).name in known for member in archive)
        return False
    return _find_form(path, "test") is not None or _holds_pickles(path)


def read_cifar10(path: str | Path, split: str) -> LabelledImages:
    """One split as labelled images.

    Raises:
      UserError: see `load_cifar10`.
    """
    data = load_cifar10(path, split)
    return LabelledImages(
        kind="CIFAR-10",
        location=str(path),
        classes=tuple(SourceClass(name) for name in CLASS_NAMES),
        count=len(data.labels),
        read=lambda i: LabelledImage(f"{split} image {i}", int(data.labels[i]), data.images[i]),
        split=split,
    )


def _read_first_form(path: Path, split: str) -> Cifar10:
    read = _find_form(path, split)
    if read is not None:
        return read(split)
    hint = " (this is the archive of pickles; take the binary one)" if _holds_pickles(path) else ""
    raise UserError(
        f"No CIFAR-10 at {path}{hint}: give cifar-10-binary.tar.gz, the folder it unpacks to, or a "
        "folder prepared by TensorFlow Datasets that holds cifar10/."
    )


def _find_form(path: Path, split: str) -> Callable[[str], Cifar10] | None:
    """What reads a split of the form that is at `path`."""
    if path.is_file() and tarfile.is_tarfile(path):
        return functools.partial(_read_archive, path)
    if (path / "labels.npz").is_file():
        return functools.partial(_read_mosaics, path)
    for folder in (path, path / "cifar-10-batches-bin"):
        if (folder / _MEMBERS[split][0]).is_file():
            return functools.partial(_read_folder, folder)
    # TFDS writes <data_dir>/cifar10/<version>/dataset_info.json.
    if any((path / "cifar10").glob("*/dataset_info.json")):
        return functools.partial(_read_tfds, path)
    if path.name == "cifar10" and any(path.glob("*/dataset_info.json")):
        return functools.partial(_read_tfds, path.parent)
    return None


def _holds_pickles(path: Path) -> bool:
    folders = (path, path / "cifar-10-batches-py")
    return any((folder / name).is_file() for folder in folders for name in _PICKLES)


def _read_folder(folder: Path, split: str) -> Cifar10:
    return _decode_records(lambda name: (folder / name).read_bytes(), split)


def _read_archive(path: Path, split: str) -> Cifar10:
    with tarfile.open(path) as archive:
        members = {Path(m.name).name: m for m in archive.getmembers() if m.isfile()}
        if _MEMBERS[split][0] not in members:
            raise UserError(
                f"{path} holds no {_MEMBERS[split][0]}: take the binary archive, "
                "cifar-10-binary.tar.gz (the one for Python holds pickles, which are not read)."
            )

        def read(name: str) -> bytes:
            member = archive.extractfile(members[name]) if name in members else None
            if member is None:
                raise UserError(f"{path} holds no {name}.")
            return member.read()

        return _decode_records(read, split)


def _decode_records(read: Callable[[str], bytes], split: str) -> Cifar10:
    """Records of a label byte and 3,072 pixel bytes, channel by channel."""
    parts = []
    for name in _MEMBERS[split]:
        content = read(name)
        if not content or len(content) % _RECORD:
            raise UserError(f"{name} has {len(content)} bytes, no multiple of {_RECORD}.")
        parts.append(np.frombuffer(content, np.uint8).reshape(-1, _RECORD))
    records = np.concatenate(parts)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Cifar10(np.ascontiguousarray(images), records[:, 0].astype(np.int32))


def _read_mosaics(folder: Path, split: str) -> Cifar10:
    from PIL import Image

    with np.load(folder / "labels.npz", allow_pickle=False) as arrays:
        if f"y_{split}" not in arrays:
            raise UserError(f"{folder / 'labels.npz'} holds no y_{split}.")
        labels = arrays[f"y_{split}"].astype(np.int32)
    parts = []
    for path in sorted(folder.glob(f"{split}_*.webp")):
        try:
            with Image.open(path) as mosaic:
                pixels = np.asarray(mosaic.convert("RGB"))
        except (*_UNREADABLE, SyntaxError) as error:
            raise UserError(f"{path} cannot be read: {error}.") from error
        if pixels.shape != (40 * 32, 25 * 32, 3):
            raise UserError(f"{path} is no mosaic of 40 x 25 images of 32 px.")
        tiles = pixels.reshape(40, 32, 25, 32, 3).transpose(0, 2, 1, 3, 4)
        parts.append(tiles.reshape(-1, 32, 32, 3))
    if not parts or sum(map(len, parts)) != len(labels):
        raise UserError(
            f"{folder} holds {sum(map(len, parts))} {split} images but {len(labels)} labels."
        )
    return Cifar10(np.concatenate(parts), labels)


def _read_tfds(folder: Path, split: str) -> Cifar10:
    import tensorflow_datasets as tfds

    try:
        source = tfds.data_source("cifar10", data_dir=folder, split=split, download=False)
        examples: list[Any] = list(source)
    except Exception as error:  # TFDS raises many kinds; each means the set cannot be read
        raise UserError(
            f"The TFDS set cifar10 in {folder} cannot be read as a data source "
            f"(prepare it with file_format='array_record'): {' '.join(str(error).split())}"
        ) from error
    images = np.stack([example["image"] for example in examples])
    labels = np.asarray([example["label"] for example in examples], np.int32)
    return Cifar10(images, labels)
