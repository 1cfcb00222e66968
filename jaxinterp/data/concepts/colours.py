"""The 11 basic colour names of pixels, `an8flower.COLOUR_NAMES`.

Network Dissection labels every pixel with one of the 11 basic colour terms of English (Berlin and
Kay 1969), by the most probable name of its colour after van de Weijer et al., *Learning Color Names
for Real-World Applications* (2009). Their table is not free to ship. Without it, a pixel's name is
that of the nearest of 11 prototypes in CIELAB; with the user's own copy of the table
(`read_colour_table`) it is theirs, exactly.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxinterp.data.an8flower.classes import COLOUR_NAMES
from jaxinterp.data.concepts.concept_set import Concept, ConceptSample, ConceptSet
from jaxinterp.data.open_image import reason
from jaxinterp.errors import UserError, nearest
from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.mat_file import read_mat
from jaxinterp.weights.formats.unreadable import Unreadable

__all__ = [
    "PROTOTYPES",
    "colour_table",
    "name_colours",
    "read_colour_table",
    "srgb_to_lab",
    "with_colours",
]

# The focal colours that speakers pick are those of paint, not the corners of the RGB cube: pure
# blue (0, 0, 255) is nearest to hardly any blue in a photograph. Black and white are what ink and
# paper give. Chosen by eye; docs/concepts.md says how far they agree with van de Weijer's table.
PROTOTYPES: dict[str, tuple[int, int, int]] = {
    "black": (30, 30, 30),
    "blue": (45, 106, 169),
    "brown": (106, 63, 14),
    "grey": (128, 128, 128),
    "green": (45, 139, 74),
    "orange": (220, 122, 0),
    "pink": (232, 154, 165),
    "purple": (127, 63, 149),
    "red": (183, 33, 59),
    "white": (242, 242, 242),
    "yellow": (226, 196, 0),
}
"""sRGB, 0 to 255, of the best example of each name."""

_CATEGORY = "color"  # as Broden writes it
_BINS = 32
_WIDTH = 256 // _BINS

# IEC 61966-2-1: linear sRGB to XYZ, and the white of its illuminant D65, which is the row sums.
_TO_XYZ = np.array(
    [
        [0.4123907992659595, 0.357584339383878, 0.1804807884018343],
        [0.21263900587151027, 0.715168678767756, 0.07219231536073371],
        [0.01933081871559182, 0.11919477979462598, 0.9505321522496607],
    ]
)


def srgb_to_lab(colours: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB colours, with the white of D65.

    Args:
      colours: [..., 3], 0 to 255.

    Returns:
      float64 [..., 3]: L* from 0 to 100, a*, b*.
    """
    scaled = np.asarray(colours, np.float64) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T / _TO_XYZ.sum(1)
    knee = 6 / 29
    root = np.where(ratio > knee**3, np.cbrt(ratio), ratio / (3 * knee**2) + 4 / 29)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@functools.cache
def colour_table() -> np.ndarray:
    """The index into `COLOUR_NAMES` of the prototype nearest in CIELAB to the centre of each bin.

    Returns:
      int32 [32, 32, 32], read-only, indexed [R // 8, G // 8, B // 8]. Distances are Euclidean
      (CIE 1976); of equal ones the name that comes first is taken.
    """
    centres = np.arange(_BINS) * _WIDTH + (_WIDTH - 1) / 2
    grid = np.stack(np.meshgrid(centres, centres, centres, indexing="ij"), axis=-1)
    prototypes = srgb_to_lab(np.array([PROTOTYPES[name] for name in COLOUR_NAMES]))
    distances = ((srgb_to_lab(grid)[..., None, :] - prototypes) ** 2).sum(-1)
    table = distances.argmin(-1).astype(np.int32)
    table.flags.writeable = False
    return table


