"""Weights as safetensors: PyTorch's names and layout, so that a file serves both libraries."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxinterp.errors import UserError
from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.torch_tensors import DTYPES, Storage, Tensor, view_tensor
from jaxinterp.weights.formats.unreadable import Unreadable, printable, quoted

__all__ = ["read_safetensors", "view_safetensors", "write_safetensors"]

_DTYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8"},
    **{"U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8"},
}


def view_safetensors(
    path: str | Path, content: np.ndarray, allowance: Allowance
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file in the types that it stores, and its metadata.

    Args:
      path: the file.
      content: of the file, uint8 [n], which the arrays are views of where they can be.
      allowance: what the arrays are taken from.

    Raises:
      Unreadable: damaged, or with elements of a type that is not read.
    """
    try:
        # The library checks the header: sizes, bounds, no gaps, no overlaps. It copies the tensors
        # that it reads, so where they lie is taken from the header again.
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            names = set(file.keys())
    except (SafetensorError, OSError) as error:
        raise Unreadable(f"is not a readable safetensors file: {printable(error)}") from None
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:start].tobytes(), object_pairs_hook=_without_repetition)
    arrays = {}
    for name in sorted(names, key=lambda name: header[name]["data_offsets"]):
        fields = header[name]
        if fields["dtype"] not in _DTYPES:
            raise Unreadable(f"holds {quoted(name)} of type {quoted(fields['dtype'])}: not read")
        dtype = DTYPES[_DTYPES[fields["dtype"]]]
        shape = tuple(fields["shape"])
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        first, last = fields["data_offsets"]
        part = content[start + first : start + last]
        tensor = Tensor(Storage(name, dtype, len(part) // dtype.itemsize), dtype, 0, shape, strides)
        arrays[name] = view_tensor(tensor, part, name=name, big_endian=False, allowance=allowance)
    return arrays, metadata


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; the library and Python need not mean the same one of two equal keys."""
    if len(dict(pairs)) < len(pairs):
        raise Unreadable("is not a readable safetensors file: it has two entries of one name")
    return dict(pairs)


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file, floating-point ones as float32, and its metadata.

    Raises:
      UserError: missing, truncated or not a safetensors file.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder: give a safetensors file.")
    if not path.exists():
        raise UserError(f"There is no weights file {path}.")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file: {error}.") from None
    arrays = {
        name: value.astype(np.float32) if value.dtype.kind in "fV" else value
        for name, value in arrays.items()
    }
    return arrays, metadata


def write_safetensors(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    *,
    dtype: type[np.floating] = np.float16,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes arrays as `dtype`, atomically.

    Raises:
      UserError: a value that is not finite or too large for `dtype`; its array is named.
      OSError: a full disk, a folder that cannot be written.
    """
    path = Path(path)
    converted = {}
    for name, value in arrays.items():
        with np.errstate(over="ignore"):
            converted[name] = np.asarray(value, dtype, order="C")
        if not np.isfinite(converted[name]).all():
            raise UserError(
                f"{path} is not written: {name} has values that are not finite or that "
                f"{np.dtype(dtype).name} cannot hold."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    content = save(converted, metadata=dict(metadata or {}))
    try:
        partial.write_bytes(_in_fixed_order(content))
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def _in_fixed_order(content: bytes) -> bytes:
    """The same file with its metadata sorted: safetensors writes them in random order.

    So that equal weights have an equal sha256.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the numbers stay aligned
    return len(text).to_bytes(8, "little") + text + content[start:]
