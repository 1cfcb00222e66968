"""What lies where in a zip archive: PyTorch's checkpoints and NumPy's `.npz` files are zips.

The standard library's `zipfile` copies what it reads and does not say where an entry's bytes lie;
here uncompressed entries are views of the mapped file, so that half a gigabyte opens at once. Only
what those two writers use is read: entries stored or deflated, zip64, one disk, no encryption.
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.unreadable import Unreadable, quoted

__all__ = ["ZipEntry", "open_entry", "read_directory"]

_STORED, _DEFLATED = 0, 8
_IN_ZIP64 = 0xFFFFFFFF
_ENCRYPTED = 1
_LONGEST_COMMENT = 0xFFFF
_MOST_ENTRIES = 200_000  # the largest published checkpoints have some thousands
_CRC_CHUNK = 2**24


@dataclasses.dataclass(frozen=True)
class ZipEntry:
    """One file in an archive.

    Attributes:
      name: with "/" between folders.
      deflated: or stored as it is.
      checksum: CRC-32 of the content; None in an archive that was written without any.
      start: where its bytes lie in the archive.
      stored: number of bytes there.
      size: number of bytes of the content.
    """

    name: str
    deflated: bool
    checksum: int | None
    start: int
    stored: int
    size: int


def read_directory(content: np.ndarray) -> dict[str, ZipEntry]:
    """The entries of an archive by name, folders left out.

    Args:
      content: of the whole file, uint8 [n].

    Raises:
      Unreadable: cut short, contradicting itself, or using what is not read.
    """
    try:
        entries = list(_entries(content.data))
    except struct.error:
        raise _damaged("its directory is cut short") from None
    names = {entry.name: entry for entry in entries}
    if len(names) < len(entries):
        raise _damaged("it holds two entries of one name")
    if not any(entry.checksum for entry in entries):
        # torch.save writes zeros if it is told to compute no checksums.
        names = {k: dataclasses.replace(v, checksum=None) for k, v in names.items()}
    return {name: entry for name, entry in names.items() if not name.endswith("/")}


def open_entry(content: np.ndarray, entry: ZipEntry, allowance: Allowance) -> np.ndarray:
    """The bytes of an entry, uint8 [size], checksum compared: a view of the archive if possible.

    Raises:
      Unreadable: damaged, or larger than `allowance` lets it be; found before memory is taken.
    """
    # Stored ones count as well: entries may lie on top of each other, and each checksum takes time.
    allowance.take(entry.size, entry.name)
    raw = content[entry.start : entry.start + entry.stored]
    if entry.deflated:
        raw = np.frombuffer(_inflate(raw, entry), np.uint8)
    if entry.checksum is not None:
        checksum = 0
        for start in range(0, len(raw), _CRC_CHUNK):
            checksum = zlib.crc32(raw[start : start + _CRC_CHUNK].data, checksum)
        if checksum != entry.checksum:
            raise _damaged(f"the checksum of {quoted(entry.name)} is wrong")
    return raw


def _inflate(raw: np.ndarray, entry: ZipEntry) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # One byte more than there should be, so that too much is noticed.
        inflated = inflater.decompress(raw.data, entry.size + 1)
    except zlib.error:
        raise _damaged(f"{quoted(entry.name)} cannot be decompressed") from None
    if len(inflated) != entry.size or not inflater.eof:
        raise _damaged(f"{quoted(entry.name)} does not have the size that it states")
    return inflated


def _entries(content: memoryview) -> Iterator[ZipEntry]:
    start, end, count = _find_directory(content)
    if count > _MOST_ENTRIES:
        raise Unreadable(f"is a zip archive of {count:,} entries, more than any weights have")
    position = start
    for _ in range(count):
        fields = struct.unpack_from("<4s4xHH4xIIIHHHHHII", content, position)
        signature, flags, method, checksum, stored, size = fields[:6]
        name_length, extra_length, comment_length, disk, _, _, header = fields[6:]
        if signature != b"PK\1\2":
            raise _damaged("its directory is broken")
        position += 46
        raw_name = bytes(content[position : position + name_length])
        extra = content[position + name_length : position + name_length + extra_length]
        position += name_length + extra_length + comment_length
        if position > end:
            raise _damaged("its directory is broken")
        name = raw_name.decode("utf-8", "replace")
        size, stored, header = _widen(extra, size, stored, header)
        if flags & _ENCRYPTED:
            raise Unreadable(f"is an encrypted zip archive ({quoted(name)})")
        if method not in (_STORED, _DEFLATED) or disk not in (0, 0xFFFF):
            raise Unreadable(f"is a zip archive compressed in a way that is not read, {method}")
        if method == _STORED and stored != size:
            raise _damaged(f"{quoted(name)} has two sizes")
        data = _data_start(content, header, raw_name)
        if data + stored > start:
            raise _damaged(f"{quoted(name)} lies outside of it")
        yield ZipEntry(name, method == _DEFLATED, checksum, data, stored, size)
    if position != end:
        raise _damaged("its directory is broken")


def _find_directory(content: memoryview) -> tuple[int, int, int]:
    """Where the directory starts and ends, and how many entries it has."""
    tail_start = max(0, len(content) - _LONGEST_COMMENT - 22)
    at = bytes(content[tail_start:]).rfind(b"PK\5\6")
    if at < 0:
        raise Unreadable("is a zip archive cut short: was the download complete?")
    position = tail_start + at
    _, disk, _, _, count, size, start, comment = struct.unpack_from("<4s4H2IH", content, position)
    if position + 22 + comment != len(content):
        raise _damaged("bytes are missing or too many at its end")
    if position >= 20 and content[position - 20 : position - 16] == b"PK\6\7":
        (position,) = struct.unpack_from("<8xQ", content, position - 20)
        if position > len(content):
            raise _damaged("its directory is broken")
        fields = struct.unpack_from("<4s20xQQQQ", content, position)
        signature, _, count, size, start = fields
        if signature != b"PK\6\6":
            raise _damaged("its directory is broken")
    elif disk:
        raise Unreadable("is one part of a zip archive in several parts")
    if start + size != position or count * 46 > size:
        raise _damaged("its directory is broken")
    return start, position, count


def _widen(extra: memoryview, size: int, stored: int, header: int) -> tuple[int, int, int]:
    """Sizes and position, those too large for 32 bits out of the zip64 field."""
    if _IN_ZIP64 not in (size, stored, header):
        return size, stored, header
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            wide = iter(struct.unpack(f"<{length // 8}Q", extra[4 : 4 + length // 8 * 8]))
            values = [next(wide, v) if v == _IN_ZIP64 else v for v in (size, stored, header)]
            return values[0], values[1], values[2]
        extra = extra[4 + length :]
    return size, stored, header


def _data_start(content: memoryview, header: int, name: bytes) -> int:
    """Where the bytes of the entry lie whose local header is at `header`."""
    if header > len(content):
        raise _damaged("its directory is broken")
    signature, length, extra = struct.unpack_from("<4s22xHH", content, header)
    if signature != b"PK\3\4" or bytes(content[header + 30 : header + 30 + length]) != name:
        raise _damaged("its directory does not agree with its entries")
    return header + 30 + length + extra


def _damaged(what: str) -> Unreadable:
    return Unreadable(f"is a damaged zip archive: {what}")
