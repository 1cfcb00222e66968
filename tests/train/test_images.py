"""What is trained on, from each kind of source."""

import numpy as np
import pytest
from PIL import Image

from jaxinterp.data.an8flower import CLASS_NAMES as FLOWER_CLASS_NAMES, render_many
from jaxinterp.data.an8flower.splits import SPLIT_COUNTS
from jaxinterp.data.cifar10 import CLASS_NAMES, load_cifar10
from jaxinterp.data.labelled import LabelledImage, LabelledImages, SourceClass
from jaxinterp.errors import UserError
from jaxinterp.train.images import training_images


@pytest.mark.parametrize(("split", "count"), [("train", 48), ("test", 30)])
def test_cifar10_is_taken_whole_or_evenly_spread(colours, split, count):
    whole = load_cifar10(colours, split)
    found = training_images(str(colours), split, size=99)
    np.testing.assert_array_equal(found.images, whole.images)
    np.testing.assert_array_equal(found.labels, whole.labels)
    assert found.class_names == CLASS_NAMES
    few = training_images(str(colours), split, size=32, count=count // 3)
    np.testing.assert_array_equal(few.images, whole.images[::3])
    assert len(training_images(str(colours), split, size=32, count=1000).labels) == count


@pytest.mark.parametrize("variant", FLOWER_CLASS_NAMES)
def test_flowers_are_rendered_anew_for_each_split_and_seed(variant):
    def get(split, seed):
        return training_images(f"an8flower:{variant}", split, size=32, count=24, seed=seed)

    train, same, other, test = get("train", 0), get("train", 0), get("train", 1), get("test", 0)
    assert train.class_names == FLOWER_CLASS_NAMES[variant]
    assert (train.images.shape, train.images.dtype) == ((24, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(train.images, same.images)
    np.testing.assert_array_equal(train.labels, same.labels)
    # No picture is in two of the sets, nor in one rendered with a small seed.
    sets = [train, other, test, render_many(variant, 24, 32, 0)]
    pictures = {picture.tobytes() for one in sets for picture in one.images}
    assert len(pictures) == 4 * 24
    counts = np.bincount(train.labels, minlength=len(train.class_names))
    assert counts.min() == counts.max()


def test_as_many_flowers_are_rendered_as_promised(monkeypatch):
    monkeypatch.setitem(SPLIT_COUNTS, "test", 5)
    assert len(training_images("an8flower:single-6c", "test", size=32).labels) == 5


def write_folders(root, names, *, each, seed=0):
    """Class folders of grey pictures, darker in each further class, of sizes of their own."""
    random = np.random.default_rng(seed)
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(each):
            width, height = random.integers(20, 60, 2)
            pixels = np.full((height, width, 3), 250 - 60 * label, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")


def test_class_folders_are_resized(tmp_path):
    write_folders(tmp_path / "train", ["ant", "bee", "cat"], each=3)
    write_folders(tmp_path / "test", ["ant", "bee", "cat"], each=2, seed=1)
    for split, each in (("train", 3), ("test", 2)):
        found = training_images(str(tmp_path), split, size=16)
        assert found.class_names == ("ant", "bee", "cat")
        assert found.labels.tolist() == [label for label in range(3) for _ in range(each)]
        expected = np.broadcast_to(
            (250 - 60 * found.labels)[:, None, None, None], (3 * each, 16, 16, 3)
        )
        np.testing.assert_array_equal(found.images, expected)
    few = training_images(str(tmp_path), "train", size=16, count=3)
    assert few.labels.tolist() == [0, 1, 2]


def test_folders_that_do_not_fit_are_refused(tmp_path):
    write_folders(tmp_path / "train", ["ant", "bee"], each=1)
    write_folders(tmp_path / "test", ["ant", "cat"], each=1)
    with pytest.raises(UserError, match="different class folders: bee, cat in one of them only"):
        training_images(str(tmp_path), "train", size=16)


def test_a_broken_image_is_named(tmp_path):
    for split in ("train", "test"):
        write_folders(tmp_path / split, ["ant", "bee"], each=2)
    (tmp_path / "train" / "bee" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"bee/1.png of .*train cannot be read"):
        training_images(str(tmp_path), "train", size=16)


def test_what_is_no_source_is_told_what_would_be_one(tmp_path):
    with pytest.raises(UserError, match=r"No CIFAR-10 at .*Training takes an8flower:VARIANT"):
        training_images(str(tmp_path), "train", size=32)
    with pytest.raises(UserError, match="no variant of an8Flower 'double'; nearest: double-12c"):
        training_images("an8flower:double", "train", size=32)


def made_source(labels):
    """Labelled images whose classes have names beside their keys."""
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 3)).astype(np.uint8)
    return pixels, LabelledImages(
        kind="made",
        location="made",
        classes=(SourceClass("n01", name="ant"), SourceClass("bee")),
        count=len(labels),
        read=lambda place: LabelledImage(str(place), labels[place], pixels[place]),
    )


def test_a_tfds_set_is_read_by_its_split(monkeypatch):
    pixels, source = made_source([1, 0, 1, 1])
    asked = []

    def read(location, *, split):
        asked.append((location, split))
        return source

    monkeypatch.setattr("jaxinterp.train.images.read_labelled_images", read)
    found = training_images("tfds:bugs", "test", size=8)
    assert asked == [("tfds:bugs", "test")]
    np.testing.assert_array_equal(found.images, pixels)
    assert found.labels.tolist() == [1, 0, 1, 1]
    assert found.class_names == ("ant", "bee")


def test_a_split_without_labels_is_refused(monkeypatch):
    _, source = made_source([-1, -1])
    monkeypatch.setattr("jaxinterp.train.images.read_labelled_images", lambda *a, **k: source)
    with pytest.raises(UserError, match="labels that are none of its classes"):
        training_images("tfds:bugs", "test", size=8)
