"""ImageNet's classes against the lists of synsets that TFDS ships."""

import re

import pytest

from jaxinterp.data.imagenet import imagenet_class_names, imagenet_synsets


def tfds_labels(path):
    import tensorflow_datasets as tfds

    return tfds.core.tfds_path(path).read_text().split()


def test_the_order_is_that_of_the_sorted_synsets():
    synsets = imagenet_synsets()
    assert list(synsets.values()) == list(range(1000))
    assert list(synsets) == sorted(synsets)
    assert all(re.fullmatch(r"n\d{8}", synset) for synset in synsets)
    assert list(synsets) == tfds_labels("datasets/imagenet2012/labels.txt")


def test_sets_in_another_order_have_the_same_synsets():
    for path in ("imagenet_resized_labels.txt", "imagenette_labels.txt"):
        labels = tfds_labels(f"image_classification/{path}")
        assert set(labels) <= set(imagenet_synsets())
    resized = tfds_labels("image_classification/imagenet_resized_labels.txt")
    assert len(set(resized)) == 1000
    assert resized != list(imagenet_synsets())  # why labels go by synset and not by number


@pytest.mark.parametrize(
    ("index", "synset", "name"),
    [
        (0, "n01440764", "tench"),
        (134, "n02012849", "crane bird"),
        (207, "n02099601", "golden retriever"),
        (264, "n02113186", "Cardigan"),  # the dog
        (281, "n02123045", "tabby"),
        (474, "n02963159", "cardigan"),  # the jacket
        (517, "n03126707", "crane"),
        (638, "n03710637", "maillot"),
        (639, "n03710721", "maillot tank suit"),
        (836, "n04355933", "sunglass"),
        (837, "n04356056", "sunglasses"),
        (999, "n15075141", "toilet tissue"),
    ],
)
def test_classes_that_are_easily_mistaken(index, synset, name):
    assert imagenet_synsets()[synset] == index
    assert imagenet_class_names()[index] == name


def test_names_are_distinct_and_plain():
    names = imagenet_class_names()
    assert len(names) == len(set(names)) == 1000
    for name in names:
        assert name == " ".join(name.split())
        assert name.isascii()
        assert name


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        imagenet_synsets()["n01440764"] = 1  # type: ignore[index]
