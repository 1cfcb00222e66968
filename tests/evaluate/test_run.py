"""Evaluations against slow NumPy, and what is done with images and labels that are no good."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxinterp.data.labelled import LabelledImage
from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.errors import UserError
from jaxinterp.evaluate.run import evaluate
from jaxinterp.evaluate.stream import Unreadable

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def answers(seed=0, count=40):
    """Logits with many ties, and labels of which one does not occur."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 7, count)
    labels[labels == 4] = 5
    return random.integers(0, 6, (count, 7)), labels


@pytest.mark.parametrize("batch_size", [1, 7, 40, 100])
def test_accuracies_equal_the_slow_ones(lookup, numbered, batch_size):
    logits, labels = answers()
    order = np.argsort(-logits, axis=1, kind="stable")
    first = [order[i, 0] == labels[i] for i in range(40)]
    among = [labels[i] in order[i, :5] for i in range(40)]
    found = evaluate(lookup(logits), numbered(labels), batch_size=batch_size)
    assert (found.top1.successes, found.top1.images) == (sum(first), 40)
    assert (found.top5.successes, found.top5.images) == (sum(among), 40)
    assert 0 < found.top1.successes < found.top5.successes < 40
    assert [(own.index, own.name) for own in found.classes] == [
        (c, NAMES[c]) for c in (0, 1, 2, 3, 5, 6)
    ]
    shares = []
    for own in found.classes:
        mine = [i for i in range(40) if labels[i] == own.index]
        assert own.top1.successes == sum(first[i] for i in mine)
        assert own.top5.successes == sum(among[i] for i in mine)
        assert own.top1.images == own.top5.images == len(mine)
        shares.append(sum(first[i] for i in mine) / len(mine))
    assert found.mean_class_top1 == pytest.approx(sum(shares) / 6)
    assert found.mean_class_top1 != pytest.approx(found.top1.value)
    assert (found.model, found.weights_sha256, found.logits) == ("lookup", "abc", 7)


def test_the_source_may_number_its_classes_otherwise(lookup, numbered):
    logits, labels = answers()
    plain = evaluate(lookup(logits), numbered(labels))
    # The same images by a source that lists its classes the other way round.
    turned = evaluate(lookup(logits), numbered(6 - labels, classes=NAMES[::-1]))
    assert (turned.top1, turned.top5, turned.classes) == (plain.top1, plain.top5, plain.classes)


def test_a_network_that_answers_everything_alike_is_right_by_chance_only(lookup, numbered):
    found = evaluate(lookup(np.zeros((21, 7))), numbered(np.arange(21) % 7))
    assert (found.top1.successes, found.top5.successes) == (3, 15)


