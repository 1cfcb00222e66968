"""Weights as safetensors: PyTorch's names and layout, so that a file serves both libraries."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jaxinterp.errors import UserError

__all__ = ["read_safetensors", "write_safetensors"]


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
      UserError: a value too large for `dtype`, which is named.
    """
    path = Path(path)
    converted = {}
    for name, value in arrays.items():
        with np.errstate(over="ignore"):
            converted[name] = np.asarray(value, dtype, order="C")
        if not np.isfinite(converted[name]).all():
            raise UserError(f"{name} has values that {np.dtype(dtype).name} cannot hold.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    content = save(converted, metadata=dict(metadata or {}))
    partial.write_bytes(_in_fixed_order(content))
    os.replace(partial, path)


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
