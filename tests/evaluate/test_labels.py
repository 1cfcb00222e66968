"""Classes of a source among the logits of a network."""

import pytest

from jaxinterp.data.imagenet import imagenet_class_names
from jaxinterp.data.labelled import LabelledImages, SourceClass
from jaxinterp.errors import UserError
from jaxinterp.evaluate.labels import map_labels

ANIMALS = ("ant", "polar bear", "cat", "Cardigan", "cardigan")
IMAGENETTE = (
    *("n01440764", "n02102040", "n02979186", "n03000684", "n03028079"),
    *("n03394916", "n03417042", "n03425413", "n03445777", "n03888257"),
)
IMAGENETTE_INDICES = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)


def source(*classes):
    known = tuple(own if isinstance(own, SourceClass) else SourceClass(own) for own in classes)

    def read(position):
        raise AssertionError("nothing is read to find the labels")

    return LabelledImages("made", "here", known, len(known), read)


@pytest.mark.parametrize(
    ("classes", "names", "logits", "expected", "rule"),
    [
        # Numbers are indices, in whatever order a folder sorts them.
        (("0", "1", "10", "2"), (), 1000, (0, 1, 10, 2), "numbered"),
        (("04", "3"), ANIMALS, 5, (4, 3), "numbered"),
        # The ten labels of imagenette, as published with it.
        (IMAGENETTE, (), 1000, IMAGENETTE_INDICES, "synsets"),
        (IMAGENETTE, imagenet_class_names(), 1000, IMAGENETTE_INDICES, "synsets"),
        (("n03888257", "n01440764"), (), 1000, (701, 0), "synsets"),
        # A network of its own for these ten: not ImageNet's logits.
        (IMAGENETTE, (), 10, tuple(range(10)), "as many classes"),
        # Names, however they are written in a file system, but not one class for another.
        (("cat", "ant"), ANIMALS, 5, (2, 0), "named"),
        (("Polar_Bear", "CAT"), ANIMALS, 5, (1, 2), "named"),
        (("cardigan", "Cardigan"), ANIMALS, 5, (4, 3), "named"),
        (("crane", "crane_bird"), imagenet_class_names(), 1000, (517, 134), "named"),
        # Nothing to go by but the number of classes.
        (("x", "y", "z"), (), 3, (0, 1, 2), "as many classes"),
        (("x", "y", "z"), ("ant", "bee", "cat"), 3, (0, 1, 2), "as many classes"),
    ],
)
def test_each_class_finds_its_logit(classes, names, logits, expected, rule):
    found = map_labels(source(*classes), logits=logits, class_names=names)
    assert found.logits == expected
    assert rule in found.rule
    assert found.names == (tuple(names[index] for index in expected) if names else classes)


@pytest.mark.parametrize(
    ("classes", "names", "logits", "words"),
    [
        (("0", "5"), (), 5, ["the class 5", "5 logits", "--classes"]),
        (IMAGENETTE, (), 100, ["10 classes of here", "n01440764", "100 logits", "--classes 10"]),
        (("n01440764", "n00000001"), (), 1000, ["1 of 2", "n00000001", "--classes"]),
        (("ant", "cart"), ANIMALS, 5, ["1 of 2", "'cart'; nearest: cat"]),
        # Not by their order: two of three are known.
        (("ant", "cat", "dgo"), ("ant", "cat", "dog"), 3, ["1 of 3", "'dgo'; nearest: dog"]),
        (("CARDIGAN", "ant"), ANIMALS, 5, ["1 of 2", "'CARDIGAN'; nearest: "]),
        (("x", "y"), ANIMALS, 5, ["2 classes of here (x, y)", "5 logits", "--classes 2"]),
        (("train", "val"), (), 1000, ["(train, val)", "Give the folder of one split."]),
    ],
)
def test_a_class_without_a_logit_is_named(classes, names, logits, words):
    with pytest.raises(UserError) as caught:
        map_labels(source(*classes), logits=logits, class_names=names)
    for word in words:
        assert word in str(caught.value)


def test_a_table_in_another_order_is_refused():
    """Keras, torchvision and MatConvNet do not all number the classes alike."""
    right = [SourceClass("0", "n01440764", "tench"), SourceClass("517", "n03126707", "crane")]
    found = map_labels(source(*right), logits=1000, class_names=imagenet_class_names())
    assert (found.logits, found.names) == ((0, 517), ("tench", "crane"))
    wrong = [SourceClass("0", "n01440764"), SourceClass("134", "n03126707")]
    with pytest.raises(UserError, match="n03126707 the class index 134, but it is 517"):
        map_labels(source(*wrong), logits=1000, class_names=())
    # What another network calls its logits is its own affair.
    other = [SourceClass("1", "n01440764")]
    assert map_labels(source(*other), logits=10, class_names=()).logits == (1,)
    strangers = [f"class {i}" for i in range(1000)]
    assert map_labels(source(*wrong), logits=1000, class_names=strangers).logits == (0, 134)


def test_a_network_of_1000_other_classes_is_not_imagenets():
    names = [f"class {i}" for i in range(1000)]
    with pytest.raises(UserError, match="neither named as the network's"):
        map_labels(source(*IMAGENETTE), logits=1000, class_names=names)
    other = [f"n{i:08}" for i in range(1000)]
    found = map_labels(source(*other), logits=1000, class_names=())
    assert found.logits == tuple(range(1000))
    assert "as many classes" in found.rule
