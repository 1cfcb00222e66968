"""What `jaxinterp concepts check` reads, prints and refuses."""

import csv

import numpy as np
import pytest
from PIL import Image

from jaxinterp.cli.concepts_check import Check
from jaxinterp.data.concepts import read_concepts
from jaxinterp.data.concepts.check import check_concepts
from jaxinterp.errors import UserError

COUNT = 14


@pytest.fixture
def folder(tmp_path):
    """Gradients with a mask each; the last one has no labels, and "boat" occurs nowhere."""
    root = tmp_path / "[b]set"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for i in range(COUNT):
        image = np.full((4, 5, 3), 128, np.uint8)
        mask = np.full((4, 5), 255 if i == COUNT - 1 else 0, np.uint8)
        mask[: i % 3] = 1 if i < COUNT - 1 else 255
        Image.fromarray(image).save(root / "images" / f"{i:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"{i:02}.png")
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("index", "name"), (0, "sea"), (1, "sky"), (2, "boat")])
    return root


def test_pixels_and_images_are_counted(folder):
    found = check_concepts(read_concepts(str(folder), colours=True))
    sky = [5 * (i % 3) for i in range(COUNT - 1)]
    pixels = dict(zip(map(str, found.concept_set.concepts), found.pixels, strict=True))
    assert pixels["object:sky"] == sum(sky)
    assert pixels["object:sea"] == 20 * (COUNT - 1) - sum(sky)
    assert pixels["color:grey"] == 20 * COUNT
    images = dict(zip(map(str, found.concept_set.concepts), found.images_with, strict=True))
    assert images["object:sky"] == np.count_nonzero(sky)
    assert found.labelled_images.tolist() == [COUNT - 1, COUNT]
    assert found.unlabelled == 0
    assert found.empty[0] == "object:boat"
    assert check_concepts(read_concepts(str(folder))).unlabelled == 1


def test_the_command_says_what_is_in_a_set(folder, capfd):
    Check(path=str(folder))()
    out = capfd.readouterr().out
    assert f"{folder}: segmentation folder, {COUNT} images" in out
    assert "2 of 3" in out
    assert "warning: 1 concept with no pixels: object:boat" in out
    assert "warning: 1 image without any label" in out
    assert f"all {COUNT} images can be used" in out


def test_some_images_are_enough(folder, capfd):
    Check(path=str(folder), images=3, colours=True)()
    out = capfd.readouterr().out
    assert f"3 of {COUNT} images" in out
    assert "color" in out


def test_the_first_ten_problems_are_listed_and_the_exit_code_is_2(folder, capfd):
    for i in range(12):
        Image.new("L", (9, 9)).save(folder / "masks" / f"{i:02}.png")
    (folder / "images" / "00.png").write_bytes(b"torn")
    with pytest.raises(SystemExit) as caught:
        Check(path=str(folder))()
    assert caught.value.code == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 10
    assert "images/00.png: not an image" in lines[0]
    assert "masks/01.png" in lines[1]
    assert "is 9 x 9 pixels, but the image images/01.png is 5 x 4" in lines[1]


def test_problems_of_tables_are_listed_too(folder, capfd):
    for i in (3, 5):
        (folder / "masks" / f"{i:02}.png").unlink()
    with pytest.raises(SystemExit) as caught:
        Check(path=str(folder))()
    assert caught.value.code == 2
    assert [line.split()[3] for line in capfd.readouterr().err.splitlines()] == [
        *("images/03.png", "images/05.png")
    ]


def test_other_mistakes_are_sentences(folder):
    with pytest.raises(UserError, match="no folder or archive"):
        Check(path=str(folder) + "s")()
    with pytest.raises(UserError, match="At least 1 image"):
        Check(path=str(folder), images=0)()
