"""`read_weights`: the arrays of a weights file in any format, without running anything in it."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.weights.contents import WeightsContents
from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.matconvnet import read_matconvnet
from jaxinterp.weights.formats.npz_file import read_npz
from jaxinterp.weights.formats.recognise import recognise_file, recognise_zip
from jaxinterp.weights.formats.safetensors_file import view_safetensors
from jaxinterp.weights.formats.state_dict import StateDict, without_prefix
from jaxinterp.weights.formats.torch_legacy import read_torch_legacy
from jaxinterp.weights.formats.torch_zip import read_torch_zip
from jaxinterp.weights.formats.unreadable import Unreadable
from jaxinterp.weights.formats.zip_directory import ZipEntry, read_directory

__all__ = ["read_weights"]


def read_weights(path: str | Path) -> WeightsContents:
    """Reads a weights file; its format is found by its content.

    PyTorch's checkpoints (the zip format and the one before it), safetensors, MatConvNet's `.mat`
    and NumPy's `.npz`. Nothing in the file is run: a pickle in it may only build tensors and plain
    containers. Arrays are views of the file where they can be, so that opening is quick and memory
    is taken when they are used; what they may take is bounded by the size of the file. The file
    must stay as it is while they are in use.

    Args:
      path: the file, under any name; `~` is the home folder.

    Returns:
      The arrays in the file's own types and layout, and what it says about them.

    Raises:
      UserError: there is no such file, it is no weights file, it is damaged, or it holds more than
        plain data; the sentence says which.

    Example:
      >>> contents = read_weights("resnet18-f37072fd.pth")
      >>> contents.format, contents.arrays["conv1.weight"].shape
      ('torch zip', (64, 3, 7, 7))
    """
    path = Path(os.path.expanduser(path))
    content = _map_file(path)
    try:
        return _read(path, content)
    except Unreadable as error:
        sentence = f"{path} {error}"
        raise UserError(sentence if sentence.endswith("?") else f"{sentence}.") from None


def _map_file(path: Path) -> np.ndarray:
    """The bytes of a file, uint8 [n], read from it when they are used."""
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder: give the weights file in it.")
        if not path.exists():
            raise UserError(f"There is no weights file {path}.")
        if not path.is_file():
            raise UserError(f"{path} is not an ordinary file: copy the weights into one.")
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise UserError(f"{path} is empty: was the download complete?")
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _read(path: Path, content: np.ndarray) -> WeightsContents:
    allowance = Allowance(len(content))
    entries: dict[str, ZipEntry] = {}
    format = recognise_file(content)
    if format is None:
        entries = read_directory(content)
        format = recognise_zip(entries)
    mean_image = None
    metadata: dict[str, str] = {}
    if format == "torch zip":
        state = read_torch_zip(content, entries, allowance)
    elif format == "torch legacy":
        state = read_torch_legacy(content, allowance)
    elif format == "safetensors":
        state = StateDict(*view_safetensors(path, content, allowance))
    elif format == "npz":
        state = StateDict(read_npz(content, entries, allowance), metadata)
    else:
        arrays, mean_image = read_matconvnet(content, allowance)
        state = StateDict(arrays, metadata)
    if not state.arrays:
        raise Unreadable("holds no arrays")
    return WeightsContents(
        path=path,
        format=format,
        layout="hwio" if format in ("matconvnet", "npz") else "torch",
        arrays=without_prefix(state.arrays),
        metadata=state.metadata,
        mean_image=mean_image,
    )
