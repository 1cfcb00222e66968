"""Concept data by the name that a user gives: what kind it is, its content says."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from jaxinterp.data.an8flower.splits import PREFIX as FLOWERS
from jaxinterp.data.concepts.broden import holds_broden, read_broden
from jaxinterp.data.concepts.colours import read_colour_table, with_colours
from jaxinterp.data.concepts.concept_set import LEFT_OUT, ConceptSet
from jaxinterp.data.concepts.file_tree import open_tree
from jaxinterp.data.concepts.flowers import read_flowers
from jaxinterp.data.concepts.segmentation import holds_segmentation, read_segmentation
from jaxinterp.data.concepts.textures import holds_textures, read_textures
from jaxinterp.data.open_image import reason
from jaxinterp.errors import UserError

__all__ = ["read_all_concepts", "read_concepts"]

_KINDS = (
    "the Broden layout (index.csv, category.csv, label.csv, c_NAME.csv, images/), a segmentation "
    "folder (images/, masks/ and labels.csv or objectInfo150.csv), a folder of images for each "
    f"texture, or {FLOWERS}VARIANT"
)


def read_concepts(
    location: str,
    *,
    split: str | None = None,
    categories: Sequence[str] | None = None,
    exclude: Sequence[str] = LEFT_OUT,
    colours: bool = False,
    colour_table: str | None = None,
) -> ConceptSet:
    """Finds out what is at `location`, opens it and selects from it.

    Args:
      location: a folder, an uncompressed tar archive, or "an8flower:VARIANT[:COUNT[:SIZE[:SEED]]]".
      split: the images of one split, if the set has splits.
      categories: the categories to keep; None keeps all but `exclude`.
      exclude: categories to leave out if `categories` is None.
      colours: add the 11 colour names of all pixels as category "color", which is kept whatever
        `categories` says. A set with colours of its own keeps those.
      colour_table: a user's table of colour names (`read_colour_table`).

    Raises:
      UserError: nothing there, nothing that is known, or something broken; a split, a category or
        a table of colours that cannot be had.
    """
    if colour_table is not None and not colours:
        raise UserError("A table of colours is given, but colours are not asked for.")
    found = read_all_concepts(location).in_split(split)
    if colours:
        table = None if colour_table is None else read_colour_table(colour_table)
        if "color" in found.categories:
            note = "The set has colours of its own: none are computed."
            found = dataclasses.replace(found, notes=(*found.notes, note))
        else:
            found = with_colours(found, table)
        if categories is not None and "color" not in categories:
            categories = (*categories, "color")
    return found.select(categories, exclude=exclude)


def read_all_concepts(location: str) -> ConceptSet:
    """Finds out what is at `location` and opens it, with all its images and categories.

    Raises:
      UserError: nothing there, nothing that is known, or something broken.
    """
    if location.startswith(FLOWERS):
        return read_flowers(location)
    path = Path(os.path.expanduser(location))
    # Before anything is walked through: the tables of Broden must not lead out of its folder, not
    # by links either.
    if path.is_dir() and holds_broden(_listed(path)):
        return read_broden(location)
    tree = open_tree(location)
    if holds_broden(tree.names):
        return read_broden(tree)
    if holds_segmentation(tree):
        return read_segmentation(tree)
    if holds_textures(tree):
        return read_textures(tree)
    raise UserError(f"No concept data is recognised in {location}: give {_KINDS}.")


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {reason(error)}.") from None
