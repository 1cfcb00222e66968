"""Folders of class folders, as torchvision's `ImageFolder` reads them."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxinterp.data.class_folders import has_class_folders, read_class_folders
from jaxinterp.errors import UserError


def save(path, colour=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three classes, one of them without images, and files that are no images of any."""
    for i, name in enumerate(["b/2.png", "b/10.PNG", "a/deep/er/1.jpg", "a/0.webp"]):
        save(tmp_path / name, colour=i)
    (tmp_path / "c").mkdir()
    (tmp_path / "b" / "notes.txt").touch()
    (tmp_path / "b" / ".hidden.png").touch()
    save(tmp_path / ".git" / "image.png")
    save(tmp_path / "b" / ".thumbnails" / "image.png")
    return tmp_path


def listed(source):
    return [(own.name, own.label) for own in map(source.read, range(source.count))]


def test_images_have_the_label_of_their_folder(folder):
    source = read_class_folders(folder)
    assert [own.key for own in source.classes] == ["a", "b", "c"]
    assert listed(source) == [
        ("a/0.webp", 0),
        ("a/deep/er/1.jpg", 0),
        ("b/10.PNG", 1),
        ("b/2.png", 1),
    ]
    assert source.kind == "class folders"
    assert source.notes == ("1 of 3 class folders hold no images.",)
    content = source.read(3).content
    with Image.open(content) as image:
        assert np.asarray(image)[0, 0].tolist() == [0, 0, 0]


def test_images_beside_the_folders_are_mentioned(folder):
    save(folder / "loose.png")
    assert any("1 images lie beside" in note for note in read_class_folders(folder).notes)


def test_linked_folders_are_followed_but_not_in_circles(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save(elsewhere / "far.png")
    (folder / "d").symlink_to(elsewhere)
    (folder / "a" / "again").symlink_to(folder / "a")
    source = read_class_folders(folder)
    assert ("d/far.png", 3) in listed(source)
    assert len(listed(source)) == 5


def test_folders_without_images_are_recognised_as_such(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").touch()
    save(tmp_path / "loose.png")
    assert not has_class_folders(tmp_path)
    with pytest.raises(UserError, match="No images are in the folders of"):
        read_class_folders(tmp_path)
    save(tmp_path / "a" / "b" / "c.png")
    assert has_class_folders(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_is_named(folder):
    (folder / "b").chmod(0)
    try:
        with pytest.raises(UserError, match=r"The folder .*b cannot be read: Permission denied"):
            read_class_folders(folder)
    finally:
        (folder / "b").chmod(0o700)


def test_a_folder_that_vanishes_while_it_is_listed_is_named(folder, monkeypatch):
    listing = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("b"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"The folder .*b cannot be read: Permission denied"):
        read_class_folders(folder)
