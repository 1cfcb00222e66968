"""A folder with a folder of images for each class, as torchvision's `ImageFolder` reads it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jaxinterp.data.labelled import LabelledImage, LabelledImages, SourceClass
from jaxinterp.data.open_image import IMAGE_SUFFIXES, reason
from jaxinterp.errors import UserError

__all__ = ["has_class_folders", "read_class_folders"]


def has_class_folders(folder: Path) -> bool:
    """Whether a folder holds folders with images in or below them."""
    return any(True for child in _folders(folder) for _ in _images(child))


def read_class_folders(folder: Path) -> LabelledImages:
    """The images in and below each folder in `folder`; the classes are in the order of their names.

    Hidden files and files with no image's extension are passed over. A class folder without images
    keeps its place among the classes.

    Raises:
      UserError: a folder that cannot be listed, or not one image.
    """
    try:
        children = list(_folders(folder))
        files = [(path, label) for label, child in enumerate(children) for path in _images(child)]
        loose = sum(_is_image(name) for name in os.listdir(folder) if (folder / name).is_file())
    except OSError as error:
        raise UserError(f"The folder {error.filename} cannot be read: {reason(error)}.") from None
    if not files:
        raise UserError(f"No images are in the folders of {folder}.")
    empty = len(children) - len({label for _, label in files})
    notes = []
    if empty:
        notes.append(f"{empty} of {len(children)} class folders hold no images.")
    if loose:
        notes.append(f"{loose} images lie beside the class folders and have no label: passed over.")

    def read(position: int) -> LabelledImage:
        path, label = files[position]
        return LabelledImage(path.relative_to(folder).as_posix(), label, path)

    return LabelledImages(
        kind="class folders",
        location=str(folder),
        classes=tuple(SourceClass(child.name) for child in children),
        count=len(files),
        read=read,
        notes=tuple(notes),
    )


def _folders(folder: Path) -> Iterator[Path]:
    for name in sorted(os.listdir(folder)):
        if not name.startswith(".") and (folder / name).is_dir():
            yield folder / name


def _images(folder: Path) -> Iterator[Path]:
    """Image files in and below a folder, in a fixed order."""
    inside = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_fail):
        # A link may lead back to where we have been.
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".")
            and os.path.realpath(os.path.join(parent, name)) not in inside
        ]
        inside |= {os.path.realpath(os.path.join(parent, name)) for name in folders}
        yield from (Path(parent, name) for name in sorted(names) if _is_image(name))


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _fail(error: OSError) -> None:
    """`os.walk` would pass over a folder that may not be listed."""
    raise error
