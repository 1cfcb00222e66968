"""an8Flower: the renderer's ground truth, the layouts it is written in, and the reader."""

import csv
import math

import numpy as np
import pytest
import tyro
from PIL import Image

from jaxinterp.cli.concepts_render import Render
from jaxinterp.data.an8flower import (
    CLASS_NAMES,
    COLOUR_NAMES,
    COLOURS,
    LEAST_SIZE,
    PARTS,
    VARIANTS,
    render,
    render_many,
)
from jaxinterp.data.an8flower.broden import write_broden
from jaxinterp.data.an8flower.classes import class_of, labels_of
from jaxinterp.data.an8flower.folders import write_folders
from jaxinterp.data.an8flower.reader import read_flower_folders
from jaxinterp.data.an8flower.render import paint
from jaxinterp.data.class_folders import read_class_folders
from jaxinterp.data.concepts.broden import read_broden
from jaxinterp.data.tfds_source import read_tfds
from jaxinterp.errors import UserError

ARRAYS = ("image", "parts", "discriminative", "colours")
# Wider than what is drawn, without overlap: hues in degrees.
HUES = {
    "red": (345, 372),
    "orange": (14, 40),
    "yellow": (44, 66),
    "blue": (200, 245),
    "purple": (258, 300),
    "pink": (312, 344),
}


def hsv(image):
    """float [h, w, 3]: hue in degrees, saturation and value in [0, 1]."""
    pixels = image.astype(np.float64) / 255
    value, low = pixels.max(-1), pixels.min(-1)
    span = np.maximum(value - low, 1e-9)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    hue = np.select(
        [value == red, value == green],
        [(green - blue) / span % 6, (blue - red) / span + 2],
        (red - green) / span + 4,
    )
    return np.stack([60 * hue, span / np.maximum(value, 1e-9), value], -1)


def has_hue(image, colour):
    low, high = HUES[colour]
    hue = hsv(image)[..., 0]
    return ((hue >= low) & (hue <= high)) | ((hue + 360 >= low) & (hue + 360 <= high))


