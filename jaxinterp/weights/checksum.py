"""The checksum that a publisher gives for a file."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, Literal

__all__ = ["Checksum", "sha256_of"]

_BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Checksum:
    """The first digits of a file's hash, as many as are published.

    Attributes:
      algorithm: `sha256`, or `md5` where the publisher gives nothing better.
      digits: hexadecimal, lower case.
    """

    algorithm: Literal["sha256", "md5"]
    digits: str

    def start(self) -> Any:
        """A new hash object of `hashlib`."""
        return hashlib.new(self.algorithm, usedforsecurity=False)

    def fits(self, digest: str) -> bool:
        """Whether a whole hexadecimal digest begins with the published digits."""
        return digest.startswith(self.digits)

    def fits_file(self, path: Path, *, sha256: str) -> bool:
        """Whether a file is the published one; its sha256 is known already."""
        return self.fits(sha256 if self.algorithm == "sha256" else _digest(path, self.start()))

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digits}"


def sha256_of(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits."""
    return _digest(path, hashlib.sha256())


def _digest(path: Path, hasher: Any) -> str:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest()
