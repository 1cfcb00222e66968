"""Accuracies against slow NumPy."""

import numpy as np
import pytest

from jaxinterp.errors import UserError
from jaxinterp.models.layer_table import LayerTable
from jaxinterp.models.network import Network
from jaxinterp.models.preprocess import Preprocess
from jaxinterp.train.evaluate import evaluate

RAW = Preprocess((0.0,) * 3, (1.0,) * 3, 32, 32)
NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def lookup(logits):
    """A network whose logits are a table; the image's first pixel is the row."""
    rows = np.asarray(logits, np.float32)

    def apply(params, images):
        return params[(images[:, 0, 0, 0] * 255 + 0.5).astype("int32")]

    return Network("lookup", apply, rows, RAW, LayerTable([]), NAMES)


def numbered(count):
    images = np.zeros((count, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images


@pytest.mark.parametrize("batch_size", [1, 7, 40, 100])
def test_accuracies_equal_the_slow_ones(batch_size):
    random = np.random.default_rng(0)
    logits = random.integers(0, 6, (40, 7))  # many ties
    labels = random.integers(0, 7, 40)
    labels[labels == 4] = 5  # a class that does not occur
    order = np.argsort(-logits, axis=1, kind="stable")
    first = [order[i, 0] == labels[i] for i in range(40)]
    among = [labels[i] in order[i, :5] for i in range(40)]
    found = evaluate(lookup(logits), numbered(40), labels, batch_size=batch_size)
    assert found.images == 40
    assert found.top1 == pytest.approx(np.mean(first))
    assert found.top5 == pytest.approx(np.mean(among))
    assert 0 < found.top1 < found.top5 < 1
    expected = [
        (NAMES[c], sum(labels == c), np.mean([first[i] for i in range(40) if labels[i] == c]))
        for c in (0, 1, 2, 3, 5, 6)
    ]
    assert [row[:2] for row in found.classes] == [row[:2] for row in expected]
    assert [row[2] for row in found.classes] == pytest.approx([row[2] for row in expected])


def test_a_network_that_answers_everything_alike_is_right_by_chance_only():
    labels = np.arange(21) % 7
    found = evaluate(lookup(np.zeros((21, 7))), numbered(21), labels)
    assert found.top1 == pytest.approx(1 / 7)
    assert found.top5 == pytest.approx(5 / 7)


def test_logits_that_are_not_numbers_are_never_right():
    labels = np.arange(21) % 7
    found = evaluate(lookup(np.full((21, 7), np.nan)), numbered(21), labels)
    assert (found.top1, found.top5) == (0, 0)


def test_nothing_to_evaluate_on():
    with pytest.raises(UserError, match="no images"):
        evaluate(lookup(np.zeros((1, 7))), numbered(0), np.zeros(0, int))
