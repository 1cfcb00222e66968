"""A pack of images with a table of labels: `index.csv` beside them, in a folder or a tar archive.

The table has a line for each image and at least two columns, `file` (relative to the table) and
`class_index` (the network's logit, from 0); `synset` and `name` are used where they are given. An
archive is read in place, so it is not compressed; nothing is extracted.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from jaxinterp.data.labelled import LabelledImage, LabelledImages, SourceClass
from jaxinterp.data.open_image import UnreadableImage, reason
from jaxinterp.errors import UserError

__all__ = ["INDEX", "holds_index", "read_pack"]

INDEX = "index.csv"

# What is in an image file: its path, or the bytes of an archive's member.
_Fetch = Callable[[str], Path | bytes]


@dataclasses.dataclass(frozen=True)
class _Member:
    """Where in an archive a file's bytes are."""

    start: int
    size: int


def holds_index(path: Path) -> bool:
    """Whether `path` is a folder or an uncompressed tar archive with an `index.csv`."""
    if path.is_dir():
        return (path / INDEX).is_file()
    try:
        with tarfile.open(path, "r:") as archive:
            return any(_is_index(member) for member in archive)
    except (tarfile.TarError, OSError):
        return False


def read_pack(path: Path) -> LabelledImages:
    """The images that the table of a pack lists, in its order.

    Raises:
      UserError: no table, a line of it that cannot be used, or a broken archive.
    """
    if path.is_dir():
        text = _read_text(path / INDEX)
        fetch: _Fetch = lambda name: path / name  # noqa: E731
    else:
        text, fetch = _open_archive(path)
    rows = list(_rows(text, path))
    if not rows:
        raise UserError(f"{INDEX} of {path} lists no images.")
    classes = _classes(rows, path)
    labels = {key: label for label, key in enumerate(classes)}

    def read(position: int) -> LabelledImage:
        name = rows[position]["file"]
        return LabelledImage(name, labels[rows[position]["class_index"]], fetch(name))

    return LabelledImages(
        kind=f"pack with {INDEX}",
        location=str(path),
        classes=tuple(classes.values()),
        count=len(rows),
        read=read,
    )


def _rows(text: str, path: Path) -> Iterator[dict[str, str]]:
    """The checked lines of the table; `class_index` as the plain digits of a number."""
    try:
        table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = table.fieldnames or []
        missing = [name for name in ("file", "class_index") if name not in columns]
        if missing:
            raise UserError(
                f"{INDEX} of {path} has no column {' and no column '.join(missing)}; "
                f"its columns: {', '.join(columns) or 'none'}."
            )
        for row in table:
            where = f"line {table.line_num} of {INDEX} of {path}"
            file, number = row["file"] or "", (row["class_index"] or "").strip()
            if not (number.isascii() and number.isdigit() and len(number) < 10):
                raise UserError(f"class_index in {where} is no number from 0: {number!r}.")
            parts = PurePosixPath(file).parts
            if not parts or ".." in parts or parts[0].startswith("/") or "\0" in file:
                raise UserError(f"file in {where} is no path below the pack: {file!r}.")
            yield row | {"class_index": str(int(number))}
    except csv.Error as error:
        raise UserError(f"{INDEX} of {path} is not readable CSV: {error}.") from None


def _classes(rows: list[dict[str, str]], path: Path) -> dict[str, SourceClass]:
    """The classes that occur, by the digits of their index, in its order."""
    found: dict[str, SourceClass] = {}
    for row in rows:
        key = row["class_index"]
        own = SourceClass(key, row.get("synset") or None, row.get("name") or None)
        other = found.setdefault(key, own)
        if other.synset != own.synset:
            raise UserError(
                f"{INDEX} of {path} gives class_index {key} two synsets, "
                f"{other.synset} and {own.synset}."
            )
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def _open_archive(path: Path) -> tuple[str, _Fetch]:
    """The archive's table, and what reads a file that it lists."""
    try:
        with tarfile.open(path, "r:") as archive:
            members = {PurePosixPath(m.name): m for m in archive if m.isreg() and not m.issparse()}
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"The archive {path} cannot be read: {reason(error)}.") from None
    tables = [name for name, member in members.items() if _is_index(member)]
    if len(tables) != 1:
        raise UserError(f"The archive {path} holds {len(tables)} files {INDEX}, not 1.")
    places = {name: _Member(member.offset_data, member.size) for name, member in members.items()}

    def bytes_of(place: _Member) -> bytes:
        # Its own handle each time: threads read side by side.
        with path.open("rb") as file:
            file.seek(place.start)
            return file.read(place.size)

    def fetch(name: str) -> bytes:
        place = places.get(tables[0].parent / name)
        if place is None:
            raise UnreadableImage("the archive holds no such file")
        try:
            return bytes_of(place)
        except OSError as error:
            raise UnreadableImage(reason(error)) from None

    return _decode(bytes_of(places[tables[0]]), path), fetch


def _is_index(member: tarfile.TarInfo) -> bool:
    return member.isreg() and os.path.basename(member.name) == INDEX


def _read_text(path: Path) -> str:
    try:
        return _decode(path.read_bytes(), path.parent)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from None


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{INDEX} of {path} is not UTF-8 text.") from None
