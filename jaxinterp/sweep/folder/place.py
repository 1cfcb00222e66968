"""Where a run folder lies: on this machine's disks, or in an object store that TensorStore reads.

Both offer the same few verbs on small files named from the folder, such as "manifest.json" or
"journal/0.jsonl". Arrays are TensorStore's business: `kvstore` is where they go.
"""

from __future__ import annotations

import errno
import json
import os
import re
import urllib.parse
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import tensorstore as ts

from jaxinterp.errors import UserError

__all__ = [
    "LocalPlace",
    "Place",
    "RemotePlace",
    "context",
    "find_place",
    "partial_name",
    "storage_error",
    "write_atomically",
]

_ABSENT = b"\x02"  # TensorStore's generation of a key that is not there

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links say, such as exFAT."""

_CONTEXT = ts.Context()
"""Shared, so that every opening of a `memory://` address in a process sees the same content."""


class Place(Protocol):
    """A folder, wherever it is."""

    @property
    def name(self) -> str:
        """As the user knows it."""
        ...

    @property
    def path(self) -> Path | None:
        """The folder on this machine, if it is there."""
        ...

    def read(self, name: str) -> bytes | None:
        """A file's content, or None if it is not there."""
        ...

    def write(self, name: str, content: bytes | str) -> None:
        """Writes a file; readers see the old content or the new, never a part."""
        ...

    def create(self, name: str, content: bytes | str) -> bool:
        """Writes a file that is not there; False, and nothing done, if it is."""
        ...

    def names(self, folder: str = "") -> list[str]:
        """What lies in a folder, sorted; of an object store also what lies deeper."""
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Removes files; those that are not there are passed over."""
        ...

    def kvstore(self, folder: str) -> dict[str, Any]:
        """A folder as a specification of TensorStore."""
        ...


def find_place(address: str) -> Place:
    """The place of an address.

    That is a path, `file://...`, another address of TensorStore's (`gs://...`, `s3://...`,
    `memory://...`), or its specification as JSON (`{"driver": "s3", ...}`).

    Raises:
      UserError: an address that TensorStore does not know.
    """
    if address.startswith("file://"):
        return LocalPlace(Path(urllib.parse.unquote(address.removeprefix("file://"))))
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|\{", address):
        return LocalPlace(Path(os.path.expanduser(address)))
    return RemotePlace(address)


def partial_name(path: Path) -> Path:
    """Where a file is written before it appears; never the same twice, on no machine."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes a file so that readers see the old content or the new, never a part."""
    partial = partial_name(path)
    try:
        _write_to_disk(partial, content)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


class LocalPlace:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.name, self.path = str(path), path

    def read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes | str) -> None:
        write_atomically(self.path / name, content)

    def create(self, name: str, content: bytes | str) -> bool:
        path = self.path / name
        partial = partial_name(path)
        try:
            _write_to_disk(partial, content)
            os.link(partial, path)  # fails if it is there, and never shows a part
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():
                return False
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return True

    def names(self, folder: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self.path / folder))
        except FileNotFoundError:
            return []

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def kvstore(self, folder: str) -> dict[str, Any]:
        return {"driver": "file", "path": f"{self.path.absolute() / folder}/"}


class RemotePlace:
    """A folder in an object store."""

    path = None

    def __init__(self, address: str) -> None:
        try:
            spec = ts.KvStore.Spec(json.loads(address) if address.startswith("{") else address)
            self._spec: dict[str, Any] = spec.to_json()
        except ValueError as error:
            said = _first_sentence(error)
            raise UserError(f"There is no place {address!r} for a run folder: {said}.") from None
        path = self._spec.get("path", "")
        self._spec["path"] = path if path.endswith("/") or not path else f"{path}/"
        try:
            self._store = ts.KvStore.open(self._spec, context=_CONTEXT).result()
        except ValueError as error:
            raise storage_error(error, address.split("{")[0] or self._spec["driver"]) from None
        # Of a specification not all of it: it may hold credentials.
        where = f"{self._spec.get('bucket', '')}/{self._spec['path']}".lstrip("/")
        self.name = f"{self._spec['driver']}://{where}" if address.startswith("{") else address

    def read(self, name: str) -> bytes | None:
        return self.read_many([name])[0]

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        """Several files at the same time."""
        futures = [self._store.read(name) for name in names]
        results = [self._result(future) for future in futures]
        return [None if found.state == "missing" else found.value for found in results]

    def write(self, name: str, content: bytes | str) -> None:
        self._result(self._store.write(name, _bytes(content)))

    def create(self, name: str, content: bytes | str) -> bool:
        # The generation of a write that was not made is empty.
        future = self._store.write(name, _bytes(content), if_equal=_ABSENT)
        return bool(self._result(future).generation)

    def names(self, folder: str = "") -> list[str]:
        prefix = f"{folder}/" if folder else ""
        end = f"{folder}0" if folder else ""  # "0" follows "/"
        keys = self._result(self._store.list(ts.KvStore.KeyRange(prefix, end)))
        return sorted(key.decode("utf-8", "replace").removeprefix(prefix) for key in keys)

    def remove(self, names: Sequence[str]) -> None:
        for future in [self._store.write(name, None) for name in names]:
            self._result(future)

    def kvstore(self, folder: str) -> dict[str, Any]:
        return self._spec | {"path": f"{self._spec['path']}{folder}/"}

    def _result(self, future: Any) -> Any:
        try:
            return future.result()
        except ValueError as error:
            raise storage_error(error, self.name) from None


def context() -> ts.Context:
    """The one in which all of a process's arrays are opened."""
    return _CONTEXT


def storage_error(error: ValueError, name: str) -> OSError:
    """What TensorStore says in its own way, as an error of the system: a full disk, no network."""
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code is None:
        return OSError(errno.EIO, _first_sentence(error), name)
    return OSError(int(code[1]), os.strerror(int(code[1])), name)


def _first_sentence(error: ValueError) -> str:
    """Without the specification and the place in its source that TensorStore adds."""
    return str(error).split(" [", 1)[0].splitlines()[0].rstrip(".")


def _write_to_disk(path: Path, content: bytes | str) -> None:
    """Waits for the disk: else a power failure could leave an empty file under its final name."""
    with path.open("wb") as file:
        file.write(_bytes(content))
        file.flush()
        os.fsync(file.fileno())


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content
