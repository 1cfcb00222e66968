"""The files of a set, in a folder or in an uncompressed tar archive that is read in place.

Tables of a set name files. Only files that the tree lists can be read, so a table cannot name one
outside it: not by "..", not by an absolute path, not through a link.
"""

from __future__ import annotations

import dataclasses
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from jaxinterp.data.open_image import IMAGE_SUFFIXES, UnreadableImage, open_image, reason
from jaxinterp.errors import UserError, nearest

__all__ = ["FileTree", "open_tree"]


@dataclasses.dataclass(frozen=True, eq=False)
class FileTree:
    """Files by their paths below the root, with "/" between the parts.

    Attributes:
      location: the path that was given.
      names: of all files, in order. Hidden files are left out.
      leaving: links that lead out of the tree, to files or to folders.
      fetch: the content of a file in `names`; may be called from several threads.
    """

    location: str
    names: dict[str, None]
    leaving: frozenset[str]
    fetch: Callable[[str], bytes]

    def problem(self, name: str) -> str | None:
        """Why a table may not name this file, in words that follow its name; None if it may."""
        if name in self.names:
            return None
        parts = PurePosixPath(name).parts
        if not name or "\0" in name:
            return "is no path of a file"
        if parts[0] == "/" or ".." in parts or "\\" in name or ":" in parts[0]:
            return "leaves the folder of the set"
        if any("/".join(parts[: i + 1]) in self.leaving for i in range(len(parts))):
            return "is a link that leaves the folder of the set"
        return None if "/".join(parts) in self.names else "is missing"

    def text(self, name: str) -> str:
        """A text file.

        Raises:
          UserError: it is missing, cannot be read or is not UTF-8.
        """
        problem = self.problem(name)
        if problem:
            raise UserError(f"{name} of {self.location} {problem}.")
        try:
            return self.fetch(name).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UserError(f"{name} of {self.location} is not UTF-8 text.") from None
        except OSError as error:
            raise UserError(f"{name} of {self.location} cannot be read: {reason(error)}.") from None

    def pixels(self, name: str, *, indexed: bool = False) -> np.ndarray:
        """The pixels of an image file.

        Args:
          name: of the file.
          indexed: as they are stored, for masks: [h, w] or [h, w, c]; of a palette the indices.
            Otherwise RGB.

        Returns:
          uint8 [h, w, 3], or what is stored.

        Raises:
          UnreadableImage: it is missing or damaged; the message names it.
        """
        try:
            content = self.fetch(name)
            if not content:
                raise UnreadableImage("the file is empty")
            with open_image(io.BytesIO(content)) as image:
                return np.asarray(image if indexed else image.convert("RGB"))
        except (OSError, UnreadableImage) as error:
            raise UnreadableImage(f"{name}: {reason(error)}") from None

    def images(self, folder: str = "") -> list[str]:
        """The files below a folder whose names end as those of images do, in order."""
        return [name for name in self.names if name.startswith(folder) and _is_image(name)]

    def has_folder(self, name: str) -> bool:
        """Whether there is a file in this folder or below it."""
        return any(one.startswith(name + "/") for one in self.names)


def open_tree(location: str | Path, *, follow_links: bool = True) -> FileTree:
    """Lists the files of a folder or of an uncompressed tar archive.

    Args:
      location: the path. Of an archive whose files all lie in one folder, that folder is the root.
      follow_links: takes links that lead out of the folder for what they lead to. A folder is
        listed through one link at most. Links in archives are never followed.

    Raises:
      UserError: nothing is there, or it cannot be read.
    """
    path = Path(os.path.expanduser(location))
    if not path.exists():
        near = [str(other) for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(nearest(str(path), sorted(near), kind="folder or archive"))
    try:
        if path.is_file() and _begins(path).startswith(_COMPRESSED):
            raise UserError(
                f"{path} is compressed: give the unpacked folder, or an uncompressed .tar of it."
            )
        return _folder(path, follow_links) if path.is_dir() else _archive(path)
    except (OSError, tarfile.TarError) as error:
        place = getattr(error, "filename", None) or path
        raise UserError(f"{place} cannot be read: {reason(error)}.") from None


_COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd")
"""How files of gzip, zip, bzip2, xz and Zstandard begin."""


def _begins(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _folder(path: Path, follow_links: bool) -> FileTree:
    base = os.path.realpath(path)
    names: list[str] = []
    leaving: set[str] = set()
    linked: set[str] = set()

    def scan(folder: str, prefix: str, inside: tuple[str, ...]) -> None:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = prefix + entry.name
            if entry.is_symlink():
                real = os.path.realpath(entry.path)
                if not follow_links and not real.startswith(base + os.sep):
                    leaving.add(name)
                    continue
                # A link may lead back to a folder we are in, and links to links multiply.
                if real in inside or (entry.is_dir() and real in linked):
                    continue
                linked.add(real)
            if entry.is_dir():
                scan(entry.path, name + "/", (*inside, os.path.realpath(entry.path)))
            elif entry.is_file():
                names.append(name)

    scan(str(path), "", (base,))
    return FileTree(
        str(path), dict.fromkeys(names), frozenset(leaving), lambda name: (path / name).read_bytes()
    )


def _archive(path: Path) -> FileTree:
    with tarfile.open(path, "r:") as archive:
        members = {
            PurePosixPath(member.name): (member.offset_data, member.size)
            for member in archive
            if member.isreg() and not member.issparse()
        }
    plain = {
        name: place
        for name, place in members.items()
        if name.parts
        and not any(part.startswith(".") for part in name.parts)
        and not name.is_absolute()
    }
    tops = {name.parts[0] for name in plain}
    depth = 1 if len(tops) == 1 and all(len(name.parts) > 1 for name in plain) else 0
    places = {"/".join(name.parts[depth:]): plain[name] for name in sorted(plain)}

    def fetch(name: str) -> bytes:
        start, size = places[name]
        # Its own handle each time: threads read side by side.
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    return FileTree(str(path), dict.fromkeys(places), frozenset(), fetch)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
