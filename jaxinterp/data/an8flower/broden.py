"""an8Flower in the layout of Broden, the concept set of Network Dissection (Bau et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxinterp.data.an8flower.classes import (
    COLOUR_NAMES,
    PARTS,
    check_size,
    check_variant,
    check_whole,
)
from jaxinterp.data.an8flower.files import new_folder, png, split_size, write_csv
from jaxinterp.data.an8flower.render import paint, render

__all__ = ["CATEGORIES", "write_broden"]

CATEGORIES: dict[str, tuple[str, ...]] = {
    # Broden tells "orange-c" from the fruit.
    "color": tuple(f"{name}-c" for name in COLOUR_NAMES),
    "object": ("flower",),
    "part": PARTS[1:],
}
"""The concepts of each category, in the order of their numbers, which go on from 1."""

_FIRST = {
    category: 1 + sum(len(names) for names in list(CATEGORIES.values())[:place])
    for place, category in enumerate(CATEGORIES)
}


def write_broden(
    path: str | Path,
    variant: str,
    count: int,
    *,
    size: int = 64,
    seed: int = 0,
    test_share: float = 0.2,
    advanced: Callable[[int], None] = lambda done: None,
) -> None:
    """Writes pictures 0 to `count - 1` as a concept set.

    `index.csv`, `category.csv`, `label.csv`, `c_color.csv`, `c_object.csv`, `c_part.csv` and
    `images/`, as in Broden: masks of half the side whose value R + 256 G is the number of a label,
    0 where there is none. A mask's pixel has the label at its own centre: it is drawn, not reduced.
    Every pixel has a colour, the one that was painted. The splits are Broden's "train" and "val".
    Pictures are PNG, not JPEG.

    Args:
      path, variant, count, size, seed, test_share, advanced: as for `write_folders`.

    Raises:
      UserError: as `write_folders` does.
    """
    check_variant(variant)
    size, seed = check_size(size), check_whole(seed, "seed")
    count = check_whole(count, "number of images", least=1)
    train = split_size(count, test_share)
    root = new_folder(path)
    (root / "images").mkdir()
    side = size // 2
    images = {category: np.zeros(len(names), np.int64) for category, names in CATEGORIES.items()}
    coverage = {category: np.zeros(len(names)) for category, names in CATEGORIES.items()}
    rows = []
    for index in range(count):
        flower = render(variant, index, size=size, seed=seed)
        small = paint(variant, index, side, seed, flower.label)
        name = f"{variant}_{index:06d}"
        (root / "images" / f"{name}.png").write_bytes(png(flower.image))
        parts = small.parts.astype(np.int32)
        files = []
        for category, labels in {
            "color": small.colours.astype(np.int32) + _FIRST["color"],
            "object": np.where(parts > 0, _FIRST["object"], 0),
            "part": np.where(parts > 0, parts + (_FIRST["part"] - 1), 0),
        }.items():
            files.append(f"{name}_{category}.png")
            (root / "images" / files[-1]).write_bytes(png(_coded(labels)))
            first, concepts = _FIRST[category], len(CATEGORIES[category])
            pixels = np.bincount(labels.ravel(), minlength=first + concepts)[first:]
            images[category] += pixels > 0
            coverage[category] += pixels / side**2
        split = "train" if index < train else "val"
        rows.append((f"{name}.png", split, size, size, side, side, *files))
        advanced(index + 1)
    _write_labels(root, count, images, coverage)
    # Last: a folder with an index is complete.
    write_csv(root / "index.csv", ("image", "split", "ih", "iw", "sh", "sw", *CATEGORIES), rows)


def _coded(labels: np.ndarray) -> np.ndarray:
    """Numbers of labels as Broden stores them: uint8 [h, w, 3] with R + 256 G."""
    return np.stack([labels % 256, labels // 256, np.zeros_like(labels)], -1).astype(np.uint8)


def _write_labels(
    root: Path, count: int, images: dict[str, np.ndarray], coverage: dict[str, np.ndarray]
) -> None:
    """The lists of categories and labels, with how many images and how much of them have each."""
    categories, labels = [], []
    for category, names in CATEGORIES.items():
        first = _FIRST[category]
        # Every picture has a flower, its parts and colours.
        categories.append((category, first, first + len(names) - 1, len(names), count))
        own = []
        for place, name in enumerate(names):
            number, frequency = first + place, int(images[category][place])
            share = f"{coverage[category][place]:.6f}"
            labels.append((number, name, f"{category}({frequency})", frequency, share, ""))
            own.append((place + 1, number, name, frequency, share))
        header = ("code", "number", "name", "frequency", "coverage")
        write_csv(root / f"c_{category}.csv", header, own)
    header = ("number", "name", "category", "frequency", "coverage", "syns")
    write_csv(root / "label.csv", header, labels)
    write_csv(root / "category.csv", ("name", "first", "last", "count", "frequency"), categories)
