"""Shares and their intervals."""

import math

import numpy as np
import pytest

from jaxinterp.evaluate.accuracy import Share, class_accuracies, share_below

Z = 1.959963984540054


@pytest.mark.parametrize(
    ("successes", "images"), [(0, 1), (1, 1), (0, 600), (600, 600), (451, 600), (1, 50_000)]
)
def test_the_bounds_are_where_the_count_is_z_standard_errors_away(successes, images):
    """Wilson's definition, solved by bisection."""

    def distance(p):
        error = math.sqrt(p * (1 - p) / images)
        gap = abs(successes / images - p)
        return math.inf if gap and not error else 0.0 if not gap else gap / error

    def solve(inside, outside):
        for _ in range(200):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if distance(middle) <= Z else (inside, middle)
        return inside

    share = Share(successes, images)
    low, high = share.interval
    assert low == pytest.approx(solve(share.value, 0.0), abs=1e-12)
    assert high == pytest.approx(solve(share.value, 1.0), abs=1e-12)
    assert 0 <= low <= share.value <= high <= 1
    assert low < high


def test_the_interval_covers_19_of_20():
    """Over all possible counts of 200 images with a true share of 0.93."""
    p, images = 0.93, 200
    covered = sum(
        math.comb(images, k) * p**k * (1 - p) ** (images - k)
        for k in range(images + 1)
        if Share(k, images).interval[0] <= p <= Share(k, images).interval[1]
    )
    assert covered == pytest.approx(0.95, abs=0.015)


def test_no_images_say_nothing():
    assert math.isnan(Share(0, 0).value)
    assert Share(0, 0).interval == (0.0, 1.0)


def test_classes_share_out_all_images():
    ranks, logits = np.asarray([0, 4, 5, 0, 2, 0]), np.asarray([3, 3, 3, 8, 8, 1])
    found = class_accuracies(ranks, logits, names=[(8, "i"), (3, "d"), (1, "b"), (0, "a")])
    assert [(own.index, own.name) for own in found] == [(1, "b"), (3, "d"), (8, "i")]
    assert [own.top1 for own in found] == [Share(1, 1), Share(1, 3), Share(1, 2)]
    assert [own.top5 for own in found] == [Share(1, 1), Share(2, 3), Share(2, 2)]
    assert share_below(ranks, 1) == Share(3, 6)
