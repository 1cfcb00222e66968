"""Finished jobs, a line each: only ever appended to, by each process to a part of its own.

On a disk process P appends to `journal/P.jsonl`. An object store cannot append: there each append
is an object of its own, `journal/P/000001.jsonl` and so on.
"""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from jaxinterp.sweep.folder.place import Place, RemotePlace

__all__ = ["Journal", "JournalLine", "open_journal"]

_AT_ONCE = 64  # objects fetched at the same time: what counts is the store's latency
_KEPT = 512  # objects of which lines are read again and again


class JournalLine(NamedTuple):
    """A line and where it stands.

    Attributes:
      part: the file or object's name.
      offset: its first byte's place in it.
      content: the line, without its end.
    """

    part: str
    offset: int
    content: bytes


class Journal(Protocol):
    """The journals of all processes, of which one is written to."""

    def append(self, lines: bytes) -> tuple[str, int]:
        """Appends whole lines, and waits until they are on disk.

        Returns:
          The part that they are in, and the place of their first byte.

        Raises:
          OSError: such as on a full disk.
        """
        ...

    def new_lines(self) -> Iterator[JournalLine]:
        """Lines of all processes that were neither read by this before nor appended here."""
        ...

    def read(self, part: str, offset: int) -> bytes:
        """A line again, without its end."""
        ...

    def close(self) -> None:
        """Closes what is open."""
        ...


def open_journal(place: Place, process: int) -> Journal:
    """The journal of a run folder; `process` is the one that appends."""
    if isinstance(place, RemotePlace):
        return ObjectJournal(place, process)
    assert place.path is not None
    return FileJournal(place.path / "journal", process)


class FileJournal:
    """On a disk."""

    def __init__(self, folder: Path, process: int) -> None:
        self._folder, self._own = folder, folder / f"{process}.jsonl"
        self._seen: dict[str, int] = {}
        self._open: dict[str, int] = {}

    def append(self, lines: bytes) -> tuple[str, int]:
        is_new = not self._own.exists()
        with self._own.open("a+b", buffering=0) as file:
            before = start = file.seek(0, os.SEEK_END)
            if before:
                # A crash may have left a line without an end: the next one must not be glued to it.
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    lines, start = b"\n" + lines, before + 1
            end = before + len(lines)
            try:
                while lines:
                    lines = lines[file.write(lines) :]
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(file.fileno(), before)
                raise
        if is_new:
            _sync_folder(self._folder)
        self._seen[self._own.name] = end
        return self._own.name, start

    def new_lines(self) -> Iterator[JournalLine]:
        for path in sorted(self._folder.glob("*.jsonl"), key=lambda path: path.name):
            part = path.name
            offset = self._seen.get(part, 0)
            with path.open("rb") as file:
                file.seek(offset)
                for line in file:
                    if not line.endswith(b"\n"):  # cut off, or being written at this moment
                        break
                    yield JournalLine(part, offset, line[:-1])
                    offset += len(line)
                    self._seen[part] = offset

    def read(self, part: str, offset: int) -> bytes:
        if part not in self._open:
            self._open[part] = os.open(self._folder / part, os.O_RDONLY)
        line = b""
        while b"\n" not in line:
            piece = os.pread(self._open[part], 4096, offset + len(line))
            if not piece:
                break
            line += piece
        return line.split(b"\n", 1)[0]

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


class ObjectJournal:
    """In an object store."""

    def __init__(self, place: RemotePlace, process: int) -> None:
        self._place, self._process = place, process
        self._seen: set[str] = set()
        self._next: int | None = None
        self._kept: collections.OrderedDict[str, bytes] = collections.OrderedDict()

    def append(self, lines: bytes) -> tuple[str, int]:
        if self._next is None:
            own = self._place.names(f"journal/{self._process}")
            numbers = [int(name[:-6]) for name in own if name[:-6].isdigit()]
            self._next = max(numbers, default=0) + 1
        part = f"{self._process}/{self._next:06}.jsonl"
        # There are no locks: a process of the same number that was thought dead may still write.
        while not self._place.create(f"journal/{part}", lines):
            self._next += 1
            part = f"{self._process}/{self._next:06}.jsonl"
        self._next += 1
        self._seen.add(part)
        return part, 0

    def new_lines(self) -> Iterator[JournalLine]:
        names = [name for name in self._place.names("journal") if name.endswith(".jsonl")]
        parts = [name for name in names if name not in self._seen]
        for start in range(0, len(parts), _AT_ONCE):
            some = parts[start : start + _AT_ONCE]
            contents = self._place.read_many([f"journal/{part}" for part in some])
            for part, content in zip(some, contents, strict=True):
                self._seen.add(part)
                offset = 0
                for line in (content or b"").splitlines(keepends=True):
                    yield JournalLine(part, offset, line.rstrip(b"\r\n"))
                    offset += len(line)

    def read(self, part: str, offset: int) -> bytes:
        if part not in self._kept:
            self._kept[part] = self._place.read(f"journal/{part}") or b""
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(part)
        return self._kept[part][offset:].split(b"\n", 1)[0]

    def close(self) -> None:
        self._kept.clear()


def _sync_folder(folder: Path) -> None:
    """So that a new file's name survives a power failure, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems cannot
        pass
    finally:
        os.close(descriptor)
