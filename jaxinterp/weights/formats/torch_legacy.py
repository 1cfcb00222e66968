"""PyTorch's checkpoints up to 1.5: pickles one after the other, then the storages.

a magic number, a version, a dict about the writing machine   three pickles
the value            a pickle; a storage in it is ("storage", type, KEY, device, count, view)
the storages' keys   a pickle: in the order in which they follow
for each of them     its count of elements in 8 bytes, then the elements, first byte last
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.pickle_reader import read_pickle
from jaxinterp.weights.formats.state_dict import StateDict, find_state_dict
from jaxinterp.weights.formats.torch_tensors import (
    Storage,
    StorageType,
    Tensor,
    is_shape,
    view_tensor,
)
from jaxinterp.weights.formats.unreadable import Unreadable, quoted

__all__ = ["read_torch_legacy"]

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001


def read_torch_legacy(content: np.ndarray, allowance: Allowance) -> StateDict:
    """The arrays and metadata of a checkpoint.

    Args:
      content: of the file, uint8 [n], which begins with a pickle.
      allowance: what the arrays are taken from.

    Raises:
      Unreadable: another pickle, a damaged one, or one that holds more than plain data.
    """
    data = content.data
    magic, position = read_pickle(data)
    if type(magic) is not int or magic != _MAGIC:
        raise Unreadable(
            "is a pickle, but not one of PyTorch's checkpoints: save the arrays with `numpy.savez` "
            "or `torch.save`"
        )
    version, position = read_pickle(data, position)
    if type(version) is not int or version != _VERSION:
        raise Unreadable(f"is damaged, or in a version of PyTorch's format other than {_VERSION}")
    _, position = read_pickle(data, position)
    described: dict[str, Storage] = {}

    def describe(identity: tuple[Any, ...]) -> Storage:
        storage, view = _describe_storage(identity)
        if described.setdefault(storage.key, storage) != storage:
            raise Unreadable(f"is damaged: it has two storages {quoted(storage.key)}")
        return view

    value, position = read_pickle(data, position, persistent_load=describe)
    keys, position = read_pickle(data, position)
    if type(keys) is not list:
        raise Unreadable("is damaged: its list of storages is none")
    storages: dict[str, np.ndarray] = {}
    for key in keys:
        storage = described.get(key) if type(key) is str else None
        if storage is None or key in storages:
            raise Unreadable(f"is damaged: it lists a storage {quoted(key)} that it does not use")
        if position + 8 > len(content):
            raise Unreadable("is cut short before its last tensors: was the download complete?")
        (count,) = struct.unpack_from("<q", data, position)
        if count != storage.count:
            raise Unreadable(
                f"is damaged: the storage {quoted(key)} should have {storage.count:,} numbers and "
                f"states {count:,}"
            )
        start = position + 8
        position = start + count * storage.dtype.itemsize
        if position > len(content):
            raise Unreadable("is cut short before its last tensors: was the download complete?")
        storages[key] = content[start:position]
    if position != len(content):
        raise Unreadable(f"is damaged: {len(content) - position:,} bytes follow its last tensor")

    def read_tensor(tensor: Tensor, name: str) -> np.ndarray:
        storage = tensor.storage
        if storage.key not in storages:
            raise Unreadable(f"is damaged: the storage of {quoted(name)} misses")
        start = storage.start * storage.dtype.itemsize
        part = storages[storage.key][start : start + storage.count * storage.dtype.itemsize]
        return view_tensor(tensor, part, name=name, big_endian=False, allowance=allowance)

    return find_state_dict(value, read_tensor, allowance)


def _describe_storage(identity: tuple[Any, ...]) -> tuple[Storage, Storage]:
    """The storage in the file, and the part of it that is meant: all of it, or a view."""
    if len(identity) == 6 and identity[0] == "storage":
        _, kind, key, _, count, view = identity
        if type(kind) is StorageType and type(key) is str and is_shape((count,)):
            storage = Storage(key, kind.dtype, count)
            if view is None:
                return storage, storage
            if type(view) is tuple and len(view) == 3 and is_shape(view[1:]):
                return storage, Storage(key, kind.dtype, view[2], view[1])
    raise Unreadable("is damaged: its pickle refers to a storage as PyTorch does not")