def shrink(mask, steps=1):
    """The pixels whose neighbours are all in the mask."""
    for _ in range(steps):
        padded = np.pad(mask, 1, constant_values=True)
        height, width = mask.shape
        mask = np.logical_and.reduce(
            [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
        )
    return mask


def grow(mask, steps=1):
    return ~shrink(~mask, steps)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_picture_depends_on_nothing_but_the_arguments(variant):
    many = render_many(variant, 8, 40, 3, start=5)
    for place in (7, 0, 3):
        one, again = (render(variant, 5 + place, size=40, seed=3) for _ in range(2))
        assert one.label == again.label == many.labels[place]
        for name, several in zip(ARRAYS, (many.images, *many[2:]), strict=True):
            np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
            np.testing.assert_array_equal(getattr(one, name), several[place])
    flower = render(variant, 5, size=40, seed=3)
    for other in (render(variant, 6, size=40, seed=3), render(variant, 5, size=40, seed=4)):
        assert (flower.parts != other.parts).any()
    assert many.images.shape == (8, 40, 40, 3)
    assert [one.dtype for one in many] == [np.uint8, np.int32, np.uint8, np.bool_, np.uint8]


@pytest.mark.parametrize("index", range(6))
def test_another_size_shows_the_same_flower(index):
    small, large = (render("double-12c", index, size=size) for size in (128, 256))
    assert small.label == large.label
    assert small.parameters.pose.radius == large.parameters.pose.radius
    for part in range(len(PARTS)):
        first = (small.parts == part).repeat(2, 0).repeat(2, 1)
        second = large.parts == part
        # Where they differ, an outline is within a pixel of the small picture.
        outline = grow(second, 2) & grow(~second, 2)
        assert not ((first != second) & ~outline).any()
        assert (first & second).sum() / (first | second).sum() > 0.8
    # Light and texture, too: away from outlines, means over a pixel are those of the small picture.
    means = large.image.reshape(128, 2, 128, 2, 3).mean((1, 3))
    colours = large.colours.reshape(128, 2, 128, 2)
    inside = (colours == colours[:, :1, :, :1]).all((1, 3)) & shrink(small.parts == 0, 2)
    assert np.abs(means - small.image)[inside].mean() < 3


def test_variants_show_the_same_flowers_in_other_colours():
    for index in range(4):
        single, double = (render(variant, index, size=48) for variant in VARIANTS)
        np.testing.assert_array_equal(single.parts, double.parts)
        outside = ~grow(single.parts == PARTS.index("petals"), 2)
        outside &= ~grow(single.parts == PARTS.index("core"), 2)
        np.testing.assert_array_equal(single.image[outside], double.image[outside])


def slow_part(pose, x, y):
    """The part at a point, from its definition: petal by petal, from front to back."""
    dx, dy = x - pose.x, y - pose.y
    cosine, sine = math.cos(pose.tilt_angle), math.sin(pose.tilt_angle)
    u, v = (cosine * dx + sine * dy) / pose.tilt, cosine * dy - sine * dx
    if math.hypot(u, v) <= pose.core * pose.radius:
        return "core"
    turn = math.atan2(v, u) - pose.rotation
    first, phase, second, other_phase = pose.uneven
    length = 1 + first * math.cos(turn + phase) + second * math.cos(2 * turn + other_phase)
    for petal in range(pose.petals):
        angle = turn - 2 * math.pi * petal / pose.petals
        ahead = math.hypot(u, v) / length * math.cos(angle) - 0.54 * pose.radius
        across = math.hypot(u, v) / length * math.sin(angle)
        half = pose.petal_width * 0.54 * pose.radius * math.sin(math.pi / pose.petals)
        near = math.cos(angle) >= math.cos(math.pi / pose.petals)  # its own sector
        if near and (ahead / (0.46 * pose.radius)) ** 2 + (across / half) ** 2 <= 1:
            return "petals"

    def stem(y):
        down = (y - pose.y) / (1 - pose.y)
        bend = 2 * pose.bend * down * (1 - down)
        return pose.x + (pose.foot - pose.x) * down + bend

    for leaf in pose.leaves:
        dx, dy = x - stem(leaf.y), y - leaf.y
        along = (math.cos(leaf.angle) * dx + math.sin(leaf.angle) * dy) / leaf.length
        across = abs(math.cos(leaf.angle) * dy - math.sin(leaf.angle) * dx)
        if 0 <= along <= 1 and across <= 4 * leaf.width * along * (1 - along):
            return "leaf"
    step = 1e-4
    slope = (stem(y + step) - stem(y - step)) / (2 * step)
    if y > pose.y and abs(x - stem(y)) <= pose.stem * math.sqrt(1 + slope**2):
        return "stem"
    return "background"


@pytest.mark.parametrize("index", range(5))
def test_parts_are_what_their_definition_says(index):
    size = 48
    flower = render("single-6c", index, size=size, seed=1)
    pose = flower.parameters.pose
    slow = [
        [PARTS.index(slow_part(pose, (j + 0.5) / size, (i + 0.5) / size)) for j in range(size)]
        for i in range(size)
    ]
    # The slope of the stem is that between pixels; a point on an outline may fall on either side.
    assert (flower.parts != slow).sum() <= 3


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_class_colour_is_in_the_discriminative_pixels_and_nowhere_else(variant):
    for index in range(40):
        flower = render(variant, index, size=96, seed=2)
        colour, part = class_of(variant, flower.label)
        mask = flower.discriminative
        assert CLASS_NAMES[variant][flower.label] in (colour, f"{colour} {part}")
        np.testing.assert_array_equal(mask, flower.parts == PARTS.index(part))
        np.testing.assert_array_equal(mask, flower.colours == COLOUR_NAMES.index(colour))
        # All but those beside a gap between petals that is narrower than a pixel.
        assert has_hue(flower.image, colour)[shrink(mask)].mean() > 0.99
        # Green, brown, black and what has no colour at all is left.
        hue, saturation, value = np.moveaxis(hsv(flower.image), -1, 0)
        strong = (saturation > 0.34) & (value > 0.3) & ~((hue > 75) & (hue < 160))
        brown = (hue > 12) & (hue < 40) & (value < 0.52)
        # At outlines colours mix: green and brown to olive.
        flat = np.logical_or.reduce([shrink(flower.colours == one) for one in range(11)])
        assert not (strong & ~brown & flat & ~mask).any()
        for name in COLOURS:
            assert name == colour or not (flower.colours == COLOUR_NAMES.index(name)).any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_label_can_be_read_from_the_pixels(variant):
    many = render_many(variant, 48, 64, 5)
    for image, label, parts in zip(many.images, many.labels, many.parts, strict=True):
        best = max(
            range(len(CLASS_NAMES[variant])),
            key=lambda one: np.mean(
                (has_hue(image, class_of(variant, one)[0]) & (hsv(image)[..., 1] > 0.3))[
                    parts == PARTS.index(class_of(variant, one)[1])
                ]
            ),
        )
        assert best == label


def test_the_other_part_does_not_tell_the_class():
    poses = [render("double-12c", index, size=32).parameters for index in range(48)]
    neutral = {flower.colours["core" if flower.part == "petals" else "petals"] for flower in poses}
    assert neutral == {"white", "grey"}
    singles = [render("single-6c", index, size=32).parameters for index in range(12)]
    assert {flower.colours["core"] for flower in singles} == {"brown"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_classes_are_balanced_and_shuffled(variant):
    classes = len(CLASS_NAMES[variant])
    labels = labels_of(variant, 0, 50 * classes + 3)
    assert (np.bincount(labels[: 50 * classes]) == 50).all()
    assert np.ptp(np.bincount(labels)) == 1
    np.testing.assert_array_equal(labels_of(variant, 17, 30), labels[17:47])
    assert len({tuple(run) for run in labels[: 50 * classes].reshape(50, classes)}) > 45
    assert (labels_of(variant, 0, 60, seed=1) != labels[:60]).any()
    assert labels_of(variant, 4, 0).shape == (0,)


def test_every_part_is_seen_at_the_least_size():
    many = render_many("double-12c", 200, LEAST_SIZE, 9)
    for part in range(len(PARTS)):
        assert (many.parts == part).sum((1, 2)).min() >= 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"variant": "double-6c"}, "no variant of an8Flower 'double-6c'; nearest: double-12c"),
        ({"size": LEAST_SIZE - 1}, f"at least {LEAST_SIZE} .px., got {LEAST_SIZE - 1}"),
        ({"size": 64.0}, "size must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"index": -1}, "index must be a whole number of at least 0, got -1"),
    ],
)
def test_unusable_arguments(arguments, words):
    given = {"variant": "single-6c", "index": 0, "size": 64, "seed": 0} | arguments
    with pytest.raises(UserError, match=words):
        render(given.pop("variant"), given.pop("index"), **given)


