"""an8Flower as folders: a folder of PNG files for each class, and the masks beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxinterp.data.an8flower.classes import (
    CLASS_NAMES,
    COLOUR_NAMES,
    PARTS,
    check_size,
    check_variant,
    check_whole,
)
from jaxinterp.data.an8flower.files import folder_name, new_folder, png, split_size, write_csv
from jaxinterp.data.an8flower.render import render

__all__ = ["write_folders"]

# How a viewer shows the parts: black, magenta, yellow, green, azure.
_PALETTE = ((0, 0, 0), (255, 0, 255), (255, 255, 0), (0, 255, 0), (0, 128, 255))


def write_folders(
    path: str | Path,
    variant: str,
    count: int,
    *,
    size: int = 64,
    seed: int = 0,
    test_share: float = 0.2,
    advanced: Callable[[int], None] = lambda done: None,
) -> None:
    """Writes pictures 0 to `count - 1` and their masks.

        train/CLASS/000000.png                      RGB
        test/CLASS/000480.png
        masks/parts/train/CLASS/000000.png          index into `PARTS`, shown in colours
        masks/discriminative/train/CLASS/000000.png 255 where the class is defined, else 0
        masks/colours/train/CLASS/000000.png        index into `COLOUR_NAMES`
        parts.csv, colours.csv                      index, name
        index.csv                                   file, split, class, label, index, seed

    The first pictures are for training, the last for testing; the classes are balanced in both.
    CLASS is the class's name with "_" for a blank. `train` and `test` are folders of class folders,
    as `jaxinterp evaluate` takes them.

    Args:
      path: a folder that is new or empty.
      variant, size, seed: as for `render`.
      count: how many pictures, 1 or more.
      test_share: the fraction of them that is for testing.
      advanced: called with the number of pictures written after each.

    Raises:
      UserError: as `render` does; the folder is not empty; `count` below 1.
    """
    check_variant(variant)
    size, seed = check_size(size), check_whole(seed, "seed")
    count = check_whole(count, "number of images", least=1)
    train = split_size(count, test_share)
    root = new_folder(path)
    rows = []
    for index in range(count):
        flower = render(variant, index, size=size, seed=seed)
        name = CLASS_NAMES[variant][flower.label]
        split = "train" if index < train else "test"
        file = f"{split}/{folder_name(name)}/{index:06d}.png"
        for place, content in {
            "": png(flower.image),
            "masks/parts/": png(flower.parts, _PALETTE),
            "masks/discriminative/": png(flower.discriminative.astype(np.uint8) * 255),
            "masks/colours/": png(flower.colours),
        }.items():
            target = root / f"{place}{file}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        rows.append((file, split, name, flower.label, index, seed))
        advanced(index + 1)
    write_csv(root / "parts.csv", ("index", "name"), enumerate(PARTS))
    write_csv(root / "colours.csv", ("index", "name"), enumerate(COLOUR_NAMES))
    # Last: a folder with an index is complete.
    write_csv(root / "index.csv", ("file", "split", "class", "label", "index", "seed"), rows)
