"""Which file is this? Its sha256, without reading 500 MB anew at every start."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import time
import uuid
from pathlib import Path

from jaxinterp.errors import UserError
from jaxinterp.weights.cache_folder import cache_folder
from jaxinterp.weights.checksum import sha256_of

__all__ = ["FileIdentity", "identify"]

_SETTLED = 2_000_000_000
"""Nanoseconds: a file touched less than this before it was hashed could be touched again without
its times showing it, as the coarsest file systems count in steps of two seconds."""


@dataclasses.dataclass(frozen=True)
class FileIdentity:
    """A file and its content at one moment.

    Attributes:
      path: as it was given.
      resolved: the same, absolute, links followed.
      sha256: 64 hexadecimal digits.
      stamp: size, times of change (ns) and inode, which a changed file does not share.
    """

    path: Path
    resolved: Path
    sha256: str
    stamp: tuple[int, ...]

    def is_current(self) -> bool:
        """Whether the file still is as it was then."""
        try:
            return self.path.resolve() == self.resolved and _stamp(self.resolved) == self.stamp
        except OSError:
            return False


def identify(path: str | Path) -> FileIdentity:
    """The identity of a file.

    The sha256 is remembered in the cache folder under path, size, times and inode. If the folder
    cannot be written, the file is hashed at every call.

    Raises:
      UserError: there is no such file, or it cannot be read.
    """
    given = Path(os.path.expanduser(path))
    try:
        if given.is_dir():
            raise UserError(f"{given} is a folder: give a weights file.")
        if not given.exists():
            raise UserError(f"There is no weights file {given}.")
        resolved = given.resolve()
        stamp = _stamp(resolved)
        digest = _recall(resolved, stamp)
        if digest is None:
            begun = time.time_ns()
            digest = sha256_of(resolved)
            _remember(resolved, stamp, begun, digest)
    except OSError as error:
        raise UserError(f"{given} cannot be read: {error.strerror or error}.") from None
    return FileIdentity(given, resolved, digest, stamp)


def _stamp(path: Path) -> tuple[int, ...]:
    facts = path.stat()
    # The time of change (ctime) too: programs that copy files set the time of modification back.
    return (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino, facts.st_dev)


def _note(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    return cache_folder() / "hashes" / f"{name}.json"


def _recall(path: Path, stamp: tuple[int, ...]) -> str | None:
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
        known = note["path"] == os.fsdecode(path) and note["stamp"] == list(stamp)
        digest = note["sha256"]
        whole = len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    except (OSError, UserError, ValueError, TypeError, KeyError):
        return None
    return digest if known and whole else None


def _remember(path: Path, stamp: tuple[int, ...], begun: int, digest: str) -> None:
    _, modified, changed, *_ = stamp
    if max(modified, changed) + _SETTLED > begun or _stamp(path) != stamp:
        return
    content = json.dumps({"path": os.fsdecode(path), "stamp": stamp, "sha256": digest})
    # A cache that cannot be written costs time, nothing else; `cache` says so once.
    with contextlib.suppress(OSError, UserError, ValueError):
        note = _note(path)
        note.parent.mkdir(parents=True, exist_ok=True)
        partial = note.with_name(f".{note.name}.{uuid.uuid4().hex}")
        partial.write_text(content, encoding="utf-8")
        os.replace(partial, note)
