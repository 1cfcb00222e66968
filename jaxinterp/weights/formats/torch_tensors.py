"""PyTorch's tensors as its checkpoints describe them: a view, by offset and strides, of a storage.

A description is made while the pickle is read and costs nothing, whatever size it claims.
`view_tensor` makes the array, after the description has been held against the bytes there are.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeGuard

import ml_dtypes
import numpy as np

from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.unreadable import Unreadable, quoted

__all__ = ["DTYPES", "STORAGES", "Storage", "StorageType", "Tensor", "is_shape", "view_tensor"]

DTYPES: dict[str, np.dtype] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "int64": np.dtype(np.int64),
    "int32": np.dtype(np.int32),
    "int16": np.dtype(np.int16),
    "int8": np.dtype(np.int8),
    "uint64": np.dtype(np.uint64),
    "uint32": np.dtype(np.uint32),
    "uint16": np.dtype(np.uint16),
    "uint8": np.dtype(np.uint8),
    "bool": np.dtype(np.bool_),
}
"""The types of elements that are read. Complex, quantised and 8-bit floating ones are refused."""

STORAGES: dict[str, str] = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
"""The classes of storages, by PyTorch's names, and their elements."""

_MOST_DIMENSIONS = 32


@dataclasses.dataclass(frozen=True)
class StorageType:
    """A class of storages, such as `torch.FloatStorage`."""

    dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of numbers outside of the pickle.

    Attributes:
      key: its name in the file.
      dtype: of its elements; uint8 where they have no type of their own.
      count: number of elements that it states.
      start: elements of the file's storage before it: above 0 only in views of storages, which
        PyTorch wrote before 0.4.
    """

    key: str
    dtype: np.dtype
    count: int
    start: int = 0


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor as it is described; sizes in elements, nothing checked against the storage."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (
            type(self.storage) is Storage
            and isinstance(self.dtype, np.dtype)
            and is_shape((self.offset,))
            and is_shape(self.shape)
            and is_shape(self.strides)
            and len(self.shape) == len(self.strides)
        ):
            raise Unreadable("is damaged: a tensor in it has a shape or strides that none can have")


def is_shape(value: Any) -> TypeGuard[tuple[int, ...]]:
    """Whether a value is a tuple of whole numbers from 0 that an array could have as its shape."""
    return (
        type(value) is tuple
        and len(value) <= _MOST_DIMENSIONS
        and all(type(length) is int and 0 <= length < 2**62 for length in value)
    )


def view_tensor(
    tensor: Tensor, content: np.ndarray, *, name: str, big_endian: bool, allowance: Allowance
) -> np.ndarray:
    """The array that a tensor describes, read-only; a view of `content` if the machine can use it.

    Args:
      content: bytes of the tensor's storage, uint8 [n].
      name: of the tensor, for messages.
      big_endian: whether the numbers have their first byte first.
      allowance: what the array's size is taken from.

    Raises:
      Unreadable: the tensor does not lie within its storage, or is too large.
    """
    itemsize = tensor.dtype.itemsize
    numbers = math.prod(tensor.shape)
    last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if numbers and (tensor.offset + last + 1) * itemsize > len(content):
        raise Unreadable(
            f"is damaged: {quoted(name)} claims {numbers:,} numbers up to place "
            f"{tensor.offset + last:,}, but its storage has {len(content) // itemsize:,}"
        )
    allowance.take(numbers * itemsize, name)
    if not numbers:
        # Beside a 0, lengths may overflow together; offset and strides mean nothing.
        if math.prod(max(n, 1) for n in tensor.shape) >= 2**56:
            raise Unreadable(f"is damaged: {quoted(name)} has a shape that no array can have")
        return np.ndarray(tensor.shape, tensor.dtype, b"")
    stored = np.dtype(f">u{itemsize}") if big_endian else tensor.dtype
    view = np.ndarray(
        tensor.shape,
        stored,
        content.data,
        tensor.offset * itemsize,
        [s * itemsize if n > 1 else 0 for n, s in zip(tensor.shape, tensor.strides, strict=True)],
    )
    if big_endian:
        view = view.astype(f"=u{itemsize}").view(tensor.dtype)
    if tensor.dtype == np.bool_:
        view = np.asarray(view.view(np.uint8) != 0)  # a byte may be anything, a bool may not
    if not view.flags.aligned:
        view = view.copy(order="K")  # compiled code may take it for granted
    view.flags.writeable = False
    return view
