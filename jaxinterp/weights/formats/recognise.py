"""What kind of file something is: by its first bytes, never by its name."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

from jaxinterp.weights.contents import Format
from jaxinterp.weights.formats.unreadable import Unreadable

__all__ = ["recognise_file", "recognise_zip"]

_READABLE = (
    "weights are read from PyTorch's checkpoints, safetensors, MatConvNet's .mat and NumPy's .npz"
)
_LONGEST_SAFETENSORS_HEADER = 100_000_000
_START = 1024

# What else people have under the name of weights: how it begins, and what it is.
_OTHERS: tuple[tuple[bytes, str], ...] = (
    (rb"\s*$", "holds nothing but blanks"),
    (
        rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml|!--)",
        "looks like a web page, not weights: the download failed or asked for a login; "
        "fetch the file again",
    ),
    (
        rb"version https://git-lfs",
        "is a pointer of Git LFS, not the file that it stands for: run `git lfs pull`",
    ),
    (rb"\x89HDF\r\n\x1a\n", f"is an HDF5 file, as Keras writes them: {_READABLE}"),
    (
        rb"MATLAB 7\.3",
        "is a MATLAB file of version 7.3, which is HDF5: save it again with `save -v7`",
    ),
    (rb"GGUF", f"is a GGUF file: {_READABLE}"),
    (rb".{4}TFL3", f"is a TensorFlow Lite file: {_READABLE}"),
    # Protocol buffers have no beginning of their own: a version, then the name of the writer.
    (rb"\x08[\x01-\x14]\x12.{1,2}[\w.-]*(onnx|torch)", f"is an ONNX file: {_READABLE}"),
    (rb"\x93NUMPY", "is a single NumPy array without a name: put it into a .npz under its name"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27", "is compressed: unpack it first"),
)  # fmt: skip


def recognise_file(content: np.ndarray) -> Format | None:
    """The format of a file that is not a zip; None for a zip, which `recognise_zip` looks into.

    Args:
      content: of the file, uint8 [n], n > 0.

    Raises:
      Unreadable: it is something else; the message says what.
    """
    start = content[:_START].tobytes()
    if start.startswith(b"PK\3\4") or start.startswith(b"PK\5\6"):
        return None
    header = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and 2 <= header <= _LONGEST_SAFETENSORS_HEADER:
        return "safetensors"
    # A pickle of protocol 2 or later begins with it; with older ones PyTorch cannot write tensors.
    if re.match(rb"\x80[\x02-\x05]", start):
        return "torch legacy"
    if start.startswith(b"MATLAB 5.0") and start[126:128] in (b"IM", b"MI"):
        return "matconvnet"
    if start[257:262] == b"ustar":
        name = start[:100].rstrip(b"\0").rpartition(b"/")[2]
        if name in (b"sys_info", b"pickle", b"tensors", b"storages"):
            raise Unreadable(
                "is in PyTorch's first format, a tar archive, which is not read: load and save it "
                "again with PyTorch"
            )
        raise Unreadable("is a tar archive: unpack it, and give the weights file in it")
    if content[-8:].tobytes() == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb":
        raise Unreadable(f"is the index of a TensorFlow checkpoint: {_READABLE}")
    for beginning, what in _OTHERS:
        if re.match(beginning, start, re.IGNORECASE | re.DOTALL):
            raise Unreadable(what)
    if re.search(rb"saved_model|tensorflow|Placeholder|VarHandleOp", start):
        raise Unreadable(f"looks like a TensorFlow file: {_READABLE}")
    if re.fullmatch(rb"[\t\n\r\x20-\x7e]+", start):
        raise Unreadable(
            "is text, not weights: if it was downloaded, it may be a message of the server; "
            f"{_READABLE}"
        )
    raise Unreadable(f"is not a weights file of a known format: {_READABLE}")


def recognise_zip(names: Collection[str]) -> Format:
    """The format of a zip archive, by the names of its entries.

    Raises:
      Unreadable: it is something else; the message says what.
    """
    if any(f"/{name}".endswith("/data.pkl") for name in names):
        return "torch zip"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    if any(name.endswith(".h5") for name in names):
        raise Unreadable(f"is a Keras file: {_READABLE}")
    raise Unreadable(f"is a zip archive of something else than weights: {_READABLE}")