def test_a_negative_number_of_pictures(tmp_path):
    with pytest.raises(UserError, match="number of images must be a whole number of at least 0"):
        render_many("single-6c", -1)
    with pytest.raises(UserError, match="number of images must be a whole number of at least 1"):
        write_folders(tmp_path / "new", "single-6c", 0)
    with pytest.raises(UserError, match="share of test images must be from 0 to 1, got 2"):
        write_folders(tmp_path / "new", "single-6c", 6, test_share=2)
    assert not (tmp_path / "new").exists()


def test_folders_hold_what_was_rendered(tmp_path):
    done = []
    write_folders(tmp_path, "double-12c", 36, size=32, test_share=1 / 3, advanced=done.append)
    assert done == list(range(1, 37))
    flowers = [render("double-12c", index, size=32) for index in range(36)]
    with open(tmp_path / "index.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, flower in zip(rows, flowers, strict=True):
        assert (row["class"], int(row["label"])) == (
            CLASS_NAMES["double-12c"][flower.label],
            flower.label,
        )
        for folder, array in {
            "": flower.image,
            "masks/parts/": flower.parts,
            "masks/discriminative/": flower.discriminative * np.uint8(255),
            "masks/colours/": flower.colours,
        }.items():
            with Image.open(tmp_path / f"{folder}{row['file']}") as image:
                np.testing.assert_array_equal(image, array)
    for split, count in {"train": 24, "test": 12}.items():
        own = [flower for row, flower in zip(rows, flowers, strict=True) if row["split"] == split]
        assert len(own) == count
        assert np.ptp(np.bincount([flower.label for flower in own])) == 0
        assert read_class_folders(tmp_path / split).count == count
        source = read_flower_folders(tmp_path / split)
        assert source.pairing == "masks are called as the images"
        for position in range(count):
            read = source.read(position)
            flower = flowers[int(read.name[-10:-4])]
            name = source.classes[read.label].replace("_", " ")
            assert name == CLASS_NAMES["double-12c"][flower.label]
            np.testing.assert_array_equal(read.image, flower.image)
            np.testing.assert_array_equal(read.discriminative, flower.discriminative)
    with pytest.raises(UserError, match="is not empty"):
        write_folders(tmp_path, "double-12c", 36)
    with pytest.raises(UserError, match="is a file"):
        write_folders(tmp_path / "index.csv", "double-12c", 36)


@pytest.fixture
def authors(tmp_path):
    """Two folders as the authors' set is loaded by others: masks beside the images."""
    for index in range(12):
        flower = render("single-6c", index, size=32)
        for name, pixels in {
            f"an8Flower_single_6c/{flower.label}/img{index:02d}.png": flower.image,
            f"an8Flower_single_6c_MASK/{flower.label}/mask{index:02d}.jpg": np.repeat(
                flower.discriminative[..., None] * np.uint8(255), 3, axis=-1
            ),
        }.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name, quality=95)
    return tmp_path / "an8Flower_single_6c"


