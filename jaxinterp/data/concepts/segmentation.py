"""Plain segmentation folders: an image, and a mask of the same size with a number at each pixel.

    images/NAME.jpg     any image format, in folders of any depth
    masks/NAME.png      one value a pixel, 8 or 16 bits; of a palette the index counts
    labels.csv          columns index,name: what the numbers mean
    index.csv           optional, columns name and split: which images, and of which split

Instead of labels.csv, ADE20K's objectInfo150.csv (columns Idx and Name) will do: numbers from 1,
and 0 for all else.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from jaxinterp.data.concepts.concept_set import Concept, ConceptSample, ConceptSet
from jaxinterp.data.concepts.file_tree import FileTree, open_tree
from jaxinterp.data.concepts.problems import Problems
from jaxinterp.data.concepts.tables import read_table, whole_number
from jaxinterp.errors import UserError, nearest

__all__ = ["holds_segmentation", "read_segmentation"]

# What data sets call pixels that nobody has labelled.
_NOTHING = frozenset(("unlabelled", "unlabeled", "void", "ignore", "-", ""))
# Masks of 8 bits mark pixels to ignore by their largest value, whether the list has it or not.
_IGNORED = 255
_ADE_TABLE = "objectInfo150.csv"
# ADE20K's table writes ";" for the blanks in a name as well as between names. These are the names
# of several words that come first in a row.
_ADE_PHRASES = (
    *("arcade machine", "bulletin board", "chest of drawers", "coffee table", "conveyer belt"),
    *("crt screen", "dirt track", "kitchen island", "pool table", "screen door"),
    *("swimming pool", "swivel chair", "trade name", "traffic light"),
)


def holds_segmentation(tree: FileTree) -> bool:
    """Whether there are masks, or images and a list of labels beside them."""
    return tree.has_folder("masks") or (
        tree.has_folder("images") and ("labels.csv" in tree.names or _ADE_TABLE in tree.names)
    )


def read_segmentation(location: str | Path | FileTree, *, category: str = "object") -> ConceptSet:
    """The set in a folder or an uncompressed tar archive.

    Numbers named "void", "unlabelled", "ignore" or "-" are no concepts, nor is 255 where the list
    does not have it. Two numbers with one name are one concept. An image with no mask is an error;
    a mask with no image is noted.

    Args:
      location: the folder or archive.
      category: of all its concepts.

    Raises:
      UserError: a table is missing or wrong, or there are no pairs of image and mask; as
        `ConceptProblems` if images are concerned.
    """
    tree = location if isinstance(location, FileTree) else open_tree(location)
    names = _labels(tree)
    concepts = tuple(dict.fromkeys(Concept(name, category) for name in names.values() if name))
    if not concepts:
        raise UserError(f"The list of labels of {tree.location} names no concept.")
    table = _lookup(names, concepts, category)
    pairs, splits, notes = _pairs(tree)

    def read(position: int) -> ConceptSample:
        image_name, mask_name = pairs[position]
        image = tree.pixels(image_name)
        mask = tree.pixels(mask_name, indexed=True)
        _check_mask(image, mask, image_name, mask_name, tree)
        mask = mask.astype(np.int32, copy=False)
        plane = table[np.clip(mask, -1, len(table) - 1)]
        if plane.min() < -1:
            wrong = int(mask[plane < -1][0])
            raise UserError(
                f"{mask_name} of {tree.location} has the label {wrong}, which is beyond its list "
                f"({min(names)} to {max(names)})."
            )
        return ConceptSample(image_name.removeprefix("images/"), image, {category: plane[None]})

    return ConceptSet(
        kind="segmentation folder",
        location=tree.location,
        concepts=concepts,
        holds=(frozenset((category,)),) * len(pairs),
        read=read,
        splits=splits,
        notes=notes,
    )


def _lookup(names: dict[int, str], concepts: tuple[Concept, ...], category: str) -> np.ndarray:
    """int32 [numbers + 1]: the concept of each number, -1 for none; -2, also last, for unknown."""
    index = {concept: position for position, concept in enumerate(concepts)}
    table = np.full(max(*names, _IGNORED) + 2, -2, np.int32)
    table[_IGNORED] = -1
    for number, name in names.items():
        table[number] = index[Concept(name, category)] if name else -1
    return table


def _labels(tree: FileTree) -> dict[int, str]:
    """The name of each number; "" for those that are no concepts."""
    if "labels.csv" in tree.names:
        file, number, word = "labels.csv", "index", "name"
    elif _ADE_TABLE in tree.names:
        file, number, word = _ADE_TABLE, "Idx", "Name"
    else:
        raise UserError(
            f"{tree.location} has masks, but neither labels.csv (columns index,name) nor "
            f"{_ADE_TABLE} says what their numbers mean."
        )
    names: dict[int, str] = {} if file == "labels.csv" else {0: ""}
    for line, row in read_table(tree, file, columns=(number, word)):
        where = f"line {line} of {file} of {tree.location}"
        index = whole_number(row[number])
        if index is None or index >= 1 << 16:
            raise UserError(f"{number} in {where} is no number from 0 to 65535: {row[number]!r}.")
        name = row[word].strip() if file == "labels.csv" else _ade_name(row[word])
        if index in names and names[index] != name:
            raise UserError(f"{number} {index} in {where} has a name already: {names[index]!r}.")
        names[index] = "" if name.casefold() in _NOTHING else name
    if not names:
        raise UserError(f"{file} of {tree.location} lists no labels.")
    return names


def _ade_name(synonyms: str) -> str:
    """The first name in a row of ADE20K's table."""
    for phrase in _ADE_PHRASES:
        if (synonyms + ";").startswith(phrase.replace(" ", ";") + ";"):
            return phrase
    return synonyms.split(";")[0].strip()