def test_logits_that_are_not_numbers_are_never_right(lookup, numbered):
    network = lookup(np.zeros((21, 7)))

    def apply(params, images, original=network.apply):
        return jnp.log(original(params, images) - 1)

    object.__setattr__(network, "apply", apply)
    found = evaluate(network, numbered(np.arange(21) % 7))
    assert (found.top1.successes, found.top5.successes) == (0, 0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_numbers_are_refused(lookup, numbered, value):
    # Compiled for CPUs, a mean over ReLUs of NaNs is 0: such a network would look like any other.
    logits = np.zeros((21, 7))
    logits[20, 3] = value
    with pytest.raises(UserError, match=r"weights of lookup .* not finite .*nothing to evaluate"):
        evaluate(lookup(logits), numbered(np.arange(21) % 7))


def test_one_shape_is_compiled_whatever_the_last_batch_holds(lookup, numbered):
    logits, labels = answers()
    network, traced = lookup(logits), []

    def apply(params, images, original=network.apply):
        traced.append(images.shape)
        return original(params, images)

    object.__setattr__(network, "apply", apply)
    evaluate(network, numbered(labels), batch_size=16)
    # Once to count the logits, once to compile.
    assert traced == [(1, 2, 2, 3), (16, 2, 2, 3)]


@pytest.mark.parametrize(("limit", "batch_size"), [(10, 4), (39, 32), (1, 8)])
def test_a_limit_spreads_over_the_whole_source(lookup, numbered, limit, batch_size):
    labels = np.sort(np.arange(40) % 7)  # class after class, as folders are
    logits = np.eye(7)[labels]
    seen = []
    found = evaluate(
        lookup(logits), numbered(labels, fail=seen.append), limit=limit, batch_size=batch_size
    )
    assert found.top1.images == found.top1.successes == limit
    steps = np.diff(sorted(seen))
    assert len(seen) == limit
    assert limit == 1 or steps.max() - steps.min() <= 1
    assert limit < 7 or len(found.classes) == 7


@pytest.mark.parametrize("broken", [{3}, {0, 1, 2, 3}, {36, 37, 38, 39}, set(range(1, 40))])
def test_unreadable_images_are_named_and_judged_by_nobody(lookup, numbered, broken):
    logits, labels = answers()

    def fail(position):
        if position in broken:
            raise UnreadableImage("torn")

    told = []
    found = evaluate(
        lookup(logits), numbered(labels, fail=fail), batch_size=4, advanced=told.append
    )
    assert found.unreadable == tuple(Unreadable(f"image {i}", "torn") for i in sorted(broken))
    right = (np.argmax(logits, 1) == labels)[[i for i in range(40) if i not in broken]]
    assert (found.top1.successes, found.top1.images) == (right.sum(), 40 - len(broken))
    assert told == sorted(told)
    assert told[-1] == 40


def test_if_no_image_is_readable_there_is_no_accuracy(lookup, numbered):
    def fail(position):
        raise UnreadableImage(f"torn {position} times")

    with pytest.raises(UserError, match=r"None of the 5 images of here .* image 0: torn 0 times"):
        evaluate(lookup(np.zeros((5, 7))), numbered([0] * 5, fail=fail), batch_size=2)


def test_a_mistake_in_a_source_is_no_unreadable_image(lookup, numbered):
    def fail(position):
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        evaluate(lookup(np.zeros((5, 7))), numbered([0] * 5, fail=fail))


def test_nothing_to_evaluate_on(lookup, numbered):
    with pytest.raises(UserError, match="no images"):
        evaluate(lookup(np.zeros((1, 7))), numbered([]))


@pytest.mark.parametrize("label", [-1, 7])
def test_images_without_labels_are_no_errors_of_the_network(lookup, numbered, label):
    with pytest.raises(UserError, match=f"has the label {label}, .* has no labels"):
        evaluate(lookup(np.zeros((3, 7))), numbered([1, label, 2]))


def test_pillow_may_warn(lookup, numbered, tmp_path):
    """Warnings are errors in these tests, so one that got through would make it unreadable."""
    path = tmp_path / "palette.png"
    image = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2)).convert("P")
    image.save(path, transparency=bytes([0, 100, 200, 255]))
    with Image.open(path) as opened, pytest.warns(UserWarning, match="Transparency"):
        opened.convert("RGB")
    source = numbered([0])
    object.__setattr__(source, "read", lambda position: LabelledImage("palette", 0, path))
    before = list(warnings.filters)
    found = evaluate(lookup(np.zeros((1, 7))), source)
    assert found.unreadable == ()
    assert warnings.filters == before


def test_grey_networks_are_shown_grey_images(numbered, lookup):
    import dataclasses

    from jaxinterp.models.preprocess import Preprocess

    network = lookup(np.zeros((256, 7)))
    shapes = []

    def apply(params, images):
        shapes.append(images.shape)
        return params[(images[:, 0, 0, 0] * 255 + 0.5).astype("int32")]

    grey = dataclasses.replace(
        network, apply=apply, preprocess=Preprocess((0.0,), (1.0,), size=2, resize=2)
    )
    evaluate(grey, numbered([0, 1]), batch_size=2)
    assert shapes == [(1, 2, 2, 1), (2, 2, 2, 1)]
