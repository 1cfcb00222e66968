"""What the layouts have in common: a new folder, and images as PNG."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jaxinterp.data.open_image import reason
from jaxinterp.errors import UserError

__all__ = ["folder_name", "new_folder", "png", "split_size", "write_csv"]


def new_folder(path: str | Path) -> Path:
    """Makes a folder, or takes one that is there and empty.

    Raises:
      UserError: something is there already, or the folder cannot be made.
    """
    folder = Path(os.path.expanduser(path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"{path} is not empty: name a folder that is new or empty.")
    except FileExistsError:
        raise UserError(f"{path} is a file: name a folder that is new or empty.") from None
    except OSError as error:
        raise UserError(f"The folder {path} cannot be made: {reason(error)}.") from None
    return folder


def folder_name(class_name: str) -> str:
    """The folder of a class: its name without blanks."""
    return class_name.replace(" ", "_")


def split_size(count: int, test_share: float) -> int:
    """How many of `count` images are for training: the first ones.

    Raises:
      UserError: `test_share` is no fraction.
    """
    if not 0 <= test_share <= 1:
        raise UserError(f"The share of test images must be from 0 to 1, got {test_share}.")
    return count - round(count * test_share)


def png(pixels: np.ndarray, palette: Sequence[Sequence[int]] | None = None) -> bytes:
    """A PNG file.

    Args:
      pixels: uint8 [h, w, 3] or [h, w].
      palette: the colours in which a viewer shows the values of [h, w]; they stay what is stored.
    """
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette([value for colour in palette for value in colour])
    content = io.BytesIO()
    # A third of the time of the default level, files larger by a tenth.
    image.save(content, "PNG", compress_level=3)
    return content.getvalue()


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A CSV file with a header, in UTF-8."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
