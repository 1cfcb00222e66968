"""Classes of networks and the concepts that stand for them."""

import csv

import numpy as np
import pytest

from jaxinterp.data.an8flower import CLASS_NAMES
from jaxinterp.data.concepts import Concept, ConceptSet, read_concepts
from jaxinterp.data.concepts.class_concepts import (
    PAPER_CLASSES,
    class_concepts,
    imagenet_concepts,
    require_labelled,
)
from jaxinterp.data.imagenet import imagenet_class_names, imagenet_synsets
from jaxinterp.errors import UserError

IMAGENET = imagenet_class_names()


def concept_set(*names):
    def read(position):
        raise AssertionError("nothing is read to match words")

    concepts = tuple(
        Concept(*reversed(name.split(":"))) if ":" in name else Concept(name, "object")
        for name in names
    )
    return ConceptSet("made", "here", concepts, (frozenset(),), read)


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_the_bundled_table_names_synsets_of_imagenet():
    assert set(imagenet_concepts()) <= set(imagenet_synsets())
    assert set(PAPER_CLASSES) <= set(imagenet_concepts().values())
    assert len(PAPER_CLASSES) == len(set(PAPER_CLASSES)) == 10
    with pytest.raises(TypeError):
        imagenet_concepts()["n00000000"] = "cat"  # type: ignore[index]


def test_the_bundled_table_repeats_the_class_names():
    """The names in the file are for its readers: they must be those of the synsets."""
    import importlib.resources

    file = importlib.resources.files("jaxinterp.data.concepts") / "imagenet_concepts.csv"
    rows = list(csv.DictReader(file.read_text().splitlines()))
    indices = [imagenet_synsets()[row["synset"]] for row in rows]
    assert [row["name"] for row in rows] == [IMAGENET[index] for index in indices]
    assert indices == sorted(set(indices))


@pytest.mark.parametrize(
    ("word", "some", "count"),
    [
        ("cat", ("tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"), 5),
        ("dog", ("Chihuahua", "Cardigan", "pug", "Mexican hairless"), 118),
        ("bus", ("minibus", "school bus", "trolleybus"), 3),
        ("bird", ("cock", "drake", "robin", "crane bird", "king penguin"), 59),
        ("refrigerator", ("refrigerator",), 1),
        ("lamp", ("table lamp",), 1),
        ("bench", ("park bench",), 1),
    ],
)
def test_a_word_stands_for_all_its_synsets(word, some, count):
    (found,) = class_concepts(concept_set("wall", word), IMAGENET, wanted=[word])
    assert found.name == word
    assert found.concept == 1
    assert {IMAGENET[logit] for logit in found.logits} >= set(some)
    assert len(found.logits) == count
    assert list(found.logits) == sorted(found.logits)


def test_animals_that_are_no_dogs_are_left_out():
    (found,) = class_concepts(concept_set("dog"), IMAGENET, wanted=["dog"])
    names = {IMAGENET[logit] for logit in found.logits}
    assert not names & {"timber wolf", "coyote", "dingo", "red fox", "hyena", "hotdog", "tabby"}


def test_one_class_can_be_asked_for_by_name_synset_or_number():
    data = concept_set("dog", "cat")
    for name in ("tabby", "n02123045", "281"):
        (found,) = class_concepts(data, IMAGENET, wanted=[name])
        assert (found.name, found.logits, found.concept) == ("tabby", (281,), 1)


def test_without_a_wish_every_concept_that_has_classes_is_taken():
    data = concept_set("wall", "cat", "vase", "tench", "color:orange", "part:ear", "tank")
    found = class_concepts(data, IMAGENET)
    # The fruit is no colour, an ear of corn no part, and the tank has tracks.
    assert [one.name for one in found] == ["tench", "cat", "vase"]
    assert [one.concept for one in found] == [3, 1, 2]


def test_own_names_match_whatever_their_case_and_blanks():
    data = concept_set("street sign", "car")
    found = class_concepts(data, ("Car", "Street_Sign", "house"))
    assert [(one.name, one.logits) for one in found] == [("car", (0,)), ("street sign", (1,))]


