"""Between PyTorch's layouts of parameters and ours.

| parameter | PyTorch | here |
| --- | --- | --- |
| convolution | [out, in, h, w] | [h, w, in, out] |
| dense | [out, in] | [in, out] |
| dense after flattening | in = (c, h, w) | in = (h, w, c) |
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["from_torch_layout", "from_torch_shape", "to_torch_layout", "to_torch_shape"]

_CONVOLUTION = (2, 3, 1, 0)
_TORCH_CONVOLUTION = (3, 2, 0, 1)


def from_torch_layout(
    params: Mapping[str, np.ndarray], *, flattened: Mapping[str, tuple[int, int]]
) -> dict[str, np.ndarray]:
    """Parameters as float arrays in our layout.

    Args:
      params: by PyTorch's names, in PyTorch's layout.
      flattened: for each dense weight that follows a flattening, (channels, grid) of what is
        flattened: [channels, grid, grid] there, [grid, grid, channels] here.
    """
    converted = {}
    for name, value in params.items():
        if value.ndim == 4:
            value = value.transpose(_CONVOLUTION)
        elif value.ndim == 2:
            value = value.T
            channels, grid = flattened.get(name, (1, 1))
            # Weights of another network keep their shape: `merge` reports it.
            if name in flattened and len(value) == channels * grid * grid:
                value = value.reshape(channels, grid, grid, -1).transpose(1, 2, 0, 3)
                value = value.reshape(channels * grid * grid, -1)
        converted[name] = np.ascontiguousarray(value)
    return converted


def from_torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in our layout of a parameter of this shape in PyTorch's."""
    if len(shape) == 4:
        return tuple(shape[axis] for axis in _CONVOLUTION)
    return shape[::-1] if len(shape) == 2 else shape


def to_torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The inverse of `from_torch_shape`."""
    if len(shape) == 4:
        return tuple(shape[axis] for axis in _TORCH_CONVOLUTION)
    return shape[::-1] if len(shape) == 2 else shape


def to_torch_layout(
    params: Mapping[str, np.ndarray], *, flattened: Mapping[str, tuple[int, int]]
) -> dict[str, np.ndarray]:
    """The inverse of `from_torch_layout`."""
    converted = {}
    for name, value in params.items():
        value = np.asarray(value)
        if value.ndim == 4:
            value = value.transpose(_TORCH_CONVOLUTION)
        elif value.ndim == 2:
            if name in flattened:
                channels, grid = flattened[name]
                value = value.reshape(grid, grid, channels, -1).transpose(2, 0, 1, 3)
                value = value.reshape(channels * grid * grid, -1)
            value = value.T
        converted[name] = np.ascontiguousarray(value)
    return converted
