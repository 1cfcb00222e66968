"""A folder of images for each texture, as the Describable Textures Dataset has them (Cimpoi et al.
2014): labels of whole images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxinterp.data.concepts.concept_set import Concept, ConceptSample, ConceptSet
from jaxinterp.data.concepts.file_tree import FileTree, open_tree
from jaxinterp.errors import UserError

__all__ = ["holds_textures", "read_textures"]


def holds_textures(tree: FileTree) -> bool:
    """Whether there are folders with images."""
    return any("/" in name for name in tree.images())


def read_textures(location: str | Path | FileTree, *, category: str = "texture") -> ConceptSet:
    """The set in a folder or an uncompressed tar archive.

    Each folder in it is a concept, and holds for the whole of every image in it or below it. A
    folder `images` around them is looked through. Images beside the folders are noted.

    Args:
      location: the folder or archive.
      category: of its concepts.

    Raises:
      UserError: there are no folders with images.
    """
    tree = location if isinstance(location, FileTree) else open_tree(location)
    images = tree.images()
    # The archive of DTD has its folders in images/, beside others without images.
    inner = "images/" if images and all(name.startswith("images/") for name in images) else ""
    parted = [name.removeprefix(inner).partition("/") for name in images]
    files = [(inner + "/".join((top, below)), top) for top, _, below in parted if below]
    if not files:
        raise UserError(f"No images are in the folders of {tree.location}.")
    names = tuple(dict.fromkeys(top for _, top in files))
    index = {name: position for position, name in enumerate(names)}
    loose = len(images) - len(files)

    def read(position: int) -> ConceptSample:
        name, texture = files[position]
        planes: dict[str, np.ndarray] = {}
        return ConceptSample(
            name.removeprefix(inner), tree.pixels(name), planes, whole=(index[texture],)
        )

    return ConceptSet(
        kind="texture folders",
        location=tree.location,
        concepts=tuple(Concept(name, category) for name in names),
        holds=(frozenset((category,)),) * len(files),
        read=read,
        notes=(f"{loose} images lie beside the folders: passed over.",) if loose else (),
    )
