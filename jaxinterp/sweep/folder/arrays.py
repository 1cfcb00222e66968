"""Arrays with a chunk a job: which are there, which are whole, and their values.

An array `NAME.zarr` is Zarr 3. Chunk i is one file `c.I.0.0.0` that holds job i's values without
compression and their CRC-32C, so that a chunk that is cut or changed is found: by its length when
the folder is opened (on a disk), by its checksum when it is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import tensorstore as ts

from jaxinterp.errors import UserError
from jaxinterp.sweep.folder.place import Place, context, storage_error

__all__ = ["ArraySpec", "JobArray", "StoredType"]

StoredType = Literal["float32", "bfloat16", "uint8"]

_CHECKSUM_BYTES = 4
_AT_ONCE = 64  # chunks read at the same time
_DAMAGE = re.compile(r"DATA_LOSS|Digest mismatch|Not enough data|End-to-end|Trailing|Extra data")


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """What an array holds of each job.

    Attributes:
      shape: of one job's values.
      dtype: how they are stored. "uint8" is for values in [0, 1], of which it keeps 255 steps:
        others are clipped, and NaN becomes 0. "bfloat16" keeps 8 significant bits.
    """

    shape: tuple[int, ...]
    dtype: StoredType = "float32"


class JobArray:
    """An array with a chunk a job."""

    def __init__(
        self, place: Place, name: str, jobs: int, spec: ArraySpec, *, create: bool = True
    ) -> None:
        """Opens the array, or makes it; without `create`, one that is not there has no chunks.

        Raises:
          UserError: an array of another shape or type is there.
          OSError: it cannot be read or made.
        """
        self.name, self.spec, self._place, self._folder = name, spec, place, f"{name}.zarr"
        self._jobs, self._store = jobs, None
        metadata = {
            "shape": [jobs, *spec.shape],
            "data_type": spec.dtype,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [1, *spec.shape]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}}
                if spec.dtype != "uint8"
                else {"name": "bytes"},
                {"name": "crc32c"},
            ],
            "fill_value": 0 if spec.dtype == "uint8" else "NaN",
        }
        try:
            self._store = ts.open(
                {
                    "driver": "zarr3",
                    "kvstore": place.kvstore(self._folder),
                    "metadata": metadata,
                    # A job without a finite value is a result too, and its chunk must be there.
                    "store_data_equal_to_fill_value": True,
                    "recheck_cached_metadata": "open",
                },
                open=True,
                create=create,
                context=context(),
            ).result()
        except ValueError as error:
            if "NOT_FOUND" in str(error) and not create:
                self._store = None
            elif "FAILED_PRECONDITION" in str(error) or "INVALID_ARGUMENT" in str(error):
                said = str(error).split(" [", 1)[0].rsplit(": ", 1)[-1].splitlines()[0]
                raise UserError(f"{self._folder} in {place.name} does not fit: {said}.") from None
            else:
                raise storage_error(error, place.name) from None
        self._tail = ".0" * len(spec.shape)
        self._chunk = re.compile(rf"c\.(\d+){re.escape(self._tail)}")

    @property
    def chunk_bytes(self) -> int:
        """The length of a whole chunk."""
        size = ts.dtype(self.spec.dtype).numpy_dtype.itemsize
        return math.prod(self.spec.shape) * size + _CHECKSUM_BYTES

    def present(self) -> np.ndarray:
        """Which chunks are there, bool [jobs]; on a disk those of another length do not count."""
        found = np.zeros(self._jobs, bool)
        length = self.chunk_bytes
        if self._store is None:
            return found
        if self._place.path is None:
            for name in self._place.names(self._folder):
                self._note(found, name)
            return found
        with os.scandir(self._place.path / self._folder) as entries:
            for entry in entries:
                # Beside chunks there are locks and parts of them, which come and go.
                if self._chunk.fullmatch(entry.name) is None:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat().st_size == length:
                        self._note(found, entry.name)
        return found

    def _note(self, found: np.ndarray, name: str) -> None:
        match = self._chunk.fullmatch(name)
        if match is not None and int(match[1]) < len(found):
            found[int(match[1])] = True

    def write(self, indices: np.ndarray, values: np.ndarray) -> ts.WriteFutures:
        """Writes the values of some jobs, as `encode` gave them."""
        assert self._store is not None
        return self._store[indices].write(values)

    def encode(self, values: Any) -> np.ndarray:
        """A copy of values [n, ...] as they are stored.

        Raises:
          ValueError: they have another shape.
        """
        values = np.asarray(values)
        if values.shape[1:] != self.spec.shape:
            raise ValueError(f"{self.name} holds {self.spec.shape} a job, got {values.shape[1:]}")
        if self.spec.dtype == "uint8":
            values = np.nan_to_num(np.clip(values.astype(np.float32), 0, 1), nan=0.0)
            return np.rint(values * 255).astype(np.uint8)
        # A copy: the caller may reuse its own.
        return values.astype(ts.dtype(self.spec.dtype).numpy_dtype)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """Stored values as float32."""
        values = np.asarray(values)
        if self.spec.dtype == "uint8":
            return values.astype(np.float32) / np.float32(255)
        return values.astype(np.float32)

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values of jobs whose chunks are there.

        Returns:
          (float32 [n, ...], those of them that are damaged, bool [n]; their values are NaN).

        Raises:
          OSError: anything but damage.
        """
        values = np.full((len(indices), *self.spec.shape), np.nan, np.float32)
        damaged = np.ones(len(indices), bool)
        for place, found in enumerate(self._each(indices)):
            if found is not None:
                values[place], damaged[place] = self.decode(found), False
        return values, damaged

    def damaged(self, indices: np.ndarray) -> np.ndarray:
        """As `read`, without keeping the values."""
        return np.array([found is None for found in self._each(indices)], bool)

    def _each(self, indices: np.ndarray) -> Iterator[np.ndarray | None]:
        """The stored values of each job, None where they are damaged."""
        assert self._store is not None
        for start in range(0, len(indices), _AT_ONCE):
            reads = [self._store[int(i)].read() for i in indices[start : start + _AT_ONCE]]
            for read in reads:
                try:
                    yield read.result()
                except ValueError as error:
                    if not _DAMAGE.search(str(error)):
                        raise storage_error(error, self._place.name) from None
                    yield None

    def remove(self, indices: Iterable[int]) -> None:
        """Removes chunks."""
        self._place.remove([f"{self._folder}/c.{index}{self._tail}" for index in indices])
