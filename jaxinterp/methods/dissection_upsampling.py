"""How the maps of a layer are brought to the masks' resolution, in the three ways in use.

All are bilinear and act on rows and columns apart, so each is a pair of matrices: S = R A C^T. The
entries of every row are at least 0 and sum to 1: no value of S lies above the largest of A.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import numpy as np

from jaxinterp.errors import UserError, nearest
from jaxinterp.methods.upsampling import bilinear_matrix
from jaxinterp.models.layer_table import Layer, PerAxis

__all__ = ["Mode", "Upsampling", "check_mode", "upsampling"]

Mode: TypeAlias = Literal["paper", "v1", "lite"]
"""Which publication is followed; docs/dissection.md lists the differences."""


@dataclasses.dataclass(frozen=True, eq=False)
class Upsampling:
    """A linear map from a layer's maps to the masks' grid.

    Attributes:
      rows: float32 [grid height, map height].
      columns: float32 [grid width, map width].
    """

    rows: np.ndarray
    columns: np.ndarray

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal upsamplings."""
        return (*self.rows.shape, self.rows.tobytes(), *self.columns.shape, self.columns.tobytes())


def check_mode(mode: str) -> None:
    """Raises `UserError` for an unknown mode."""
    if mode not in get_args(Mode):
        raise UserError(nearest(mode, get_args(Mode), kind="mode"))


def upsampling(
    mode: Mode,
    map_shape: tuple[int, int],
    grid: tuple[int, int],
    *,
    layer: Layer | None = None,
    image: tuple[int, int] | None = None,
) -> Upsampling:
    """The upsampling of one layer.

    Args:
      mode: "paper" interpolates between the centres of the map's cells, spread evenly over the
        image (PyTorch's `interpolate(mode="bilinear", align_corners=False)`). "lite" does the same,
        and averages where the map is the larger one (Pillow's bilinear `resize`, which
        NetDissect-Lite calls). "v1" puts each unit where the centre of its receptive field lies
        (`upsampleL` of NetDissect) and interpolates between these places; outside them the nearest
        row or column is repeated.
      map_shape: (height, width) of the layer's maps.
      grid: (height, width) of the masks.
      layer: its row of the layer table; "v1" needs it.
      image: (height, width) of the network's input; "v1" needs it.

    Raises:
      UserError: an unknown mode; "v1" for a layer of which the table does not say what its units
        see, without a layer or an image, or with a grid that does not divide the image.
    """
    check_mode(mode)
    if mode != "v1":
        make = bilinear_matrix if mode == "paper" else _averaging
        return _both(lambda axis: make(map_shape[axis], grid[axis]))
    if layer is None or image is None:
        raise UserError('The mode "v1" needs the row of the layer table and the size of the image.')
    fields = (layer.stride, layer.receptive_field, layer.padding)
    if any(field is None for field in fields):
        raise UserError(
            f'The mode "v1" places the units of {layer.name} by their receptive fields, which the '
            'layer table does not know; the modes "paper" and "lite" do without.'
        )
    # NetDissect takes one reduction for both axes, from the widths.
    reduction = image[1] // grid[1]
    if reduction < 1 or any(image[axis] != reduction * grid[axis] for axis in (0, 1)):
        raise UserError(
            f'The mode "v1" needs masks whose size divides that of the images, and '
            f"{grid[0]} x {grid[1]} does not divide {image[0]} x {image[1]}."
        )

    def along(axis: int) -> np.ndarray:
        stride, field, padding = (_of_axis(one, axis) for one in fields if one is not None)
        return _by_fields(map_shape[axis], grid[axis], stride, field, padding, reduction)

    return _both(along)


def _both(along: Callable[[int], np.ndarray]) -> Upsampling:
    return Upsampling(*(along(axis).astype(np.float32) for axis in (0, 1)))


def _of_axis(number: PerAxis, axis: int) -> int:
    return number[axis] if isinstance(number, tuple) else number


def _interpolation(places: np.ndarray, size: int) -> np.ndarray:
    """[places, size]: linear interpolation at places in [0, size - 1]; others are moved there."""
    places = np.clip(places, 0, size - 1)
    lower = np.floor(places).astype(int)
    upper = np.minimum(lower + 1, size - 1)
    matrix = np.zeros((len(places), size))
    rows = np.arange(len(places))
    matrix[rows, lower] += 1 - (places - lower)
    matrix[rows, upper] += places - lower
    return matrix


def _averaging(size: int, grid: int) -> np.ndarray:
    """As `bilinear_matrix`; a larger map is weighed by a triangle as wide as two mask pixels."""
    scale = size / grid
    if scale <= 1:
        return bilinear_matrix(size, grid)
    centres = (np.arange(grid) + 0.5) * scale
    distance = np.arange(size) + 0.5 - centres[:, None]
    weights = np.maximum(1 - np.abs(distance) / scale, 0)
    return weights / weights.sum(1, keepdims=True)


def _by_fields(
    size: int, grid: int, stride: int, field: int, padding: int, reduction: int
) -> np.ndarray:
    """NetDissect's: unit i lies at (field // 2 - padding) // reduction + i (stride // reduction).

    Where the masks are coarser than the units (stride < reduction) NetDissect fails; here the
    stride is then the fraction that it is.
    """
    first = (field // 2 - padding) // reduction
    step = stride // reduction if stride >= reduction else stride / reduction
    return _interpolation((np.arange(grid) - first) / step, size)