def test_the_authors_folders(authors):
    source = read_flower_folders(authors)
    assert source.count == 12
    assert source.classes == tuple("012345")
    assert source.pairing == "masks are in the order of the images"
    for position in range(12):
        read = source.read(position)
        flower = render("single-6c", int(read.name[-6:-4]), size=32)
        np.testing.assert_array_equal(read.image, flower.image)
        # JPEG rings around edges; half the range is far from it.
        np.testing.assert_array_equal(read.discriminative, flower.discriminative)
    masks = authors.rename(authors.with_name("elsewhere"))
    given = read_flower_folders(masks, masks=authors.with_name("an8Flower_single_6c_MASK"))
    assert given.count == 12


def test_folders_with_faults(authors):
    masks = authors.with_name("an8Flower_single_6c_MASK")
    first = sorted((masks / "0").iterdir())[0]
    Image.new("L", (20, 30)).save(first)
    with pytest.raises(UserError, match=r"has 20 x 30 px, its image 32 x 32 px"):
        read_flower_folders(authors).read(0)
    first.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read: the file is empty"):
        read_flower_folders(authors).read(0)
    first.unlink()
    with pytest.raises(UserError, match=r"12 of 12 images of .* have no mask in .*, such as 0/img"):
        read_flower_folders(authors)
    masks.rename(masks.with_name("other"))
    with pytest.raises(UserError, match="looked for an8Flower_single_6c_MASK beside it"):
        read_flower_folders(authors)
    with pytest.raises(UserError, match="no folder with a folder of images for each class"):
        read_flower_folders(authors / "0", masks=authors)


