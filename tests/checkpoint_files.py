"""Makes checkpoints byte by byte, as PyTorch writes them and as it never would, without PyTorch.

`pickled` writes a pickle of protocol 2. What it cannot write itself is asked for by name, whether
that name exists or not: `Named` pushes it, `Called` calls it, `Persistent` refers to a storage.
`torch_zip` and `torch_legacy` put a pickle and its storages into a file.
"""

from __future__ import annotations

import dataclasses
import io
import struct
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C

STORAGE_NAMES = {
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(np.int32): "IntStorage",
    np.dtype(np.int16): "ShortStorage",
    np.dtype(np.int8): "CharStorage",
    np.dtype(np.uint8): "ByteStorage",
    np.dtype(np.bool_): "BoolStorage",
}


@dataclasses.dataclass(frozen=True)
class Named:
    name: str


@dataclasses.dataclass(frozen=True)
class Called:
    name: str
    arguments: tuple[Any, ...] = ()


@dataclasses.dataclass(frozen=True)
class WithState:
    value: Any
    state: Any


@dataclasses.dataclass(frozen=True)
class Persistent:
    identity: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Raw:
    """Operations that stand where a value would."""

    operations: bytes


def pickled(value: Any) -> bytes:
    """A pickle of protocol 2; text that recurs is recalled from the memo."""
    memo: dict[str, int] = {}
    out = io.BytesIO()
    out.write(b"\x80\x02")
    _write(out, value, memo)
    out.write(b".")
    return out.getvalue()


def _write(out: io.BytesIO, value: Any, memo: dict[str, int]) -> None:
    if isinstance(value, Raw):
        out.write(value.operations)
    elif isinstance(value, Named):
        out.write(b"c%s\n%s\n" % tuple(part.encode() for part in _split(value.name)))
    elif isinstance(value, Called):
        _write(out, Named(value.name), memo)
        _write(out, value.arguments, memo)
        out.write(b"R")
    elif isinstance(value, WithState):
        _write(out, value.value, memo)
        _write(out, value.state, memo)
        out.write(b"b")
    elif isinstance(value, Persistent):
        _write(out, value.identity, memo)
        out.write(b"Q")
    elif value is None or isinstance(value, bool):
        out.write({None: b"N", True: b"\x88", False: b"\x89"}[value])
    elif isinstance(value, int):
        size = value.bit_length() // 8 + 1
        short = -(2**31) <= value < 2**31
        out.write(
            b"J" + struct.pack("<i", value)
            if short
            else b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
        )
    elif isinstance(value, float):
        out.write(b"G" + struct.pack(">d", value))
    elif isinstance(value, str):
        if value in memo:
            out.write(b"h" + bytes([memo[value]]))
            return
        text = value.encode("utf-8", "surrogatepass")
        out.write(b"X" + struct.pack("<I", len(text)) + text)
        if len(memo) < 256:
            memo[value] = len(memo)
            out.write(b"q" + bytes([memo[value]]))
    elif isinstance(value, bytes):
        _write(out, Called("_codecs.encode", (value.decode("latin1"), "latin1")), memo)
    elif isinstance(value, tuple | list | dict):
        empty, fill = {tuple: (b"", b"t"), list: (b"]", b"e"), dict: (b"}", b"u")}[type(value)]
        out.write(empty + b"(")
        for item in value if not isinstance(value, dict) else sum(value.items(), ()):
            _write(out, item, memo)
        out.write(fill)
    else:
        raise TypeError(type(value))


def _split(name: str) -> list[str]:
    return name.rsplit(".", 1)


class Checkpoint:
    """Storages as they are added, and the tensors that view them.

    Args:
      legacy: whether for the format before 1.6, in which a storage may be a view of another.
    """

    def __init__(self, *, legacy: bool = False) -> None:
        self.legacy = legacy
        self.storages: dict[str, np.ndarray] = {}

    def storage(
        self,
        values: np.ndarray | None = None,
        *,
        key: str | None = None,
        count: int | None = None,
        kind: str | None = None,
        view: tuple[str, int, int] | None = None,
    ) -> Persistent:
        """A storage of values, or another reference to the one of `key`."""
        if key is None:
            key = str(len(self.storages))
        if values is not None:
            self.storages[key] = np.asarray(values).reshape(-1)
        stored = self.storages[key]
        identity = (
            "storage",
            Named(kind or f"torch.{STORAGE_NAMES[stored.dtype]}"),
            key,
            "cpu",
            stored.size if count is None else count,
        )
        return Persistent((*identity, view) if self.legacy else identity)

    def tensor(
        self,
        values: np.ndarray | None = None,
        *,
        storage: Persistent | None = None,
        offset: Any = 0,
        shape: Any = None,
        strides: Any = None,
        version: int = 2,
    ) -> Called:
        """A tensor of values, or another view of a storage."""
        values = np.asarray(values if values is not None else 0)
        shape = values.shape if shape is None else shape
        if strides is None:
            strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
        view = (storage or self.storage(values), offset, shape, strides)
        if version == 1:
            return Called("torch._utils._rebuild_tensor", view)
        hooks = Called("collections.OrderedDict")
        return Called("torch._utils._rebuild_tensor_v2", (*view, False, hooks))

    def parameter(self, values: np.ndarray) -> Called:
        hooks = Called("collections.OrderedDict")
        return Called("torch._utils._rebuild_parameter", (self.tensor(values), True, hooks))

    def file(self, value: Any, **options: Any) -> bytes:
        """The file that holds a value made of this checkpoint's tensors."""
        write = torch_legacy if self.legacy else torch_zip
        return write(pickled(value), self.storages, **options)


def torch_zip(
    program: bytes,
    storages: dict[str, np.ndarray],
    *,
    folder: str = "archive/",
    byte_order: str | None = "little",
    compression: int = zipfile.ZIP_STORED,
    extra: dict[str, bytes] | None = None,
) -> bytes:
    """PyTorch's format since 1.6."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr(f"{folder}data.pkl", program)
        if byte_order is not None:
            archive.writestr(f"{folder}byteorder", byte_order)
        for key, values in storages.items():
            content = values.tobytes()
            if byte_order == "big":
                content = values.view(f"u{values.itemsize}").byteswap().tobytes()
            archive.writestr(f"{folder}data/{key}", content)
        archive.writestr(f"{folder}version", "3\n")
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return out.getvalue()


def torch_legacy(
    program: bytes, storages: dict[str, np.ndarray], *, magic: int = MAGIC, version: int = 1001
) -> bytes:
    """PyTorch's format before 1.6."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    keys = sorted(storages)
    parts = [pickled(magic), pickled(version), pickled(machine), program, pickled(keys)]
    for key in keys:
        parts += [struct.pack("<q", storages[key].size), storages[key].tobytes()]
    return b"".join(parts)
