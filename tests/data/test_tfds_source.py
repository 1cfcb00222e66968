"""Sets of TFDS, prepared here without TensorFlow and read without it."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.data.tfds_source import holds_tfds, read_tfds
from jaxinterp.errors import UserError


def encoded(seed, kind="JPEG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def records(labels):
    return [{"image": encoded(i), "label": label} for i, label in enumerate(labels)]


@pytest.fixture
def imagenette(prepare, tmp_path):
    """The root of a prepared imagenette with 3 images to train on and 5 to validate with."""
    splits = {"train": records([1, 2, 3]), "validation": records([0, 9, 9, 4, 5])}
    prepare(tmp_path, "imagenette/320px-v2", splits)
    return tmp_path


def check(source, labels):
    images = [source.read(i) for i in range(source.count)]
    assert [image.label for image in images] == labels
    # As they were encoded: whoever decodes them ignores what TFDS would have done.
    assert [image.content for image in images] == [encoded(i) for i in range(len(labels))]


@pytest.mark.parametrize(
    "location",
    ["tfds:imagenette/320px-v2", "tfds:imagenette/320px-v2:1.0.0", "tfds:imagenette", "folder"],
)
def test_a_set_is_found_by_its_name_or_folder(imagenette, location):
    folder = imagenette / "imagenette" / "320px-v2" / "1.0.0"
    assert holds_tfds(folder)
    assert not holds_tfds(folder.parent)
    if location == "folder":
        location, data_dir = str(folder), None
    else:
        data_dir = str(imagenette)
    source = read_tfds(location, split=None, data_dir=data_dir)
    assert source.split == "validation"
    assert source.kind == "TFDS set imagenette/320px-v2/1.0.0"
    assert source.classes[0].key == "n01440764"
    assert len(source.classes) == 10
    check(source, [0, 9, 9, 4, 5])


def test_splits_and_parts_of_them(imagenette):
    location = "tfds:imagenette/320px-v2"
    check(read_tfds(location, split="train", data_dir=str(imagenette)), [1, 2, 3])
    part = read_tfds(location, split="validation[:40%]", data_dir=str(imagenette))
    check(part, [0, 9])
    both = read_tfds(location, split="train+validation", data_dir=str(imagenette))
    assert [both.read(i).label for i in range(both.count)] == [1, 2, 3, 0, 9, 9, 4, 5]
    for split, words in {
        "test": "no split of tfds:imagenette/320px-v2 'test'; choose from: train, validation",
        "validatoin[:9]": "nearest: validation",
        "validation[": "cannot be read",
    }.items():
        with pytest.raises(UserError, match=words.replace("[", r"\[")):
            read_tfds(location, split=split, data_dir=str(imagenette))


def test_the_usual_folders_are_looked_in(imagenette, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(imagenette))
    check(read_tfds("tfds:imagenette", split="train", data_dir=None), [1, 2, 3])
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(UserError, match=r"not prepared in .*home/tensorflow_datasets"):
        read_tfds("tfds:imagenette/320px-v2", split=None, data_dir=None)
    (tmp_path / "home").mkdir()
    shutil.copytree(imagenette / "imagenette", tmp_path / "home/tensorflow_datasets/imagenette")
    check(read_tfds("tfds:imagenette", split="train", data_dir=None), [1, 2, 3])


def test_the_labels_of_imagenet_v2_are_synsets(prepare, tmp_path):
    names = {"file_name": b"7/b.jpeg"}
    examples = [record | names for record in records([7, 999])]
    prepare(tmp_path, "imagenet_v2/matched-frequency", {"test": examples})
    source = read_tfds("tfds:imagenet_v2", split=None, data_dir=str(tmp_path))
    assert source.split == "test"
    assert [own.key for own in source.classes][:2] == ["n01440764", "n01443537"]
    check(source, [7, 999])


def test_a_set_that_is_not_prepared_comes_with_the_command(tmp_path):
    with pytest.raises(UserError) as caught:
        read_tfds("tfds:imagenette/320px-v2", split=None, data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)
    command = f"`tfds build imagenette/320px-v2 --file_format=array_record --data_dir={tmp_path}`"
    assert command in str(caught.value)
    assert "needs TensorFlow" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("tfds:imagenete", "no TFDS set 'imagenete'; nearest: imagenette"),
        ("tfds:", "names no TFDS set"),
        ("tfds:../imagenette", "names no TFDS set|no TFDS set"),
        ("tfds:imagenette/320px-v2:9.9.9", "no prepared version of imagenette '9.9.9'"),
        ("tfds:imagenette/160px", "imagenette/160px is not prepared"),
    ],
)
def test_names_of_nothing(imagenette, location, words):
    with pytest.raises(UserError, match=words):
        read_tfds(location, split=None, data_dir=str(imagenette))


def test_of_several_configs_and_versions(imagenette, prepare):
    folder = imagenette / "imagenette" / "320px-v2"
    prepare(imagenette, "imagenette/160px", {"train": records([8])})
    with pytest.raises(UserError, match=r"2 configs: .* one of 160px, 320px-v2"):
        read_tfds("tfds:imagenette", split=None, data_dir=str(imagenette))
    (folder / "1.0.0").rename(folder / "0.9.0")
    (folder / "0.10.0").mkdir()
    for file in (imagenette / "imagenette" / "160px" / "1.0.0").iterdir():
        shutil.copy(file, folder / "0.10.0")
    # 10 is newer than 9.
    source = read_tfds("tfds:imagenette/320px-v2", split="train", data_dir=str(imagenette))
    assert source.count == 1


def test_a_set_in_tensorflow_s_own_format_comes_with_the_command(prepare, tmp_path):
    folder = prepare(tmp_path, "imagenette/320px-v2", {"train": [{}]}, file_format="tfrecord")
    with pytest.raises(UserError) as caught:
        read_tfds("tfds:imagenette/320px-v2", split=None, data_dir=str(tmp_path))
    assert f"--dataset_version_dir={folder} --out_file_format=array_record" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_set_without_class_labels(prepare, tmp_path):
    prepare(tmp_path, "div2k/bicubic_x2", {"train": [{}]})
    with pytest.raises(
        UserError, match=r"2 features of the kind Image, not 1; its features: hr, lr"
    ):
        read_tfds("tfds:div2k", split=None, data_dir=str(tmp_path))


def test_broken_sets_are_named(imagenette):
    folder = imagenette / "imagenette" / "320px-v2" / "1.0.0"

    def read(split="validation"):
        source = read_tfds("tfds:imagenette", split=split, data_dir=str(imagenette))
        return [source.read(i) for i in range(source.count)]

    (shard,) = folder.glob("*validation.array_record*")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises((UserError, UnreadableImage)) as caught:
        read()
    assert "\n" not in str(caught.value)
    shard.unlink()
    with pytest.raises((UserError, UnreadableImage)):
        read()
    assert len(read("train")) == 3
    (folder / "features.json").write_text(json.dumps({"type": "a.b.C"}))
    with pytest.raises(UserError, match=r"TFDS set in .* cannot be read") as caught:
        read()
    assert "\n" not in str(caught.value)


def test_tensorflow_is_not_imported(imagenette):
    """In a process of its own, which has nothing of another test's."""
    code = f"""
import sys

from jaxinterp.data.source import read_labelled_images
source = read_labelled_images("tfds:imagenette", data_dir={str(imagenette)!r})
print([source.read(i).label for i in range(source.count)])
print([name for name in sys.modules if name.partition(".")[0] == "tensorflow"])
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0, 9, 9, 4, 5]\n[]\n"
