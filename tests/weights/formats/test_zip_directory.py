"""Zip archives: equal to the standard library's reading, strict where that is lenient."""

import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxinterp.weights.formats.allowance import SMALLEST_ALLOWANCE, Allowance
from jaxinterp.weights.formats.unreadable import Unreadable
from jaxinterp.weights.formats.zip_directory import open_entry, read_directory


def archive(entries, *, compression=zipfile.ZIP_STORED, comment=b"", zip64=False, stream=False):
    out = io.BytesIO()
    out.seekable = lambda: not stream  # an archive that is streamed states its sizes afterwards
    with zipfile.ZipFile(out, "w", compression) as file:
        for name, content in entries.items():
            with file.open(name, "w", force_zip64=zip64) as entry:
                entry.write(content)
        file.comment = comment
    return out.getvalue()


def as_bytes(content):
    return np.frombuffer(content, np.uint8)


def contents(content):
    """What all entries hold, by name."""
    content = as_bytes(content)
    allowance = Allowance(len(content))
    return {
        name: open_entry(content, entry, allowance).tobytes()
        for name, entry in read_directory(content).items()
    }


@given(
    st.dictionaries(st.text("abc/é", min_size=1).map(lambda s: s + "."), st.binary(), max_size=5),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.binary(max_size=30),
    st.booleans(),
    st.booleans(),
)
def test_entries_are_those_of_the_standard_library(entries, compression, comment, zip64, stream):
    content = archive(entries, compression=compression, comment=comment, zip64=zip64, stream=stream)
    assert contents(content) == entries


def test_uncompressed_entries_are_views():
    content = as_bytes(archive({"a": b"abc", "b": b"defg"}))
    for name, entry in read_directory(content).items():
        opened = open_entry(content, entry, Allowance(0))
        assert np.shares_memory(opened, content)
        assert len(opened) == {"a": 3, "b": 4}[name]


def test_a_zip64_directory_is_read():
    """The fields for many entries or large archives, made small: all values in their wide form."""
    content = archive({"name": b"content"})
    start = content.index(b"PK\1\2")
    directory = bytearray(content[start : content.index(b"PK\5\6")])
    header = struct.unpack_from("<I", directory, 42)[0]
    extra = struct.pack("<HHQQQ", 1, 24, 7, 7, header)
    directory[20:28] = b"\xff" * 8
    directory[30:32] = struct.pack("<H", len(extra))
    directory[42:46] = b"\xff" * 4
    directory += extra
    end = struct.pack(
        "<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), start
    ) + struct.pack("<4sIQI", b"PK\6\7", 0, start + len(directory), 1)
    last = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    wide = content[:start] + bytes(directory) + end + last
    assert zipfile.ZipFile(io.BytesIO(wide)).read("name") == b"content"
    assert contents(wide) == {"name": b"content"}


def test_folders_are_left_out():
    assert contents(archive({"folder/": b"", "folder/a": b"1"})) == {"folder/a": b"1"}


SMALL = archive({"a": b"some content", "folder/b": bytes(20)})
DEFLATED = archive({"a": b"some content" * 9, "b": bytes(99)}, compression=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("whole", [SMALL, DEFLATED], ids=["stored", "deflated"])
def test_every_beginning_and_every_extension_is_refused(whole):
    for length in range(len(whole)):
        with pytest.raises(Unreadable, match=r"cut short|damaged"):
            contents(whole[:length])
    with pytest.raises(Unreadable, match="damaged"):
        contents(whole + b"more")


@pytest.mark.parametrize("whole", [SMALL, DEFLATED], ids=["stored", "deflated"])
def test_no_flipped_bit_changes_what_is_read(whole):
    """Names stand twice and contents have checksums; what is left (dates) means nothing."""
    expected, refused = contents(whole), 0
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        try:
            assert contents(bytes(flipped)) == expected
        except Unreadable:
            refused += 1
    assert refused > 4 * len(whole)


def test_an_archive_without_checksums_is_read():
    """`torch.save` leaves them 0 if it is told to."""
    content = bytearray(SMALL)
    for mark, offset in ((b"PK\3\4", 14), (b"PK\1\2", 16)):
        place = content.find(mark)
        while place >= 0:
            content[place + offset : place + offset + 4] = bytes(4)
            place = content.find(mark, place + 1)
    assert contents(bytes(content)) == {"a": b"some content", "folder/b": bytes(20)}


def test_a_zip_bomb_is_refused_before_it_is_inflated():
    bomb = archive({"a": bytes(2 * SMALLEST_ALLOWANCE)}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < SMALLEST_ALLOWANCE / 400
    with pytest.raises(Unreadable, match=r"claims 134,217,728 bytes for 'a'"):
        contents(bomb)


def test_bombs_on_top_of_each_other_are_counted_together():
    """Many entries may share one deflated content: none is too large alone."""
    entries = {str(i): bytes(SMALLEST_ALLOWANCE // 4) for i in range(9)}
    with pytest.raises(Unreadable, match="more than 64 MiB and 8 times the file"):
        contents(archive(entries, compression=zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("stated", [98, 100])
def test_a_size_that_deflated_content_does_not_have_is_damage(stated):
    content = bytearray(DEFLATED)
    place = content.rindex(b"PK\1\2")
    content[place + 24 : place + 28] = struct.pack("<I", stated)
    with pytest.raises(Unreadable, match="does not have the size that it states"):
        contents(bytes(content))


def edited(offset, value, mark=b"PK\1\2"):
    content = bytearray(SMALL)
    place = content.index(mark) + offset
    content[place : place + len(value)] = value
    return bytes(content)


REFUSED = {
    "encrypted": (edited(8, b"\1"), "encrypted"),
    "LZMA": (edited(10, b"\x0e"), "compressed in a way that is not read, 14"),
    "another disk": (edited(34, b"\3"), "compressed in a way|damaged"),
    "in parts": (edited(4, b"\1", b"PK\5\6"), "several parts"),
    "too many entries": (edited(10, b"\xff\xff", b"PK\5\6"), "directory is broken"),
    "two sizes": (edited(24, b"\1"), "two sizes"),
    "far away": (edited(42, b"\xf0\xff\xff\x7f"), "directory"),
    "empty": (b"PK\3\4", "cut short"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_read_is_named(content, reason):
    with pytest.raises(Unreadable, match=reason):
        contents(content)


def test_two_entries_of_one_name_are_refused():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a", "2")
    with pytest.raises(Unreadable, match="two entries of one name"):
        contents(out.getvalue())