@pytest.mark.parametrize("variant", ["single-6c", "double-12c"])
def test_flowers_are_looked_for_by_their_colour(variant):
    data = read_concepts(f"an8flower:{variant}:1", categories=["part", "color"])
    names = CLASS_NAMES[variant]
    found = class_concepts(data, names)
    assert len(found) == 6
    for one in found:
        assert data.concepts[one.concept] == Concept(one.name, "color")
        assert all(names[logit].split()[0] == one.name for logit in one.logits)
    every = class_concepts(data, names, wanted=names)
    assert sorted(set().union(*(one.logits for one in every))) == list(range(len(names)))


def test_classes_of_colour_and_part_are_concepts_of_their_own():
    data = read_concepts("an8flower:double-12c:24:32")
    names = CLASS_NAMES["double-12c"]
    found = class_concepts(data, names)
    assert [(one.name, one.logits) for one in found] == [(n, (i,)) for i, n in enumerate(names)]
    assert {data.concepts[one.concept].category for one in found} == {"class"}
    for position in range(24):
        planes = data.read(position).planes
        concept = data.concepts[planes["class"].max()]
        colour, part = concept.name.split()
        where = planes["class"] >= 0
        assert (planes["part"][where] == data.find(part)).all()
        assert (planes["color"][where] == data.find(colour, category="color")).all()
        assert where.sum() == (planes["part"] == data.find(part)).sum()


def test_a_user_s_table_comes_first(tmp_path):
    data = concept_set("cat", "pet", "color:red", "dog")
    rows = [("class", "concept"), ("tabby", "pet"), ("n02124075", "pet"), ("2", "color:red")]
    table = write(tmp_path / "table.csv", rows)
    found = class_concepts(data, IMAGENET, table=table)
    assert [(one.name, one.logits) for one in found] == [("pet", (281, 285)), ("red", (2,))]
    # What it does not say, the bundled one does.
    cat, dog = class_concepts(data, IMAGENET, wanted=["cat", "dog"], table=table)
    assert cat.logits == (282, 283, 284)
    assert len(dog.logits) == 118


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("class", "concept"), ("tabbi", "cat")], "Line 2 .*no class of the network 'tabbi'; .*"),
        ([("class", "concept"), ("tabby", "cats")], "Line 2 .*no concept 'cats'; nearest: cat"),
        (
            [("class", "concept"), ("tabby", "cat"), ("281", "dog")],
            "Line 3 .* 'tabby' has a concept already",
        ),
        ([("name", "concept")], "has no column class"),
        ([("class", "concept")], "lists no classes"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, rows, message):
    table = write(tmp_path / "table.csv", rows)
    with pytest.raises(UserError, match=message):
        class_concepts(concept_set("cat", "dog"), IMAGENET, table=table)


def test_a_table_that_is_missing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"table.csv .* is missing"):
        class_concepts(concept_set("cat"), IMAGENET, table=tmp_path / "table.csv")


def test_a_class_that_matches_no_concept_is_named_with_the_nearest():
    data = concept_set("wall", "tenth", "sky")
    with pytest.raises(
        UserError, match=r"class 'tench' matches no concept of here.*nearest: tenth"
    ):
        class_concepts(data, IMAGENET, wanted=["tench"])


def test_a_name_that_is_no_class_is_named_with_the_nearest():
    with pytest.raises(UserError, match="word for several, 'catt'; nearest: cat"):
        class_concepts(concept_set("cat"), IMAGENET, wanted=["catt"])


def test_no_match_at_all_is_an_error():
    with pytest.raises(UserError, match="No class of the network is named as a concept"):
        class_concepts(concept_set("wall"), ("a", "b"))


def test_a_concept_without_pixels_is_refused_if_it_was_asked_for():
    data = concept_set("wall", "cat", "dog")
    labelled = np.array([10, 0, 0])
    require_labelled(data, [0], labelled)
    with pytest.raises(UserError, match=r"is labelled object:cat, object:dog: .* these concepts"):
        require_labelled(data, [0, 1, 2], labelled)
