"""The layout of Broden, the concept data of Network Dissection (Bau et al. 2017).

    index.csv      image,split,ih,iw,sh,sw and a column for each category, a line for each image
    category.csv   the categories (column name)
    label.csv      the labels (columns number,name), numbered over all categories; 0 is no label
    c_NAME.csv     the labels of a category (columns code,number,name)
    images/        images and masks, named in index.csv by their paths in it

A cell of a category holds masks and numbers, separated by ";". A mask is an RGB image of sw x sh
pixels with the label R + 256 G; a number is a label of the whole image. Labels are numbers of
label.csv in both; the code of c_NAME.csv, which counts within the category, is only checked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxinterp.data.concepts.concept_set import Concept, ConceptSample, ConceptSet
from jaxinterp.data.concepts.file_tree import FileTree, open_tree
from jaxinterp.data.concepts.problems import Problems
from jaxinterp.data.concepts.tables import read_table, whole_number
from jaxinterp.errors import UserError

__all__ = ["holds_broden", "read_broden"]

_TABLES = ("index.csv", "category.csv", "label.csv")
_SIDES = ("ih", "iw", "sh", "sw")
_FIXED = ("image", "split", *_SIDES)
# Broden tells a colour and a scene from an object of the same name by an ending; here the category
# does.
_ENDINGS = {"color": "-c", "scene": "-s"}
_MOST_LABELS = 1 << 16
_MOST_SIDE = 1 << 15
_UNKNOWN, _FOREIGN = -2, -3


@dataclasses.dataclass(frozen=True)
class _Row:
    """A line of index.csv: sides are (height, width); cells of each category that has any."""

    image: str
    split: str
    side: tuple[int, int]
    mask_side: tuple[int, int]
    cells: Mapping[str, tuple[int | str, ...]]


def holds_broden(names: Iterable[str]) -> bool:
    """Whether any of the tables is among some names of files that no other layout has."""
    return any(
        name in ("category.csv", "label.csv") or (name[:2] == "c_" and name.endswith(".csv"))
        for name in names
        if "/" not in name
    )


def read_broden(location: str | Path | FileTree) -> ConceptSet:
    """The set in a folder, or in an uncompressed tar archive.

    Every row of every table is checked here, and that the files it names exist in the folder; what
    is in them is checked when they are read. A label that two categories list is two concepts. The
    endings "-c" of colours and "-s" of scenes are dropped. Pixels with a label that label.csv has
    but their category has not are no concept, and counted in `ConceptSample.ignored`.

    Args:
      location: the folder or archive. Links that lead out of it are refused.

    Raises:
      UserError: a table or the folder `images` is missing, or a table of labels is wrong; as
        `ConceptProblems` for wrong rows of index.csv: no whole number, a label beyond the list, a
        path that leaves the folder, a file that is missing.
    """
    tree = location if isinstance(location, FileTree) else open_tree(location, follow_links=False)
    categories = _categories(tree)
    names = _labels(tree)
    concepts, tables = _concepts(tree, categories, names)
    rows = list(_rows(tree, categories, names))
    if not rows:
        raise UserError(f"index.csv of {tree.location} lists no images.")

    def read(position: int) -> ConceptSample:
        return _read(rows[position], tree, tables)

    return ConceptSet(
        kind="Broden layout",
        location=tree.location,
        concepts=concepts,
        holds=tuple(frozenset(row.cells) for row in rows),
        read=read,
        splits=tuple(row.split for row in rows),
    )


def _categories(tree: FileTree) -> tuple[str, ...]:
    missing = [name for name in _TABLES if tree.problem(name) == "is missing"]
    if not tree.has_folder("images"):
        missing.append("images/")
    if missing:
        raise UserError(
            f"{tree.location} is no complete Broden folder: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing."
        )
    names = [row["name"].strip() for _, row in read_table(tree, "category.csv", columns=["name"])]
    if not names or "" in names or len(set(names)) != len(names):
        raise UserError(f"category.csv of {tree.location} lists no categories, or one twice.")
    missing = [f"c_{name}.csv" for name in names if tree.problem(f"c_{name}.csv")]
    if missing:
        raise UserError(
            f"{tree.location} is no complete Broden folder: {', '.join(missing)} of category.csv "
            f"{'is' if len(missing) == 1 else 'are'} missing."
        )
    return tuple(names)


def _labels(tree: FileTree) -> dict[int, str]:
    """The name of each label."""
    names: dict[int, str] = {}
    for number, name, where in _numbered(tree, "label.csv", ("number", "name")):
        if number in names:
            raise UserError(f"number {number} in {where} is there twice.")
        names[number] = name
    names.pop(0, None)
    if not names:
        raise UserError(f"label.csv of {tree.location} lists no labels.")
    return names


def _numbered(
    tree: FileTree, file: str, columns: tuple[str, ...]
) -> Iterator[tuple[int, str, str]]:
    """Number and name in each row, and where it is; other named columns are checked for numbers."""
    for line, row in read_table(tree, file, columns=columns):
        where = f"line {line} of {file} of {tree.location}"
        for column in columns:
            value = whole_number(row[column])
            if column != "name" and (value is None or value >= _MOST_LABELS):
                raise UserError(
                    f"{column} in {where} is no number from 0 to {_MOST_LABELS - 1}: "
                    f"{row[column]!r}."
                )
        yield int(row["number"]), row["name"].strip(), where


def _concepts(
    tree: FileTree, categories: tuple[str, ...], names: Mapping[int, str]
) -> tuple[tuple[Concept, ...], dict[str, np.ndarray]]:
    """All concepts, and for each category int32 [labels + 1]: the concept of each label.

    -1 for label 0, -2 for numbers that are no label (the last place too), -3 for labels of other
    categories alone.
    """
    concepts: dict[Concept, int] = {}
    tables: dict[str, np.ndarray] = {}
    for category in categories:
        table = np.full(max(names) + 2, _UNKNOWN, np.int32)
        table[list(names)] = _FOREIGN
        table[0] = -1
        file = f"c_{category}.csv"
        for number, name, where in _numbered(tree, file, ("code", "number", "name")):
            if number == 0:
                continue
            if names.get(number) != name:
                held = f"calls it {names[number]!r}" if number in names else "does not have it"
                raise UserError(f"number {number} in {where} is {name!r}, but label.csv {held}.")
            concept = Concept(name.removesuffix(_ENDINGS.get(category, "")), category)
            if concept in concepts:
                raise UserError(f"{name!r} in {where} is there twice.")
            table[number] = concepts[concept] = len(concepts)
        tables[category] = table
    if not concepts:
        raise UserError(f"The tables of {tree.location} list no concepts.")
    return tuple(concepts), tables


def _rows(tree: FileTree, categories: tuple[str, ...], names: Mapping[int, str]) -> Iterator[_Row]:
    """The lines of index.csv.

    Raises:
      ConceptProblems: after the last line, with all that is wrong.
    """
    table = read_table(tree, "index.csv", columns=(*_FIXED, *categories))
    strange = [name for name in (table[0][1] if table else ()) if name not in categories]
    strange = [name for name in strange if name not in _FIXED]
    if strange:
        raise UserError(
            f"index.csv of {tree.location} has the column {strange[0]!r}, which is no category of "
            f"category.csv: {', '.join(categories)}."
        )
    problems = Problems()
    for line, row in table:
        where = f"line {line} of index.csv of {tree.location}"
        sides = [whole_number(row[name]) for name in _SIDES]
        for name, side in zip(_SIDES, sides, strict=True):
            if side is None or not 0 < side < _MOST_SIDE:
                problems.add(f"{name} in {where} is no number of pixels: {row[name]!r}.")
        _check_file(row["image"], "image", where, tree, problems)
        cells = {}
        for category in categories:
            parts = tuple(_cells(row[category], category, where, tree, names, problems))
            if parts:
                cells[category] = parts
        ih, iw, sh, sw = (side or 1 for side in sides)
        yield _Row(row["image"], row["split"], (ih, iw), (sh, sw), cells)
    problems.raise_any()


def _cells(
    text: str,
    category: str,
    where: str,
    tree: FileTree,
    names: Mapping[int, str],
    problems: Problems,
) -> Iterator[int | str]:
    """What a cell of a category holds: labels of the whole image and paths of masks."""
    for part in text.split(";"):
        part = part.strip()
        number = whole_number(part)
        if not part or number == 0:
            continue
        if number is None:
            _check_file(part, category, where, tree, problems)
            yield part
        elif number in names:
            yield number
        else:
            problems.add(
                f"{category} in {where} is the label {number}, which label.csv does not have."
            )


def _check_file(name: str, column: str, where: str, tree: FileTree, problems: Problems) -> None:
    if "images/" + name in tree.names:
        return
    # "a/../../b" must not be taken for a path below images/.
    problem = tree.problem(name) if ".." in name or name[:1] == "/" else None
    problem = problem or tree.problem("images/" + name) or "is no plain path"
    problems.add(f"{column} in {where} is the file {name!r}, which {problem}.")


def _read(row: _Row, tree: FileTree, tables: Mapping[str, np.ndarray]) -> ConceptSample:
    image = tree.pixels("images/" + row.image)
    if image.shape[:2] != row.side:
        raise UserError(_wrong_size(row.image, image, row.side, "ih and iw", tree))
    planes: dict[str, np.ndarray] = {}
    whole: dict[int, None] = {}
    ignored = 0
    for category, cells in row.cells.items():
        table = tables[category]
        layers = []
        for cell in cells:
            if isinstance(cell, int):
                if table[cell] >= 0:
                    whole[int(table[cell])] = None
                else:
                    ignored += row.mask_side[0] * row.mask_side[1]
                continue
            labels = _mask(cell, row, tree)
            layer = table[np.minimum(labels, len(table) - 1)]
            if layer.min() < -1:
                unknown = labels[layer == _UNKNOWN]
                if unknown.size:
                    raise UserError(
                        f"{cell} of {tree.location} has the label {unknown[0]}, which is beyond "
                        f"the list: label.csv does not have it."
                    )
                ignored += int((layer == _FOREIGN).sum())
                layer = np.maximum(layer, -1)
            layers.append(layer)
        if layers:
            planes[category] = np.stack(layers)
    return ConceptSample(row.image, image, planes, tuple(whole), ignored=ignored)


def _mask(name: str, row: _Row, tree: FileTree) -> np.ndarray:
    """int32 [sh, sw] of numbers of labels."""
    pixels = tree.pixels("images/" + name, indexed=True)
    if pixels.ndim != 3 or pixels.shape[2] < 3 or pixels.dtype != np.uint8:
        raise UserError(f"{name} of {tree.location} is no RGB image, as masks are in Broden.")
    if pixels.shape[:2] != row.mask_side:
        raise UserError(_wrong_size(name, pixels, row.mask_side, "sh and sw", tree))
    # Widened first: in 8 bits 256 G is 0, or an error.
    return pixels[..., 0].astype(np.int32) + 256 * pixels[..., 1].astype(np.int32)


def _wrong_size(
    name: str, pixels: np.ndarray, side: tuple[int, int], columns: str, tree: FileTree
) -> str:
    return (
        f"{name} of {tree.location} is {pixels.shape[1]} x {pixels.shape[0]} pixels, but {columns} "
        f"in index.csv say {side[1]} x {side[0]}."
    )
