"""Segmentation folders, texture folders, rendered flowers, and finding out which one it is."""

import csv
import tarfile

import numpy as np
import pytest
from PIL import Image

from jaxinterp.data.an8flower import COLOUR_NAMES, PARTS, render
from jaxinterp.data.concepts import Concept, join, read_concepts, with_colours
from jaxinterp.data.concepts.colours import name_colours
from jaxinterp.data.concepts.problems import ConceptProblems
from jaxinterp.data.concepts.segmentation import read_segmentation
from jaxinterp.data.concepts.textures import read_textures
from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.errors import UserError


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


MASK = np.array([[0, 1, 1], [2, 3, 255]])


@pytest.fixture
def streets(tmp_path):
    """Two images of 3 x 2 pixels; 3 is unlabelled, and two numbers are cars."""
    root = tmp_path / "streets"
    for name in ("one", "deep/two"):
        save(root / "images" / f"{name}.png", np.full((2, 3, 3), 50))
        save(root / "masks" / f"{name}.png", MASK)
    rows = [("index", "name"), (0, "road"), (1, "car"), (2, "car"), (3, "unlabelled")]
    write_csv(root / "labels.csv", rows)
    return root


@pytest.fixture
def textures(tmp_path):
    root = tmp_path / "textures"
    for name in ("dotted/1.png", "dotted/2.png", "woven/1.png"):
        save(root / name, np.full((4, 4, 3), 200))
    return root


def test_a_mask_s_numbers_become_concepts(streets):
    found = read_segmentation(streets)
    assert found.concepts == (Concept("road", "object"), Concept("car", "object"))
    assert [found.read(i).name for i in range(found.count)] == ["deep/two.png", "one.png"]
    planes = found.read(0).planes["object"]
    np.testing.assert_array_equal(planes, [[[0, 1, 1], [1, -1, -1]]])
    assert planes.dtype == np.int32
    assert read_segmentation(streets, category="thing").categories == ("thing",)


def test_palettes_and_sixteen_bits_are_read_as_numbers(streets):
    palette = Image.frombytes("P", (3, 2), np.asarray(MASK, np.uint8).tobytes())
    palette.putpalette([7] * 768)
    palette.save(streets / "masks" / "one.png")
    Image.fromarray(np.asarray(MASK, np.uint16)).save(streets / "masks" / "deep" / "two.png")
    found = read_segmentation(streets)
    for position in range(2):
        expected = [[[0, 1, 1], [1, -1, -1]]]
        np.testing.assert_array_equal(found.read(position).planes["object"], expected)


def test_an_index_chooses_and_orders_and_has_splits(streets):
    write_csv(streets / "index.csv", [("split", "name"), ("val", "one")])
    found = read_segmentation(streets)
    assert found.splits == ("val",)
    assert found.notes == ("1 images are not in index.csv: left out.",)
    write_csv(streets / "index.csv", [("split", "name"), ("val", "ome")])
    with pytest.raises(ConceptProblems, match=r"Line 2 of index.csv .*nearest: one"):
        read_segmentation(streets)


def test_ade20k_s_table_counts_from_one_and_breaks_names_apart(streets):
    (streets / "labels.csv").unlink()
    names = ["wall", "building;edifice", "chest;of;drawers;chest;bureau", "screen;door;screen"]
    rows = [(i + 1, "0.1", name) for i, name in enumerate(names)]
    write_csv(streets / "objectInfo150.csv", [("Idx", "Ratio", "Name"), *rows])
    found = read_segmentation(streets)
    assert [one.name for one in found.concepts] == [
        *("wall", "building", "chest of drawers", "screen door")
    ]
    np.testing.assert_array_equal(found.read(0).planes["object"], [[[-1, 0, 0], [1, 2, -1]]])


def test_a_mask_of_another_size_is_named_with_both(streets):
    save(streets / "masks" / "one.png", np.zeros((3, 3)))
    with pytest.raises(
        UserError, match=r"masks/one.png .* is 3 x 3 pixels, but the image images/one.png is 3 x 2"
    ):
        read_segmentation(streets).read(1)


