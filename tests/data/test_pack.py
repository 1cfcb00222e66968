"""Packs: a table of labels beside images, in a folder or a tar archive."""

import io
import re
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.data.pack import holds_index, read_pack
from jaxinterp.errors import UserError

TABLE = """file,synset,class_index,name,extra
images/b.png,n01443537,1,goldfish,x
a.jpg,n01440764,0,"tench, big",y
images/c.png,n01443537,01,goldfish,z
"""


def picture(colour, kind):
    content = io.BytesIO()
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(content, kind)
    return content.getvalue()


FILES = {
    "a.jpg": picture(10, "JPEG"),
    "images/b.png": picture(20, "PNG"),
    "images/c.png": picture(30, "PNG"),
}


def pack(folder, table=TABLE, *, encoding="utf-8"):
    for name, content in {**FILES, "index.csv": table.encode(encoding)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def archive(folder, path, mode="w"):
    with tarfile.open(path, mode) as file:
        file.add(folder, "some_pack")
    return path


@pytest.fixture(params=["folder", "archive"])
def make(request, tmp_path):
    """Makes a pack of either form."""

    def make_pack(table=TABLE, **options):
        folder = pack(tmp_path / "some_pack", table, **options)
        return folder if request.param == "folder" else archive(folder, tmp_path / "pack.tar")

    return make_pack


def content_of(image):
    return image.content.read_bytes() if isinstance(image.content, Path) else image.content


def test_the_table_says_what_is_what(make):
    path = make()
    assert holds_index(path)
    source = read_pack(path)
    assert source.kind == "pack with index.csv"
    assert [(own.key, own.synset, own.name) for own in source.classes] == [
        ("0", "n01440764", "tench, big"),
        ("1", "n01443537", "goldfish"),
    ]
    images = [source.read(i) for i in range(source.count)]
    assert [(image.name, image.label) for image in images] == [
        ("images/b.png", 1),
        ("a.jpg", 0),
        ("images/c.png", 1),
    ]
    assert [content_of(image) for image in images] == [FILES[image.name] for image in images]


def test_two_columns_are_enough_and_excel_may_have_written_them(make):
    source = read_pack(make("\ufefffile,class_index\r\na.jpg,12\r\nimages/b.png,7\r\n"))
    assert [(own.key, own.synset, own.name) for own in source.classes] == [
        ("7", None, None),
        ("12", None, None),
    ]
    assert [source.read(i).label for i in (0, 1)] == [1, 0]


def test_an_image_that_is_not_there_costs_only_itself(make):
    source = read_pack(make("file,class_index\nabsent.png,1\na.jpg,0\n"))
    assert content_of(source.read(1)) == FILES["a.jpg"]
    with pytest.raises((UnreadableImage, FileNotFoundError)):
        content_of(source.read(0))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("file,label\na.jpg,1\n", "no column class_index; its columns: file, label"),
        ("name,synset\na.jpg,1\n", "no column file and no column class_index"),
        ("", "no column file and no column class_index; its columns: none"),
        ("file,class_index\n", "lists no images"),
        ("file,class_index\na.jpg,1\na.jpg,cat\n", "line 3 .* no number from 0: 'cat'"),
        ("file,class_index\na.jpg,-1\n", "line 2 .* no number from 0: '-1'"),
        ("file,class_index\na.jpg\n", "line 2 .* no number from 0: ''"),
        ("file,class_index\na.jpg,9999999999\n", "no number from 0"),
        ("file,class_index\n,1\n", "line 2 .* no path below the pack: ''"),
        ("file,class_index\n../a.jpg,1\n", "no path below the pack: '../a.jpg'"),
        ("file,class_index\n/etc/passwd,1\n", "no path below the pack: '/etc/passwd'"),
        ('file,class_index\n"a.jpg,1\n', "not readable CSV"),
        ("file,class_index,synset\na.jpg,1,n1\na.jpg,1,n2\n", "class_index 1 two synsets, n1 and"),
    ],
)
def test_tables_that_cannot_be_used(make, table, words):
    with pytest.raises(UserError, match=words) as caught:
        read_pack(make(table))
    assert "index.csv" in str(caught.value)


def test_a_table_that_is_no_text(make):
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_pack(make("file,class_index\nä.jpg,1\n", encoding="latin-1"))


def test_archives_that_are_no_packs(tmp_path):
    folder = pack(tmp_path / "some_pack")
    for mode in ("w:gz", "w:bz2"):
        # Members of a compressed archive can only be had in order.
        assert not holds_index(archive(folder, tmp_path / "pack.tar", mode))
    (folder / "index.csv").unlink()
    assert not holds_index(folder)
    path = archive(folder, tmp_path / "pack.tar")
    assert not holds_index(path)
    with pytest.raises(UserError, match=re.escape("holds 0 files index.csv, not 1")):
        read_pack(path)
    path.write_bytes(b"<!DOCTYPE html>")
    assert not holds_index(path)
    assert not holds_index(tmp_path / "absent")


def test_a_truncated_archive_is_no_traceback(tmp_path):
    path = archive(pack(tmp_path / "some_pack"), tmp_path / "pack.tar")
    whole = path.read_bytes()
    for end in range(512, len(whole), 512):
        path.write_bytes(whole[:end])
        try:
            source = read_pack(path)
            contents = [content_of(source.read(i)) for i in range(source.count)]
        except (UserError, UnreadableImage):
            continue
        # The last blocks of an archive only fill it up.
        assert contents == [FILES[name] for name in ("images/b.png", "a.jpg", "images/c.png")]


def test_links_in_an_archive_are_not_followed(tmp_path):
    path = tmp_path / "pack.tar"
    with tarfile.open(path, "w") as file:
        table = b"file,class_index\na.jpg,0\n"
        member = tarfile.TarInfo("index.csv")
        member.size = len(table)
        file.addfile(member, io.BytesIO(table))
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        file.addfile(link)
    source = read_pack(path)
    with pytest.raises(UnreadableImage, match="holds no such file"):
        source.read(0)
