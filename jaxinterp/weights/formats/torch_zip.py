"""PyTorch's checkpoints since 1.6: a zip of one pickle and a file for each storage.

    NAME/data.pkl      the pickle; a storage in it is ("storage", type, KEY, device, count)
    NAME/data/KEY      the bytes of a storage, uncompressed
    NAME/byteorder     "little" or "big"; without it, little

What is not in the pickle's own words (version, alignment, an identifier) is passed over. Other
tools compress the entries; that is read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.pickle_reader import MOST_BYTES, read_pickle
from jaxinterp.weights.formats.state_dict import StateDict, find_state_dict
from jaxinterp.weights.formats.torch_tensors import (
    Storage,
    StorageType,
    Tensor,
    is_shape,
    view_tensor,
)
from jaxinterp.weights.formats.unreadable import Unreadable, quoted
from jaxinterp.weights.formats.zip_directory import ZipEntry, open_entry

__all__ = ["read_torch_zip"]


def read_torch_zip(
    content: np.ndarray, entries: Mapping[str, ZipEntry], allowance: Allowance
) -> StateDict:
    """The arrays and metadata of a checkpoint.

    Args:
      content: of the file, uint8 [n].
      entries: of the zip archive that it is.
      allowance: what the arrays are taken from.

    Raises:
      Unreadable: a TorchScript archive, a damaged one, or one that holds more than plain data.
    """
    folder = _folder(entries)
    order = _record(content, entries, f"{folder}byteorder", 16, allowance, missing=b"little")
    if order not in (b"little", b"big"):
        raise Unreadable(f"is damaged: its byte order is {quoted(order.decode('latin1'))}")
    program = _record(content, entries, f"{folder}data.pkl", MOST_BYTES, allowance)
    described: dict[str, Storage] = {}

    def describe(identity: tuple[Any, ...]) -> Storage:
        storage = _describe_storage(identity)
        if described.setdefault(storage.key, storage) != storage:
            raise Unreadable(f"is damaged: it has two storages {quoted(storage.key)}")
        return storage

    value, _ = read_pickle(memoryview(program), persistent_load=describe)
    storages: dict[str, np.ndarray] = {}

    def read_tensor(tensor: Tensor, name: str) -> np.ndarray:
        key = tensor.storage.key
        if key not in storages:
            entry = entries.get(f"{folder}data/{key}")
            if entry is None:
                raise Unreadable(f"is damaged: the storage {quoted(key)} of {quoted(name)} misses")
            if entry.size != tensor.storage.count * tensor.storage.dtype.itemsize:
                raise Unreadable(
                    f"is damaged: the storage of {quoted(name)} should have "
                    f"{tensor.storage.count:,} numbers but has {entry.size:,} bytes"
                )
            storages[key] = open_entry(content, entry, allowance)
        return view_tensor(
            tensor, storages[key], name=name, big_endian=order == b"big", allowance=allowance
        )

    return find_state_dict(value, read_tensor, allowance)


def _folder(entries: Mapping[str, ZipEntry]) -> str:
    """The folder that everything is in, with "/" at its end; its name may be anything."""
    folders = [
        name.removesuffix("data.pkl") for name in entries if f"/{name}".endswith("/data.pkl")
    ]
    folder = min(folders, key=len)
    if f"{folder}constants.pkl" in entries or any(n.startswith(f"{folder}code/") for n in entries):
        raise Unreadable(
            "is a TorchScript archive, which holds a program: in PyTorch, save "
            "`torch.jit.load(FILE).state_dict()` with `torch.save`"
        )
    return folder


def _record(
    content: np.ndarray,
    entries: Mapping[str, ZipEntry],
    name: str,
    longest: int,
    allowance: Allowance,
    missing: bytes | None = None,
) -> bytes:
    if name not in entries and missing is not None:
        return missing
    if entries[name].size > longest:
        raise Unreadable(f"is damaged: {quoted(name)} in it has {entries[name].size:,} bytes")
    return open_entry(content, entries[name], allowance).tobytes()


def _describe_storage(identity: tuple[Any, ...]) -> Storage:
    if len(identity) == 5 and identity[0] == "storage":
        _, kind, key, _, count = identity
        if type(kind) is StorageType and type(key) is str and is_shape((count,)):
            return Storage(key, kind.dtype, count)
    raise Unreadable("is damaged: its pickle refers to a storage as PyTorch does not")