@pytest.mark.parametrize("label", [4, 200, 254])
def test_a_label_beyond_the_list_is_named(streets, label):
    save(streets / "masks" / "one.png", np.where(MASK == 2, label, MASK))
    with pytest.raises(UserError, match=rf"has the label {label}, .* beyond its list \(0 to 3\)"):
        read_segmentation(streets).read(1)


def test_a_coloured_mask_is_refused(streets):
    save(streets / "masks" / "one.png", np.zeros((2, 3, 3)))
    with pytest.raises(UserError, match="is a colour image"):
        read_segmentation(streets).read(1)


def test_an_image_without_a_mask_is_named_and_a_mask_without_an_image_noted(streets):
    save(streets / "masks" / "three.png", MASK)
    assert read_segmentation(streets).notes == ("1 masks have no image: passed over.",)
    (streets / "masks" / "one.png").unlink()
    with pytest.raises(ConceptProblems, match=r"images/one.png .* has no mask"):
        read_segmentation(streets)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("index", "name"), ("x", "road")], "index in line 2 .* is no number .*'x'"),
        ([("index", "name"), (1, "road"), (1, "car")], "index 1 in line 3 .* name already: 'road'"),
        ([("number", "name"), (1, "road")], "has no column index"),
        ([("index", "name")], "lists no labels"),
        ([("index", "name"), (1, "void")], "names no concept"),
    ],
)
def test_a_wrong_list_of_labels_is_named(streets, rows, message):
    write_csv(streets / "labels.csv", rows)
    with pytest.raises(UserError, match=message):
        read_segmentation(streets)


def test_masks_without_a_list_are_explained(streets):
    (streets / "labels.csv").unlink()
    with pytest.raises(UserError, match=r"neither labels.csv .* nor objectInfo150.csv"):
        read_concepts(str(streets))


def test_textures_hold_for_whole_images(textures):
    found = read_textures(textures)
    assert [str(one) for one in found.concepts] == ["texture:dotted", "texture:woven"]
    assert [found.read(i).whole for i in range(3)] == [(0,), (0,), (1,)]
    assert found.read(2).planes == {}
    assert found.read(2).name == "woven/1.png"


def test_the_folder_images_of_the_textures_archive_is_looked_through(textures):
    inner = textures.parent / "dtd"
    inner.mkdir()
    textures.rename(inner / "images")
    assert [one.name for one in read_textures(inner).concepts] == ["dotted", "woven"]


@pytest.mark.parametrize("kind", ["streets", "textures"])
def test_an_archive_is_what_its_folder_is(kind, request, tmp_path):
    folder = request.getfixturevalue(kind)
    archive = tmp_path / "pack.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, arcname="top")
    found, expected = (read_concepts(str(one), exclude=()) for one in (archive, folder))
    assert found.concepts == expected.concepts
    assert found.count == expected.count
    for position in range(found.count):
        one, other = found.read(position), expected.read(position)
        assert (one.name, one.whole) == (other.name, other.whole)
        np.testing.assert_array_equal(one.image, other.image)
        for category in one.planes:
            np.testing.assert_array_equal(one.planes[category], other.planes[category])


def test_flowers_carry_what_was_painted():
    found = read_concepts("an8flower:double-12c:4:32:5")
    assert found.count == 4
    assert found.categories == ("part", "color", "class")
    sample, flower = found.read(3), render("double-12c", 3, size=32, seed=5)
    np.testing.assert_array_equal(sample.image, flower.image)
    for place in np.ndindex(32, 32):
        part, colour = (int(sample.planes[name][0][place]) for name in ("part", "color"))
        name = PARTS[flower.parts[place]]
        assert (found.concepts[part].name if part >= 0 else "background") == name
        assert found.concepts[colour] == Concept(COLOUR_NAMES[flower.colours[place]], "color")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("an8flower:single", "nearest: single-6c"),
        ("an8flower:single-6c:many", "the form is an8flower:VARIANT"),
        ("an8flower:single-6c:1:64:0:0", "the form is an8flower:VARIANT"),
        ("an8flower:single-6c:0", "At least 1 flower"),
        ("an8flower:single-6c:1:8", "size"),
    ],
)
def test_flowers_that_cannot_be_rendered_are_refused_at_once(location, message):
    with pytest.raises(UserError, match=message):
        read_concepts(location)


