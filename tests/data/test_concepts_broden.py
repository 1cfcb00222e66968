"""The layout of Broden, written small with Pillow and read back, whole and broken."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

from jaxinterp.data.concepts.broden import holds_broden, read_broden
from jaxinterp.data.concepts.file_tree import open_tree
from jaxinterp.data.concepts.problems import ConceptProblems
from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.errors import UserError

LABELS = {1: "sky", 2: "blue-c", 3: "cloth", 4: "street-s", 300: "kettle", 301: "ghost", 7: "dots"}
CATEGORIES = {
    "object": (1, 3, 300, 301),
    "color": (2,),
    "material": (3,),
    "scene": (4,),
    "texture": (7,),
}
HEADER = ("image", "split", "ih", "iw", "sh", "sw", *CATEGORIES)
WHOLE = (8, 6, 4, 3)  # ih, iw, sh, sw

MASKS = {
    "a_object_1.png": np.array([[1, 1, 300], [0, 3, 300], [0, 0, 300], [1, 1, 1]]),
    "a_object_2.png": np.array([[0, 0, 3], [0, 0, 3], [0, 0, 0], [0, 0, 0]]),
    "a_color.png": np.full((4, 3), 2),
    "a_material.png": np.array([[3, 3, 3], [0, 0, 0], [0, 0, 0], [0, 0, 300]]),
}
ROWS = [
    ("a.jpg", "train", *WHOLE, "a_object_1.png;a_object_2.png", "a_color.png", "a_material.png"),
    ("dtd/b.jpg", "val", *WHOLE, "", "a_color.png", "", "", "7;0"),
    ("c.jpg", "train", *WHOLE, "0", "", "", "4"),
]


def write_table(path, header, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([*row, *("",) * (len(header) - len(row))] for row in rows)


def write_mask(path, labels):
    labels = np.asarray(labels)
    pixels = np.stack([labels % 256, labels // 256, labels * 0], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def write_index(folder, rows):
    write_table(folder / "index.csv", HEADER, rows)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "broden"
    (root / "images" / "dtd").mkdir(parents=True)
    write_index(root, ROWS)
    write_table(root / "category.csv", ("name", "first"), [(name, 1) for name in CATEGORIES])
    write_table(root / "label.csv", ("number", "name"), LABELS.items())
    for name, numbers in CATEGORIES.items():
        rows = [(code + 1, number, LABELS[number]) for code, number in enumerate(numbers)]
        write_table(root / f"c_{name}.csv", ("code", "number", "name"), rows)
    for name, labels in MASKS.items():
        write_mask(root / "images" / name, labels)
    for row in ROWS:
        Image.new("RGB", (6, 8), (9, 9, 9)).save(root / "images" / row[0])
    return root


def test_every_label_of_every_plane_is_read(folder):
    found = read_broden(folder)
    sample = found.read(0)
    assert found.kind == "Broden layout"
    assert found.categories == tuple(CATEGORIES)
    assert sample.image.shape == (8, 6, 3)
    assert set(sample.planes) == {"object", "color", "material"}
    for category, files in (
        ("object", ("a_object_1.png", "a_object_2.png")),
        ("color", ("a_color.png",)),
        ("material", ("a_material.png",)),
    ):
        planes = sample.planes[category]
        assert planes.dtype == np.int32
        assert planes.shape == (len(files), 4, 3)
        for plane, file in zip(planes, files, strict=True):
            for place, label in np.ndenumerate(MASKS[file]):
                if label == 0 or label not in CATEGORIES[category]:
                    assert plane[place] == -1
                    continue
                concept = found.concepts[plane[place]]
                assert concept.category == category
                assert concept.name == LABELS[label].removesuffix("-c")
    # The material "kettle" is a label, but of objects alone.
    assert sample.ignored == 1
    assert sample.whole == ()


def test_a_label_above_255_keeps_its_green_part(folder):
    found = read_broden(folder)
    plane = found.read(0).planes["object"][0]
    assert plane[0, 2] == found.find("kettle", category="object")


def test_whole_image_labels_and_splits(folder):
    found = read_broden(folder)
    assert [found.concepts[one].name for one in found.read(1).whole] == ["dots"]
    assert [str(found.concepts[one]) for one in found.read(2).whole] == ["scene:street"]
    assert found.splits == ("train", "val", "train")
    assert found.holds == (
        {"object", "color", "material"},
        {"color", "texture"},
        {"scene"},
    )
    assert found.in_split("val").count == 1
    assert found.in_split("val").read(0).name == "dtd/b.jpg"


def test_one_label_in_two_categories_is_two_concepts(folder):
    found = read_broden(folder)
    assert found.find("cloth", category="object") != found.find("cloth", category="material")


def test_scenes_and_textures_are_left_out_unless_asked_for(folder):
    whole = read_broden(folder)
    chosen = whole.select()
    assert chosen.categories == ("object", "color", "material")
    # Of the last image only the scene is labelled.
    assert chosen.count == 2
    assert chosen.notes == ("1 of 3 images have no labels of object, color, material: left out.",)
    assert chosen.read(1).whole == ()
    for category, planes in chosen.read(0).planes.items():
        for new, old in zip(planes.ravel(), whole.read(0).planes[category].ravel(), strict=True):
            assert (new == old == -1) or chosen.concepts[new] == whole.concepts[old]
    assert whole.select(["texture"]).read(0).whole == (0,)
    assert whole.select(exclude=()).concepts == whole.concepts
    with pytest.raises(UserError, match="no category 'textures'; nearest: texture"):
        whole.select(["textures"])


def replaced(row, column, value):
    cells = [*ROWS[row], *("",) * (len(HEADER) - len(ROWS[row]))]
    cells[HEADER.index(column)] = value
    return [*ROWS[:row], tuple(cells), *ROWS[row + 1 :]]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("object", "../../secret.png", "object in line 2 .* leaves the folder"),
        ("object", "x/../a_color.png", "leaves the folder"),
        ("color", "/etc/passwd", "color in line 2 .*'/etc/passwd', which leaves the folder"),
        ("object", "..\\secret.png", "leaves the folder"),
        ("image", "../label.csv", "image in line 2 .* leaves the folder"),
        ("image", "gone.jpg", "image in line 2 .*'gone.jpg', which is missing"),
        ("image", "", "image in line 2 .* which is missing"),
        ("object", "gone.png", "object in line 2 .* which is missing"),
        ("object", "302", "object in line 2 .* is the label 302, which label.csv does not have"),
        ("object", "-1", "object in line 2"),
        ("sh", "four", "sh in line 2 .* is no number of pixels: 'four'"),
        ("iw", "0", "iw in line 2"),
        ("sw", "", "sw in line 2"),
        ("ih", "6.5", "ih in line 2"),
    ],
)
def test_a_wrong_row_is_named(folder, column, value, message):
    write_index(folder, replaced(0, column, value))
    with pytest.raises(ConceptProblems, match=message) as caught:
        read_broden(folder)
    assert caught.value.count >= 1


def test_all_wrong_rows_are_counted_and_ten_are_told(folder):
    bad = [(f"gone{i}.jpg", "train", *WHOLE) for i in range(25)]
    write_index(folder, [*ROWS, *bad])
    with pytest.raises(ConceptProblems, match="24 more such problems") as caught:
        read_broden(folder)
    assert caught.value.count == 25
    assert len(caught.value.problems) == 10
    assert "gone0.jpg" in caught.value.problems[0]
    assert "line 5 " in caught.value.problems[0]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_out_of_the_folder_is_refused(folder, tmp_path, kind):
    outside = tmp_path / "outside"
    outside.mkdir()
    write_mask(outside / "mask.png", MASKS["a_color.png"])
    if kind == "file":
        os.symlink(outside / "mask.png", folder / "images" / "mask.png")
        name = "mask.png"
    else:
        os.symlink(outside, folder / "images" / "linked")
        name = "linked/mask.png"
    write_index(folder, replaced(0, "color", name))
    with pytest.raises(ConceptProblems, match="is a link that leaves the folder"):
        read_broden(folder)


def test_a_link_within_the_folder_is_followed(folder):
    os.symlink(folder / "images" / "a_color.png", folder / "images" / "same.png")
    write_index(folder, replaced(0, "color", "same.png"))
    found = read_broden(folder)
    assert (found.read(0).planes["color"] == found.find("blue")).all()


@pytest.mark.parametrize("gone", ["index.csv", "category.csv", "label.csv", "c_color.csv"])
def test_an_incomplete_folder_says_what_is_missing(folder, gone):
    (folder / gone).unlink()
    assert holds_broden(open_tree(folder).names)
    with pytest.raises(UserError, match=f"no complete Broden folder: {gone}.* missing"):
        read_broden(folder)


def test_a_folder_without_images_is_incomplete(folder):
    for file in sorted((folder / "images").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    with pytest.raises(UserError, match="images/ is missing"):
        read_broden(folder)


def test_a_missing_folder_names_its_neighbours(folder):
    with pytest.raises(UserError, match=r"no folder or archive .*brodem.*; nearest: .*broden"):
        read_broden(folder.parent / "brodem")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("label.csv", "number,name\n1,sky\n1,sea\n", "number 1 in line 3 .* is there twice"),
        ("label.csv", "number,name\nx,sky\n", "number in line 2 of label.csv .* is no number"),
        ("label.csv", "number,name\n70000,sky\n", "from 0 to 65535: '70000'"),
        ("label.csv", "number\n1\n", "has no column name; its columns: number"),
        ("label.csv", "number,name\n", "lists no labels"),
        ("label.csv", "number,name\n1,sky,extra\n", "Line 2 of label.csv .* has 3 cells, not 2"),
        ("c_color.csv", "code,number,name\n1,2,red-c\n", "is 'red-c', but label.csv calls it"),
        ("c_color.csv", "code,number,name\n1,9,red-c\n", "but label.csv does not have it"),
        ("c_color.csv", "code,number,name\n1,2,blue-c\n2,2,blue-c\n", "is there twice"),
        ("c_color.csv", "code,number,name\n?,2,blue-c\n", "code in line 2"),
        ("category.csv", "name\nobject\nobject\n", "lists no categories, or one twice"),
        ("category.csv", "name\nobject\n", "has the column 'color', which is no category"),
        ("index.csv", "image,split\n", "has no column ih and no column iw"),
        ("index.csv", ",".join(HEADER) + "\n", "lists no images"),
        ("index.csv", "image,image\n", "has no column split"),
    ],
)
def test_a_wrong_table_is_named(folder, file, text, message):
    (folder / file).write_text(text)
    with pytest.raises(UserError, match=message):
        read_broden(folder)


def test_a_table_that_is_no_text_is_named(folder):
    (folder / "label.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"label.csv of .* is not UTF-8 text"):
        read_broden(folder)


def test_a_mask_of_another_size_is_named_with_both(folder):
    write_mask(folder / "images" / "a_color.png", np.zeros((5, 3), int))
    with pytest.raises(UserError, match=r"a_color.png .* is 3 x 5 pixels, but sh and sw .* 3 x 4"):
        read_broden(folder).read(0)


def test_an_image_of_another_size_is_named_with_both(folder):
    Image.new("RGB", (6, 9)).save(folder / "images" / "a.jpg")
    with pytest.raises(UserError, match=r"a.jpg .* is 6 x 9 pixels, but ih and iw .* say 6 x 8"):
        read_broden(folder).read(0)


@pytest.mark.parametrize("label", [299, 302, 65535, 5])
def test_a_label_beyond_the_list_is_named(folder, label):
    labels = MASKS["a_color.png"].copy()
    labels[1, 1] = label
    write_mask(folder / "images" / "a_color.png", labels)
    with pytest.raises(UserError, match=f"a_color.png .* has the label {label}, which is beyond"):
        read_broden(folder).read(0)


def test_a_grey_mask_is_refused(folder):
    Image.new("L", (3, 4), 2).save(folder / "images" / "a_color.png")
    with pytest.raises(UserError, match=r"a_color.png .* is no RGB image"):
        read_broden(folder).read(0)


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_broken_file_costs_only_its_image(folder, content):
    (folder / "images" / "a.jpg").write_bytes(content)
    found = read_broden(folder)
    with pytest.raises(UnreadableImage, match=r"images/a.jpg: "):
        found.read(0)
    assert found.read(1).name == "dtd/b.jpg"