def name_colours(image: np.ndarray, table: np.ndarray | None = None) -> np.ndarray:
    """The colour of each pixel: int32 [...], what the table holds for it.

    Args:
      image: uint8 [..., 3], RGB.
      table: int [32, 32, 32]; without it `colour_table()`, so that the values are indices into
        `COLOUR_NAMES`.
    """
    table = colour_table() if table is None else table
    red, green, blue = np.moveaxis(image // _WIDTH, -1, 0)
    return table[red, green, blue]


def read_colour_table(location: str | Path) -> np.ndarray:
    """A user's table of colour names.

    Args:
      location: an .npy file with the index of the name, [32, 32, 32], indexed
        [R // 8, G // 8, B // 8] (Network Dissection's w2color.npy); or an .npz or MATLAB file
        with van de Weijer's probabilities `w2c`, [32768, 11], in the row
        R // 8 + 32 (G // 8) + 1024 (B // 8). An array `names` in an .npz, if there is one, must be
        `COLOUR_NAMES`.

    Returns:
      int32 [32, 32, 32] of indices into `COLOUR_NAMES`.

    Raises:
      UserError: no such file, or something else in it.
    """
    path = Path(os.path.expanduser(location))
    if not path.is_file():
        near = [str(other) for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(nearest(str(path), sorted(near), kind="table of colours"))
    try:
        with path.open("rb") as file:
            return _read_matlab(path) if path.suffix == ".mat" else _read_numpy(file, path)
    except UserError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, Unreadable) as error:
        raise UserError(f"{path} is no table of colours: {reason(error)}.") from None


def with_colours(concept_set: ConceptSet, table: np.ndarray | None = None) -> ConceptSet:
    """The set with the 11 colour names as concepts of the category "color", for all its images.

    The labels are not in `ConceptSample.planes`: they are computed from the pixels at the size that
    they are wanted in (`concept_batches`), so that resizing the image does not contradict them.

    Args:
      concept_set: any; its concepts keep their indices.
      table: int32 [32, 32, 32] of indices into `COLOUR_NAMES`; without it `colour_table()`.

    Raises:
      UserError: the set has colours already.
    """
    if _CATEGORY in concept_set.categories:
        raise UserError(f"{concept_set.location} has concepts of the category color already.")
    first = len(concept_set.concepts)
    bins = (colour_table() if table is None else table) + np.int32(first)
    read = concept_set.read

    def read_with_colours(position: int) -> ConceptSample:
        return dataclasses.replace(read(position), colour_bins=bins)

    colours = tuple(Concept(name, _CATEGORY) for name in COLOUR_NAMES)
    return dataclasses.replace(
        concept_set,
        concepts=concept_set.concepts + colours,
        holds=tuple(held | {_CATEGORY} for held in concept_set.holds),
        read=read_with_colours,
    )


def _read_numpy(file: BinaryIO, path: Path) -> np.ndarray:
    content = np.load(file, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return _checked_names(content, path)
    with content:
        if "names" in content and tuple(map(str, content["names"])) != COLOUR_NAMES:
            raise UserError(f"The names in {path} are not {', '.join(COLOUR_NAMES)}.")
        return _most_probable(content, path)


def _read_matlab(path: Path) -> np.ndarray:
    content = np.frombuffer(path.read_bytes(), np.uint8)
    return _most_probable(read_mat(content, Allowance(len(content))), path)


def _checked_names(table: np.ndarray, path: Path) -> np.ndarray:
    if table.shape != (_BINS,) * 3 or table.dtype.kind not in "ui":
        raise UserError(
            f"{path} holds {table.dtype} {list(table.shape)}, not whole numbers [32, 32, 32]."
        )
    if table.min() < 0 or table.max() >= len(COLOUR_NAMES):
        raise UserError(f"{path} holds numbers that are no indices of the 11 names, from 0 to 10.")
    return table.astype(np.int32)


def _most_probable(content: Mapping[str, Any], path: Path) -> np.ndarray:
    if "w2c" not in content:
        held = ", ".join(content) or "nothing"
        raise UserError(f"{path} holds no array w2c, but {held}.")
    probabilities = np.asarray(content["w2c"])
    if probabilities.shape != (_BINS**3, len(COLOUR_NAMES)) or probabilities.dtype.kind != "f":
        raise UserError(
            f"w2c in {path} is {probabilities.dtype} {list(probabilities.shape)}, not "
            f"floating-point [{_BINS**3}, {len(COLOUR_NAMES)}]."
        )
    if not np.isfinite(probabilities).all():
        raise UserError(f"w2c in {path} has values that are not finite numbers.")
    blue_green_red = probabilities.argmax(1).reshape((_BINS,) * 3)
    return np.ascontiguousarray(blue_green_red.transpose(2, 1, 0)).astype(np.int32)