def test_nothing_that_is_known_is_said(tmp_path):
    with pytest.raises(UserError, match=r"No concept data is recognised .* the Broden layout"):
        read_concepts(str(tmp_path))
    with pytest.raises(UserError, match="no folder or archive"):
        read_concepts(str(tmp_path / "none"))
    (tmp_path / "file").write_text("no archive")
    with pytest.raises(UserError, match="cannot be read"):
        read_concepts(str(tmp_path / "file"))


def test_a_set_of_textures_alone_must_be_asked_for(textures):
    with pytest.raises(UserError, match=r"texture alone.*name them in categories"):
        read_concepts(str(textures))
    assert read_concepts(str(textures), categories=["texture"]).count == 3
    coloured = read_concepts(str(textures), colours=True)
    assert coloured.categories == ("color",)
    assert coloured.read(0).whole == ()


def test_colours_are_added_once(streets):
    found = read_concepts(str(streets), categories=["object"], colours=True)
    assert found.categories == ("object", "color")
    assert found.holds[0] == {"object", "color"}
    with pytest.raises(UserError, match="color already"):
        with_colours(found)
    flowers = read_concepts("an8flower:single-6c:1", colours=True)
    assert flowers.notes == ("The set has colours of its own: none are computed.",)
    assert flowers.read(0).colour_bins is None
    with pytest.raises(UserError, match="colours are not asked for"):
        read_concepts(str(streets), colour_table="w2c.npz")
    with pytest.raises(UserError, match="has no splits"):
        read_concepts(str(streets), split="val")


def test_a_joined_set_has_each_concept_once_and_labels_as_before(streets, textures):
    sets = [
        with_colours(read_segmentation(streets)),
        read_textures(textures),
        read_concepts("an8flower:single-6c:2"),
    ]
    joined = join(sets)
    assert joined.categories == ("object", "color", "texture", "part")
    assert len(set(joined.concepts)) == len(joined.concepts) == 2 + 11 + 2 + 4
    # Concepts of one category stand together.
    assert list(joined.category_of) == sorted(joined.category_of)
    assert joined.count == 2 + 3 + 2
    position = 0
    for one in sets:
        for own in range(one.count):
            sample, other = joined.read(position), one.read(own)
            assert joined.holds[position] == one.holds[own]
            assert [joined.concepts[i] for i in sample.whole] == [
                one.concepts[i] for i in other.whole
            ]
            for category, planes in other.planes.items():
                for new, old in zip(sample.planes[category].ravel(), planes.ravel(), strict=True):
                    assert (new == old == -1) or joined.concepts[new] == one.concepts[old]
            if other.colour_bins is not None:
                new = name_colours(sample.image, sample.colour_bins)[0, 0]
                old = name_colours(other.image, other.colour_bins)[0, 0]
                assert joined.concepts[new] == one.concepts[old]
            position += 1
    without = joined.select(["object", "texture"])
    assert without.count == 5
    assert without.read(0).colour_bins is None


def test_images_are_taken_evenly(textures):
    found = read_textures(textures)
    assert [found.take(2).read(i).name for i in range(2)] == ["dotted/1.png", "dotted/2.png"]
    assert found.take(None) is found
    assert found.take(99).count == 3
    with pytest.raises(UserError, match="At least 1 image"):
        found.take(0)


def test_a_concept_is_found_by_name_or_with_its_category(streets):
    found = with_colours(read_segmentation(streets))
    assert found.find("car") == found.find("object:car") == found.find("Car")
    assert found.find("red", category="color") == found.find("color:red")
    with pytest.raises(UserError, match="no concept 'cart'; nearest: car"):
        found.find("cart")
    with pytest.raises(UserError, match="no concept 'color:redd'; nearest: color:red"):
        found.find("color:redd")
    with pytest.raises(UserError, match="no category 'colour'; nearest: color"):
        found.find("red", category="colour")


def test_a_file_that_vanishes_costs_only_its_image(streets):
    found = read_segmentation(streets)
    (streets / "images" / "one.png").unlink()
    with pytest.raises(UnreadableImage, match=r"images/one.png"):
        found.read(1)
    assert found.read(0).image.shape == (2, 3, 3)