def test_broden_s_layout(tmp_path):
    write_broden(tmp_path, "double-12c", 15, size=64, seed=4)
    source = read_broden(tmp_path)
    assert source.count == 15
    assert source.splits == ("train",) * 12 + ("val",) * 3
    names = {category: [] for category in source.categories}
    for concept in source.concepts:
        names[concept.category].append(concept.name)
    assert names == {"color": list(COLOUR_NAMES), "object": ["flower"], "part": list(PARTS[1:])}
    index = {str(concept): place for place, concept in enumerate(source.concepts)}
    frequency, coverage = np.zeros(len(index), int), np.zeros(len(index))
    for position in range(15):
        sample = source.read(position)
        flower = render("double-12c", position, size=64, seed=4)
        half = paint("double-12c", position, 32, 4, flower.label)
        np.testing.assert_array_equal(sample.image, flower.image)
        colour = np.asarray([index[f"color:{name}"] for name in COLOUR_NAMES])[half.colours]
        part = np.asarray([-1, *(index[f"part:{name}"] for name in PARTS[1:])])[half.parts]
        flower_object = np.where(half.parts > 0, index["object:flower"], -1)
        for category, plane in {"color": colour, "part": part, "object": flower_object}.items():
            np.testing.assert_array_equal(sample.planes[category], plane[None])
            pixels = np.bincount(plane[plane >= 0], minlength=len(index))
            frequency += pixels > 0
            coverage += pixels / half.parts.size
    with open(tmp_path / "label.csv", newline="") as file:
        labels = list(csv.DictReader(file))
    assert [int(row["number"]) for row in labels] == list(range(1, len(index) + 1))
    assert [int(row["frequency"]) for row in labels] == list(frequency)
    np.testing.assert_allclose([float(row["coverage"]) for row in labels], coverage, atol=1e-6)


def test_a_prepared_tfds_set(tmp_path):
    from jaxinterp.data.an8flower.tfds import An8Flower, An8FlowerConfig

    config = An8FlowerConfig(
        name="tiny", variant="double-12c", size=32, seed=6, train=12, test=5, description="Few."
    )
    builder = An8Flower(data_dir=tmp_path, config=config, file_format="array_record")
    builder.download_and_prepare()
    source = read_tfds("tfds:an8_flower/tiny", split=None, data_dir=str(tmp_path))
    assert source.split == "test"
    assert tuple(own.key for own in source.classes) == CLASS_NAMES["double-12c"]
    indices = []
    for split, count in {"train": 12, "test": 5}.items():
        records = builder.as_data_source(split)
        assert len(records) == count
        for record in records:
            flower = render("double-12c", int(record["index"]), size=32, seed=6)
            np.testing.assert_array_equal(record["image"], flower.image)
            np.testing.assert_array_equal(record["parts"], flower.parts)
            np.testing.assert_array_equal(record["discriminative"], flower.discriminative)
            assert record["label"] == flower.label
            indices.append(int(record["index"]))
    assert sorted(indices[:12]) == list(range(12))
    assert sorted(indices[12:]) == list(range(12, 17))
    with pytest.raises(UserError, match="nearest: single-6c"):
        An8FlowerConfig(name="wrong", variant="single-7c", description="None.")


@pytest.mark.parametrize(("layout", "file"), [("folders", "parts.csv"), ("broden", "label.csv")])
def test_the_command(tmp_path, capsys, layout, file):
    folder = str(tmp_path / "new" / "flowers")
    command = [folder, "--images", "7", "--size", "40", "--seed", "3", "--layout", layout]
    tyro.cli(Render, args=command)()
    assert (tmp_path / "new" / "flowers" / file).exists()
    assert "7 images of single-6c, 40 px, seed 3" in capsys.readouterr().out
    with pytest.raises(UserError, match="is not empty"):
        tyro.cli(Render, args=command)()
    with pytest.raises(UserError, match="at least 32"):
        tyro.cli(Render, args=[str(tmp_path / "other"), "--size", "31"])()
    assert not (tmp_path / "other").exists()
