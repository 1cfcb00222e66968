"""A download that is not finished yet: `NAME.partial` beside the place of the file.

What arrived stays when a download is broken off, with a note beside it (`NAME.partial.json`) of
which version of the file it belongs to. A process holds a lock on the partial file while it writes.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from jaxinterp.weights.checksum import Checksum

try:
    import fcntl
except ImportError:  # not on Windows: there, nothing keeps two processes apart
    fcntl = None  # type: ignore[assignment]

__all__ = ["PartialFile"]

_BLOCK = 1 << 20
_LOCK_INTERVAL = 0.2  # seconds


class PartialFile:
    """The bytes of a file that have arrived, held by this process alone.

    Attributes:
      size: how many there are.
    """

    def __init__(
        self,
        target: Path,
        checksum: Checksum | None,
        *,
        wait: Callable[[], None],
        sleep: Callable[[float], None],
    ) -> None:
        """Opens what an earlier download left, or a new file.

        Args:
          target: where the whole file will be.
          checksum: what it is compared with.
          wait: called once if another process holds the partial file.
          sleep: between looks at the lock.

        Raises:
          OSError: the folder cannot be written.
        """
        self._target = target
        self._path = target.with_name(target.name + ".partial")
        self._note = target.with_name(target.name + ".partial.json")
        self._checksum = checksum
        self._file = self._open(wait, sleep)
        self._hash = checksum.start() if checksum else None
        self.size = 0
        while block := self._file.read(_BLOCK):  # what is there already counts for the hash
            self._count(block)

    def _open(self, wait: Callable[[], None], sleep: Callable[[float], None]) -> BinaryIO:
        waited = False
        while True:
            file = open(self._path, "a+b")  # noqa: SIM115
            if _locked(file):
                # Whoever held the lock before may have renamed or removed the file that was opened.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), os.stat(self._path)):
                        file.seek(0)
                        return file
                file.close()
                continue
            file.close()
            if not waited:
                wait()
                waited = True
            sleep(_LOCK_INTERVAL)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.size and not self._file.closed:
            self.discard()
        self._file.close()

    def _count(self, block: bytes) -> None:
        self.size += len(block)
        if self._hash is not None:
            self._hash.update(block)

    def append(self, block: bytes) -> None:
        """Adds the next bytes."""
        self._file.write(block)
        self._count(block)

    def restart(self) -> None:
        """Throws away what arrived."""
        self._file.flush()
        self._file.truncate(0)
        self.size = 0
        self._hash = self._checksum.start() if self._checksum else None
        self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Removes the partial file and its note."""
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self._file.close()

    def remember(self, **facts: Any) -> None:
        """Notes which version of the file the bytes belong to."""
        self._note.write_text(json.dumps(facts), encoding="utf-8")

    def recall(self) -> Mapping[str, Any]:
        """What was noted; empty if nothing was, or the note is damaged."""
        try:
            facts = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def digest(self) -> str | None:
        """The hash of what arrived so far; None if there is no checksum to compare it with."""
        return None if self._hash is None else self._hash.hexdigest()

    def finish(self) -> None:
        """Puts the file in its place, whole or not at all."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if fcntl is None:  # Windows moves no open file
            self._file.close()
        os.replace(self._path, self._target)
        self._note.unlink(missing_ok=True)
        self._file.close()


def _locked(file: BinaryIO) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: as without `fcntl`
        return True
    return True
