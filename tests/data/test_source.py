"""What kind of source it is, its content says."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from jaxinterp.data.an8flower import render_many
from jaxinterp.data.an8flower.splits import SPLIT_SEEDS
from jaxinterp.data.source import read_labelled_images
from jaxinterp.errors import UserError


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


def make_folders(root):
    save(root / "a" / "1.png")
    save(root / "b" / "1.png")
    return root


def make_pack(root):
    make_folders(root)
    (root / "index.csv").write_text("file,class_index\na/1.png,5\n", encoding="utf-8")
    return root


def make_tar(root):
    make_pack(root)
    path = root.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(root, "pack")
    return path


def make_binary(root):
    root.mkdir()
    records = np.random.default_rng(0).integers(0, 256, (3, 3073), np.uint8)
    records[:, 0] = [4, 9, 0]
    (root / "test_batch.bin").write_bytes(records.tobytes())
    for i in range(1, 6):
        (root / f"data_batch_{i}.bin").write_bytes(records[:2].tobytes())
    return root


def make_archive(root):
    make_binary(root)
    path = root.with_suffix(".tar.gz")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root, "cifar-10-batches-bin")
    return path


def make_mosaics(root):
    root.mkdir()
    Image.new("RGB", (25 * 32, 40 * 32)).save(root / "test_00.webp", lossless=True)
    np.savez(root / "labels.npz", y_test=np.arange(1000) % 10)
    return root


@pytest.mark.parametrize(
    ("make", "kind", "count", "first"),
    [
        (make_folders, "class folders", 2, "a"),
        (make_pack, "pack with index.csv", 1, "5"),
        (make_tar, "pack with index.csv", 1, "5"),
        (make_binary, "CIFAR-10", 3, "deer"),
        (make_archive, "CIFAR-10", 3, "deer"),
        (make_mosaics, "CIFAR-10", 1000, "airplane"),
    ],
    ids=["folders", "pack", "tar", "binary", "archive", "mosaics"],
)
def test_each_kind_is_recognised(tmp_path, make, kind, count, first):
    path = make(tmp_path / "source")
    source = read_labelled_images(str(path))
    assert (source.kind, source.count, source.location) == (kind, count, str(path))
    assert source.classes[source.read(0).label].key == first
    with pytest.raises(UserError, match="is for tfds:NAME"):
        read_labelled_images(str(path), data_dir="elsewhere")


def test_cifar10_has_splits_and_folders_have_none(tmp_path):
    path = make_binary(tmp_path / "cifar")
    assert read_labelled_images(str(path)).split == "test"
    train = read_labelled_images(str(path), split="train")
    assert (train.split, train.count) == ("train", 10)
    with pytest.raises(UserError, match="splits train and test, not 'valid'"):
        read_labelled_images(str(path), split="valid")
    for make in (make_folders, make_pack):
        folder = make(tmp_path / make.__name__)
        with pytest.raises(UserError, match="has no splits: give the folder of one split"):
            read_labelled_images(str(folder), split="val")


def test_a_prepared_set_is_recognised_by_its_folder(tmp_path, prepare):
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG")
    splits = {"test": [{"image": content.getvalue(), "label": 3}]}
    folder = prepare(tmp_path, "mnist", splits)
    for location, options in [(folder, {}), ("tfds:mnist", {"data_dir": str(tmp_path)})]:
        source = read_labelled_images(str(location), **options)
        assert source.kind == "TFDS set mnist/3.0.1"
        assert source.classes[source.read(0).label].key == "3"


def test_a_broken_cifar10_is_no_folder_of_images(tmp_path):
    path = make_archive(tmp_path / "cifar")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"The CIFAR-10 at .* cannot be read"):
        read_labelled_images(str(path))
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").touch()
    with pytest.raises(UserError, match="archive of pickles; take the binary one"):
        read_labelled_images(str(folder))


@pytest.mark.parametrize("name", ["empty", "loose", "text.tar", "image.png"])
def test_what_is_not_recognised_is_told_what_would_be(tmp_path, name):
    (tmp_path / "empty").mkdir()
    save(tmp_path / "loose" / "1.png")
    save(tmp_path / "image.png")
    (tmp_path / "text.tar").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(UserError, match=f"No labelled images are recognised in .*{name}: give a"):
        read_labelled_images(str(tmp_path / name))


def test_a_misspelt_path_offers_the_nearest(tmp_path):
    make_folders(tmp_path / "photographs")
    with pytest.raises(UserError, match=r"nearest: .*photographs"):
        read_labelled_images(str(tmp_path / "photograhps"))
    with pytest.raises(UserError, match="no folder or archive"):
        read_labelled_images(str(tmp_path / "a" / "b"))


def test_flowers_are_rendered_when_they_are_read():
    source = read_labelled_images("an8flower:double-12c:30", split="train")
    assert (source.count, len(source.classes), source.split) == (30, 12, "train")
    whole = render_many("double-12c", 30, 64, SPLIT_SEEDS["train"])
    for position in (0, 17, 29):
        image = source.read(position)
        np.testing.assert_array_equal(image.content, whole.images[position])
        assert image.label == whole.labels[position]
    assert read_labelled_images("an8flower:single-6c").count == 600


@pytest.mark.parametrize(
    ("location", "split", "said"),
    [
        ("an8flower:triple", None, "single-6c"),
        ("an8flower:single-6c:0", None, "number of images"),
        ("an8flower:single-6c:many", None, "number of images"),
        ("an8flower:single-6c", "tset", "test"),
    ],
)
def test_flowers_that_do_not_exist_are_refused(location, split, said):
    with pytest.raises(UserError, match=said):
        read_labelled_images(location, split=split)
