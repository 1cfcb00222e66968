"""Pairs of kernels with nearly equal maps."""

import numpy as np
import pytest

from jaxinterp.errors import UserError
from jaxinterp.sweep.comparison.pairs import most_similar

SIDE, KERNELS = 12, 10


@pytest.fixture
def maps():
    """Maps [images, h, w, kernels] of unrelated kernels, all of them active."""
    return np.random.default_rng(0).random((3, SIDE, SIDE, KERNELS)).astype(np.float32)


def test_a_planted_pair_is_found(maps):
    maps[1, ..., 2] *= 2  # louder than most
    noise = 0.02 * np.random.default_rng(1).random((SIDE, SIDE))
    maps[1, ..., 7] = maps[1, ..., 2] + noise
    pair = most_similar(maps, "layer")
    assert (pair.first, pair.second, pair.image) == (2, 7, 1)
    assert 0.9 < pair.similarity < 1


def test_kernels_that_are_equal_on_every_image_are_no_pair(maps):
    """They have the same weights; two that are equal on one image alone do not."""
    maps[..., 9] = maps[..., 0]
    maps[2, ..., 4] = maps[2, ..., 3]
    pair = most_similar(maps, "layer")
    assert (pair.first, pair.second, pair.image) == (3, 4, 2)
    assert pair.similarity == pytest.approx(1, abs=1e-5)


def test_quiet_kernels_are_no_pair(maps):
    """Two maps that are nearly zero are alike, and say nothing."""
    maps[1, ..., 5] = 1e-3 * maps[1, ..., 5]
    maps[1, ..., 6] = maps[1, ..., 5]
    found = most_similar(maps, "layer")
    assert {found.first, found.second} != {5, 6}


def test_kernels_silent_on_most_images_are_no_pair(maps):
    maps[0, ..., 8] = maps[0, ..., 1]
    maps[1:, ..., 8] = 0
    found = most_similar(maps, "layer")
    assert 8 not in (found.first, found.second)


@pytest.mark.parametrize("active", [0, 1])
def test_fewer_than_two_active_kernels_are_an_error(maps, active):
    maps[..., active:] = 0
    with pytest.raises(UserError, match=f"layer, where {active} of the kernels answer"):
        most_similar(maps, "layer")


def test_small_maps_are_compared_by_correlation(maps):
    small = maps[:, :4, :4]
    small[0, ..., 3] = 2 * small[0, ..., 1]  # far apart, though correlated
    small[2, ..., 6] = small[2, ..., 2] + 1e-3
    found = most_similar(small, "layer")
    assert found.similarity == pytest.approx(1, abs=1e-4)
