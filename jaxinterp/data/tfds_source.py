"""Sets prepared by TensorFlow Datasets, read without TensorFlow and without their own code.

TFDS writes `<data_dir>/<name>/[<config>/]<version>/` with a description of the features, from which
a data source of the records is made. Nothing is downloaded or prepared here: that needs TensorFlow,
and the user's word.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np

from jaxinterp.data.labelled import LabelledImage, LabelledImages, SourceClass
from jaxinterp.data.open_image import UnreadableImage, reason
from jaxinterp.errors import UserError, nearest

__all__ = ["PREFIX", "holds_tfds", "read_tfds"]

PREFIX = "tfds:"
_INFO = "dataset_info.json"
# The split that is meant where none is named: labelled images that nobody trains on.
_SPLITS = ("validation", "test", "train")


def holds_tfds(folder: Path) -> bool:
    """Whether a folder is a prepared set, of one version."""
    return (folder / _INFO).is_file() and (folder / "features.json").is_file()


def read_tfds(location: str, *, split: str | None, data_dir: str | None) -> LabelledImages:
    """The labelled images of one split of a prepared set.

    Args:
      location: `tfds:NAME`, `tfds:NAME/CONFIG`, either with `:VERSION`; or the folder of a set.
        Without a config or a version, the only config and the newest version that are there.
      split: such as "validation" or "test[:10%]"; None takes the first of validation, test, train.
      data_dir: where sets are; None takes `TFDS_DATA_DIR` or `~/tensorflow_datasets`.

    Raises:
      UserError: a set that is not there (with the command that prepares it), that has no images
        with class labels, or that cannot be read; an unknown split.
    """
    import tensorflow_datasets as tfds

    folder = _find(location, data_dir) if location.startswith(PREFIX) else Path(location)
    try:
        builder: Any = tfds.builder_from_directory(str(folder))
        features: dict[str, Any] = dict(builder.info.features or {})
        splits: list[str] = list(builder.info.splits)
    except Exception as error:  # TFDS raises many kinds; each means that the set is broken
        raise UserError(f"The TFDS set in {folder} cannot be read: {reason(error)}.") from None
    image = _only(features, tfds.features.Image, folder)
    label = _only(features, tfds.features.ClassLabel, folder)
    split = split or next((name for name in _SPLITS if name in splits), "train")
    name = re.split(r"[\[+]", split)[0]
    if name not in splits:
        raise UserError(nearest(name, splits, kind=f"split of {location}"))
    skip: Any = tfds.decode.SkipDecoding  # pyright takes the decorated class for its instance
    try:
        records = builder.as_data_source(split, decoders={image: skip()})
        count = len(records)
    except NotImplementedError:
        raise UserError(
            f"The TFDS set in {folder} has no array_record files, which are read without "
            "TensorFlow; where TensorFlow is installed, `tfds convert_format "
            f"--dataset_version_dir={folder} --out_file_format=array_record` adds them."
        ) from None
    except Exception as error:
        raise UserError(
            f"The split {split} of the TFDS set in {folder} cannot be read: {reason(error)}."
        ) from None
    lock = threading.Lock()

    def read(position: int) -> LabelledImage:
        try:
            with lock:
                record: dict[str, Any] = records[position]
        except Exception as error:  # a damaged record
            raise UnreadableImage(f"the record is damaged ({reason(error)})") from None
        content = record[image]
        if not isinstance(content, (bytes, np.ndarray)):
            raise UnreadableImage(f"the record holds {type(content).__name__}, no image's bytes")
        return LabelledImage(f"{split} record {position}", int(record[label]), content)

    return LabelledImages(
        kind=f"TFDS set {builder.info.full_name}",
        location=location,
        classes=tuple(SourceClass(name) for name in features[label].names),
        count=count,
        read=read,
        split=split,
    )


def _find(location: str, data_dir: str | None) -> Path:
    """The folder of the prepared set that is called so."""
    name, _, version = location.removeprefix(PREFIX).partition(":")
    name, _, config = name.strip("/").partition("/")
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    if not name or ".." in (name, config):
        raise UserError(
            f"{location!r} names no TFDS set: give {PREFIX}NAME or {PREFIX}NAME/CONFIG."
        )
    set_folder = root / name
    if config:
        found = _versions(set_folder / config)
    elif not (found := _versions(set_folder)):
        children = set_folder.iterdir() if set_folder.is_dir() else ()
        configs = sorted(child.name for child in children if _versions(child))
        if len(configs) > 1:
            raise UserError(
                f"{set_folder} holds {len(configs)} configs: give {PREFIX}{name}/CONFIG, "
                f"one of {', '.join(configs)}."
            )
        found = _versions(set_folder / configs[0]) if configs else {}
    if version and found and version not in found:
        raise UserError(nearest(version, found, kind=f"prepared version of {name}"))
    if not found:
        raise _not_prepared(name, config, root)
    return found[version or max(found, key=lambda text: [int(part) for part in text.split(".")])]


def _versions(folder: Path) -> dict[str, Path]:
    """The prepared versions in a folder, by their number."""
    paths = [path.parent for path in folder.glob(f"*/{_INFO}")]
    return {path.name: path for path in paths if re.fullmatch(r"\d+\.\d+\.\d+", path.name)}


def _not_prepared(name: str, config: str, root: Path) -> UserError:
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    if name not in known:
        return UserError(f"{nearest(name, known, kind='TFDS set')} None is prepared in {root}.")
    full = f"{name}/{config}" if config else name
    return UserError(
        f"The TFDS set {full} is not prepared in {root}. Preparing it needs TensorFlow, reading it "
        "does not: in any environment with `pip install tensorflow tensorflow-datasets`, run "
        f"`tfds build {full} --file_format=array_record --data_dir={root}`."
    )


def _only(features: dict[str, Any], kind: type, folder: Path) -> str:
    """The name of the only feature of a kind."""
    names = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(names) != 1:
        raise UserError(
            f"The TFDS set in {folder} has {len(names)} features of the kind {kind.__name__}, "
            f"not 1; its features: {', '.join(sorted(features))}."
        )
    return names[0]
