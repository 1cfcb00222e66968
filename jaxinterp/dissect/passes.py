"""What a pass over images has come to, kept in the run folder so that it can go on from there.

A pass adds up arrays. Every minute, and at its end, they are written together with the number of
images that they hold. Their size does not depend on that number, but for the outcomes of ablation
and the completeness of integrated gradients, which are kept for every image.
"""

from __future__ import annotations

import dataclasses
import io
import json
import time
import zipfile
from collections.abc import Mapping

import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.sweep.folder.place import Place

__all__ = ["PassFile", "SavedPass", "Unkept"]

_SECONDS = 60.0
_FORMAT = 1


@dataclasses.dataclass(frozen=True, eq=False)
class SavedPass:
    """A pass as it was last written.

    Attributes:
      position: how many of the images are in it, from the first.
      finished: whether it is over.
      arrays: what it has added up.
      unreadable: name and reason of each image that could not be read.
    """

    position: int
    finished: bool
    arrays: dict[str, np.ndarray]
    unreadable: tuple[tuple[str, str], ...]


class PassFile:
    """The file of one pass: `passes/NAME.npz` of a run folder."""

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, f"passes/{name}.npz"
        self._written = time.monotonic()
        self._basis = ""
        self._unreadable: list[tuple[str, str]] = []

    def load(self, basis: str = "") -> SavedPass | None:
        """What was written, or None.

        Args:
          basis: a digest of what the pass goes on from; what was written on another basis does not
            count.

        Raises:
          UserError: the file is damaged.
        """
        self._basis, self._unreadable = basis, []
        content = self._place.read(self._name)
        if content is None:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            head = json.loads(bytes(arrays.pop("__head__")).decode())
            if head["format"] != _FORMAT:
                raise ValueError(f"format {head['format']}")
            if head["basis"] != basis:
                return None
            unreadable = tuple((str(name), str(reason)) for name, reason in head["unreadable"])
            saved = SavedPass(int(head["position"]), bool(head["finished"]), arrays, unreadable)
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{self._name} in {self._place.name} is damaged ({error}): delete it, and this "
                "pass is done again."
            ) from None
        self._unreadable = list(saved.unreadable)
        return saved

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """Name and reason of each image that could not be read so far."""
        return tuple(self._unreadable)

    def failed(self, images: tuple[tuple[str, str], ...]) -> None:
        """Notes images that could not be read."""
        self._unreadable += images

    @property
    def due(self) -> bool:
        """Whether a minute has passed since the last writing."""
        return time.monotonic() - self._written > _SECONDS

    def save(
        self, arrays: Mapping[str, np.ndarray], *, position: int, finished: bool = False
    ) -> None:
        """Writes what was added up; readers see the old content or the new.

        Raises:
          OSError: a full disk.
        """
        head = {
            "format": _FORMAT,
            "basis": self._basis,
            "position": position,
            "finished": finished,
            "unreadable": self._unreadable,
        }
        encoded = np.frombuffer(json.dumps(head).encode(), np.uint8)
        content = io.BytesIO()
        # What is overwritten in a minute is not worth compressing.
        write = np.savez_compressed if finished else np.savez
        write(content, __head__=encoded, **arrays)  # type: ignore[arg-type]
        self._place.write(self._name, content.getvalue())
        self._written = time.monotonic()


class Unkept(PassFile):
    """A pass that is kept nowhere."""

    def __init__(self) -> None:
        self._unreadable: list[tuple[str, str]] = []

    def load(self, basis: str = "") -> SavedPass | None:
        """Nothing."""
        return None

    @property
    def due(self) -> bool:
        """Never."""
        return False

    def save(
        self, arrays: Mapping[str, np.ndarray], *, position: int, finished: bool = False
    ) -> None:
        """Does nothing."""
