"""Small whole weights files of every format, in parts, for `checkpoint_mutations` to break."""

from __future__ import annotations

import dataclasses
import io
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import scipy.io
from checkpoint_files import Called, Checkpoint, pickled, torch_legacy, torch_zip
from safetensors.numpy import save


@dataclasses.dataclass(frozen=True)
class Seed:
    """A file in parts.

    Attributes:
      parts: by name.
      join: makes the file of them.
      programs: names of the parts that are pickles.
      has_checksums: whether a changed byte of the file cannot go unnoticed.
    """

    parts: dict[str, bytes]
    join: Callable[[dict[str, bytes]], bytes]
    programs: tuple[str, ...] = ()
    has_checksums: bool = False


def _values() -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(0).normal(size=(3, 2, 3, 3))
    return {
        "module.conv1.weight": numbers.astype(np.float32),
        "module.conv1.bias": numbers[0, 0, 0].astype(np.float16),
        "module.bn1.running_var": numbers[:, 0, 0, 0].astype(ml_dtypes.bfloat16),
        "module.bn1.num_batches_tracked": np.asarray(7, np.int64),
    }


def _torch_value(checkpoint: Checkpoint) -> Any:
    values = _values()
    weights = {name: checkpoint.tensor(value) for name, value in values.items()}
    shared = checkpoint.storage(key="0")
    weights["module.part"] = checkpoint.tensor(
        storage=shared, offset=3, shape=(2, 4), strides=(9, 2)
    )
    weights["module.fc.weight"] = checkpoint.parameter(values["module.conv1.weight"][:, :, 0, 0])
    kind = Called("numpy.dtype", ("f8", False, True))
    accuracy = Called("numpy.core.multiarray.scalar", (kind, struct.pack("<d", 91.5)))
    return {
        "epoch": 12,
        "arch": "resnet20",
        "state_dict": weights,
        "best_prec1": accuracy,
        "optimizer": {"state": {0: {"step": 5}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]},
        "sizes": Called("torch.Size", ((3, 2),)),
    }


def _zip_seed(content: bytes, programs: tuple[str, ...], compression: int) -> Seed:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}

    def join(parts: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", compression) as archive:
            for name, part in parts.items():
                # Always the same date: the files of a run are the same in every run.
                info = zipfile.ZipInfo(name)
                info.compress_type = compression
                archive.writestr(info, part)
        return out.getvalue()

    return Seed(parts, join, programs, has_checksums=True)


def _torch_zip_seed(compression: int, byte_order: str) -> Seed:
    checkpoint = Checkpoint()
    program = pickled(_torch_value(checkpoint))
    content = torch_zip(program, checkpoint.storages, byte_order=byte_order)
    return _zip_seed(content, ("archive/data.pkl",), compression)


def _torch_legacy_seed() -> Seed:
    checkpoint = Checkpoint(legacy=True)
    content = torch_legacy(pickled(_torch_value(checkpoint)), checkpoint.storages)
    parts, stream = {}, io.BytesIO(content)
    for name in ("magic", "version", "machine", "value", "keys"):
        start = stream.tell()
        for _ in pickletools.genops(stream):
            pass
        parts[name] = content[start : stream.tell()]
    programs = tuple(parts)
    parts["storages"] = stream.read()
    return Seed(parts, lambda parts: b"".join(parts.values()), programs)


def _safetensors_seed() -> Seed:
    content = save(_values(), metadata={"format": "pt", "epoch": "12"})
    start = 8 + int.from_bytes(content[:8], "little")
    return Seed(
        {"header": content[8:start], "data": content[start:]},
        lambda p: len(p["header"]).to_bytes(8, "little") + p["header"] + p["data"],
    )


def _npz_seed(compression: int) -> Seed:
    values = {k: v for k, v in _values().items() if v.dtype.kind != "V"}
    out = io.BytesIO()
    np.savez(out, **values)
    return _zip_seed(out.getvalue(), (), compression)


def _mat_seed(*, compressed: bool) -> Seed:
    kernel = _values()["module.conv1.weight"].transpose(2, 3, 1, 0)
    layers, weights = np.empty((1, 2), object), np.empty((1, 2), object)
    weights[0, 0], weights[0, 1] = kernel, np.ones((3, 1), np.float32)
    layers[0, 0] = {"name": "conv1", "type": "conv", "weights": weights, "stride": [4.0, 4]}
    layers[0, 1] = {"name": "relu1", "type": "relu"}
    mean = np.full((2, 2, 3), 120.0, np.float32)
    out = io.BytesIO()
    scipy.io.savemat(out, {"layers": layers, "meta": {"normalization": {"averageImage": mean}}})
    content = out.getvalue()
    parts, position = {"header": b"MATLAB 5.0 MAT-file".ljust(124) + content[124:128]}, 128
    while position < len(content):
        end = position + 8 + struct.unpack_from("<I", content, position + 4)[0]
        parts[f"variable {len(parts)}"] = content[position:end]
        position = end

    def join(parts: dict[str, bytes]) -> bytes:
        file = parts["header"]
        for name, part in parts.items():
            if name != "header":
                deflated = zlib.compress(part)
                file += struct.pack("<II", 15, len(deflated)) + deflated if compressed else part
        return file

    return Seed(parts, join)


SEEDS: dict[str, Seed] = {
    "torch zip": _torch_zip_seed(zipfile.ZIP_STORED, "little"),
    "torch zip, deflated": _torch_zip_seed(zipfile.ZIP_DEFLATED, "little"),
    "torch zip, big endian": _torch_zip_seed(zipfile.ZIP_STORED, "big"),
    "torch legacy": _torch_legacy_seed(),
    "safetensors": _safetensors_seed(),
    "npz": _npz_seed(zipfile.ZIP_STORED),
    "npz, deflated": _npz_seed(zipfile.ZIP_DEFLATED),
    "matconvnet": _mat_seed(compressed=False),
    "matconvnet, compressed": _mat_seed(compressed=True),
}
