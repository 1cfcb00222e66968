"""What must hold when any file is read as weights, whatever is in it.

`examine` reads a file while `Watch` listens to the interpreter: whatever would run code or touch
another file is a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.weights.contents import WeightsContents
from jaxinterp.weights.formats.allowance import MOST_COPIES, SMALLEST_ALLOWANCE
from jaxinterp.weights.read import read_weights

# What the interpreter announces before it runs code, starts processes, connects, changes files.
_FORBIDDEN = (
    *("os.", "subprocess.", "shutil.", "socket.", "urllib.", "ftplib.", "smtplib.", "webbrowser."),
    *("exec", "compile", "import", "pickle.", "marshal.", "ctypes.", "code.", "function.__new__"),
    *("builtins.input", "builtins.breakpoint", "cpython.", "signal.", "tempfile.", "sys.set"),
)  # fmt: skip


class Watch:
    """Listens to the interpreter's audit events; there is one, and it cannot be removed.

    An event that reading must not cause is noted and forbidden.
    """

    def __init__(self) -> None:
        self.path: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    @contextlib.contextmanager
    def listening(self, path: Path) -> Iterator[None]:
        """While a file is read, which alone may be opened, for reading."""
        self.seen.clear()
        self.path = str(path)
        try:
            yield
        finally:
            self.path = None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.path is None:
            return
        allowed = not event.startswith(_FORBIDDEN)
        if event == "open":
            allowed = os.fspath(arguments[0]) == self.path and arguments[1] in ("rb", "r")
        if event == "import":  # an encoding that was not used before
            allowed = arguments[0].startswith("encodings.")
        if not allowed:
            self.seen.append(f"{event} {arguments}"[:300])
            raise PermissionError(f"reading caused {event}")


def examine(path: Path, watch: Watch | None = None) -> WeightsContents | UserError:
    """Reads a file and all of its arrays, watched; fails unless that ends cleanly.

    Returns:
      What the file holds, or the clean refusal.
    """
    result: WeightsContents | UserError
    with watch.listening(path) if watch else contextlib.nullcontext():
        try:
            result = read_weights(path)
            sizes = sum(len(array.tobytes()) for array in result.arrays.values())
        except UserError as error:
            result, sizes = error, 0
    assert not (watch and watch.seen), watch and watch.seen
    if isinstance(result, UserError):
        sentence = str(result)
        assert sentence.endswith((".", "?")), sentence
        assert sentence.isprintable(), sentence
        assert len(sentence) < 1000 + len(str(path)), sentence
        return result
    assert sizes <= SMALLEST_ALLOWANCE + MOST_COPIES * path.stat().st_size
    assert result.arrays
    for name, array in result.arrays.items():
        assert type(name) is str
        assert type(array) is np.ndarray
        assert array.dtype.kind in "fiub" or array.dtype == ml_dtypes.bfloat16
        assert array.dtype.isnative
        assert array.flags.aligned
        assert not array.flags.writeable
    assert all(type(k) is type(v) is str for k, v in result.metadata.items())
    assert result.mean_image is None or result.mean_image.shape[2] == 3
    json.dumps(dict(result.metadata))
    return result


def assert_equal(found: WeightsContents, expected: WeightsContents) -> None:
    """The same arrays, bit by bit."""
    assert set(found.arrays) == set(expected.arrays)
    for name, array in expected.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()
