"""Weights as NumPy's `.npz`: a zip with a `.npy` file for each array, kernels as HWIO.

Names are PyTorch's or Flax's, with "." or "/" between their parts:

| in the file | here |
| --- | --- |
| conv1.weight, conv1/weight, params/conv1/kernel, conv1.kernel | conv1.weight |
| params/bn1/scale | bn1.weight |
| batch_stats/bn1/mean, batch_stats/bn1/var | bn1.running_mean, bn1.running_var |

Python objects in it are pickles: they are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.torch_tensors import is_shape
from jaxinterp.weights.formats.unreadable import Unreadable, quoted
from jaxinterp.weights.formats.zip_directory import ZipEntry, open_entry

__all__ = ["read_npz"]

_FLAX_NAMES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_COLLECTIONS = ("params", "batch_stats")

# NumPy evaluates the header as Python; it is always these three, in this order.
_HEADER = re.compile(
    rb"\{\s*'descr':\s*'([^']*)',\s*'fortran_order':\s*(True|False),\s*"
    rb"'shape':\s*\(([0-9L, ]*)\),?\s*\}\s*"
)
_LENGTH = re.compile("[0-9]{1,18}L?")
_TYPE = re.compile("[<>|=]?(f[248]|[iu][1248]|b1)")
_LONGEST_HEADER = 4096


def read_npz(
    content: np.ndarray, entries: Mapping[str, ZipEntry], allowance: Allowance
) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` by PyTorch's names; views of the file where it is not compressed.

    Args:
      content: of the file, uint8 [n].
      entries: of the zip archive that it is.
      allowance: what the arrays are taken from.

    Raises:
      Unreadable: damaged, arrays without names, two of one name, or types other than numbers.
    """
    arrays: dict[str, np.ndarray] = {}
    for entry in entries.values():
        name = _torch_name(entry.name.removesuffix(".npy"))
        if name in arrays:
            raise Unreadable(f"holds two arrays that mean {quoted(name)}")
        raw = open_entry(content, entry, allowance)
        arrays[name] = _read_npy(raw, name)
    if not arrays or any(re.fullmatch(r"arr_[0-9]+", name) for name in arrays):
        raise Unreadable(
            "holds arrays without names: give each its own, as in `numpy.savez(FILE, **arrays)`"
        )
    return arrays


def _torch_name(name: str) -> str:
    parts = name.replace("/", ".").split(".")
    if len(parts) > 1 and parts[0] in _COLLECTIONS:
        parts = parts[1:]
    if len(parts) > 1:
        parts[-1] = _FLAX_NAMES.get(parts[-1], parts[-1])
    return ".".join(parts)


def _read_npy(raw: np.ndarray, name: str) -> np.ndarray:
    """The array of a `.npy` file: magic, version, length of the header, header, numbers.

    Its format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    start = raw[:12].tobytes()
    version, length_size = start[6:8], {b"\1\0": 2, b"\2\0": 4}.get(start[6:8], 0)
    length = int.from_bytes(start[8 : 8 + length_size], "little")
    header = _HEADER.fullmatch(raw[8 + length_size :][: min(length, _LONGEST_HEADER)].tobytes())
    if not start.startswith(b"\x93NUMPY") or not version or not header:
        raise Unreadable(f"is damaged: {quoted(name)} in it is not an array as NumPy writes it")
    kind, fortran, lengths = header[1].decode("latin1"), header[2] == b"True", header[3].decode()
    if not _TYPE.fullmatch(kind):
        raise Unreadable(
            f"holds {quoted(name)} of NumPy's type {quoted(kind)}: numbers are read, objects and "
            "other types are not (store bfloat16 as float32)"
        )
    fields = [field.strip() for field in lengths.rstrip(", ").split(",")] if lengths else []
    readable = all(_LENGTH.fullmatch(field) for field in fields)
    shape = tuple(int(field.rstrip("L")) for field in fields) if readable else None
    dtype = np.dtype(kind)
    data = raw[8 + length_size + length :]
    if not is_shape(shape) or math.prod(shape) * dtype.itemsize != len(data):
        raise Unreadable(
            f"is damaged: {quoted(name)} claims the shape ({lengths[:80]}), but has {len(data):,} "
            "bytes"
        )
    try:
        array = np.ndarray(shape, dtype, data.data, order="F" if fortran else "C")
    except ValueError:  # beside a 0, lengths may overflow together
        raise Unreadable(f"is damaged: {quoted(name)} has a shape that no array can have") from None
    if dtype == np.bool_:
        array = np.asarray(array.view(np.uint8) != 0)  # a byte may be anything, a bool may not
    if not array.dtype.isnative or not array.flags.aligned:
        array = array.astype(dtype.newbyteorder("="))
    array.flags.writeable = False
    return array