def _pairs(
    tree: FileTree,
) -> tuple[list[tuple[str, str]], tuple[str, ...] | None, tuple[str, ...]]:
    """Image and mask of each image, its split, and notes."""
    images = _by_stem(tree, "images/")
    masks = _by_stem(tree, "masks/")
    if not images:
        raise UserError(f"No images are in the folder images of {tree.location}.")
    problems, notes = Problems(), []
    listed, splits = list(images), None
    if "index.csv" in tree.names:
        rows = read_table(tree, "index.csv", columns=("name",))
        listed = [row["name"] for _, row in rows]
        if not listed:
            raise UserError(f"index.csv of {tree.location} lists no images.")
        if rows[0][1].get("split") is not None:
            splits = tuple(row["split"] for _, row in rows)
        for line, row in rows:
            if row["name"] not in images:
                near = nearest(row["name"], images, kind="image")
                problems.add(f"Line {line} of index.csv of {tree.location}: {near}")
        unlisted = len(set(images) - set(listed))
        if unlisted:
            notes.append(f"{unlisted} images are not in index.csv: left out.")
    for stem in listed:
        if stem in images and stem not in masks:
            problems.add(f"The image {images[stem]} of {tree.location} has no mask in masks/.")
    problems.raise_any()
    lonely = len(set(masks) - set(images))
    if lonely:
        notes.append(f"{lonely} masks have no image: passed over.")
    return [(images[stem], masks[stem]) for stem in listed], splits, tuple(notes)


def _by_stem(tree: FileTree, folder: str) -> dict[str, str]:
    """Files below a folder by their path in it without extension."""
    found: dict[str, str] = {}
    for name in tree.images(folder):
        stem = os.path.splitext(name.removeprefix(folder))[0]
        if stem in found:
            raise UserError(f"{found[stem]} and {name} of {tree.location} have the same name.")
        found[stem] = name
    return found


def _check_mask(
    image: np.ndarray, mask: np.ndarray, image_name: str, mask_name: str, tree: FileTree
) -> None:
    if mask.ndim != 2 or mask.dtype.kind not in "bui":
        raise UserError(
            f"{mask_name} of {tree.location} is a colour image: a mask has one number a pixel."
        )
    if mask.shape != image.shape[:2]:
        size, own = (f"{shape[1]} x {shape[0]}" for shape in (image.shape, mask.shape))
        raise UserError(
            f"{mask_name} of {tree.location} is {own} pixels, but the image {image_name} is {size}."
        )
