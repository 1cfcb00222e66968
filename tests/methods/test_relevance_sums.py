"""The mean of equation 3, against NumPy over all images at once."""

import numpy as np
import pytest

from jaxinterp.errors import UserError
from jaxinterp.methods.relevance_sums import RelevanceSums

LAYERS, CLASSES = {"one": 3, "two": 5}, 4
RANDOM = np.random.default_rng(0)
LABELS = np.array([0, 1, 1, 0, 1, 2, -1, 1, 0, -1])
UNITS = {
    name: RANDOM.gamma(1, size=(10, units)).astype(np.float32) for name, units in LAYERS.items()
}
MASK_SUM = np.array([5, 1, 0, 2, 3, 4, 0, 1, 1, 1.0])


def batches(*sizes):
    """Sums of the images in batches of these sizes, one of them not finite."""
    units = {name: value.copy() for name, value in UNITS.items()}
    units["two"][4, 1] = np.nan
    sums, first = RelevanceSums(LAYERS, classes=CLASSES), 0
    for size in sizes:
        chosen = slice(first, first + size)
        part = {name: value[chosen] for name, value in units.items()}
        sums.add(LABELS[chosen], part, mask_sum=MASK_SUM[chosen])
        first += size
    return sums


def same(one, other):
    one, other = one.to_arrays(), other.to_arrays()
    assert one.keys() == other.keys()
    return all(np.allclose(one[name], other[name], rtol=1e-12) for name in one)


def test_mean_and_standard_error_of_what_counts():
    sums = batches(3, 7)
    used = {0: [0, 3, 8], 1: [1, 7], 2: [5], 3: []}
    np.testing.assert_array_equal(sums.images, [3, 2, 1, 0])
    np.testing.assert_array_equal(sums.empty, [0, 1, 0, 0])
    np.testing.assert_array_equal(sums.failed, [0, 1, 0, 0])
    for layer, units in LAYERS.items():
        mean, error = sums.mean()[layer], sums.standard_error()[layer]
        assert mean.shape == error.shape == (units, CLASSES)
        for c, images in used.items():
            values = UNITS[layer][images].astype(np.float64)
            expected = values.mean(0) if images else np.full(units, np.nan)
            np.testing.assert_allclose(mean[:, c], expected, rtol=1e-12)
            several = len(images) > 1
            expected = values.std(0, ddof=1) / len(images) ** 0.5 if several else np.nan
            np.testing.assert_allclose(error[:, c], np.broadcast_to(expected, units), rtol=1e-9)


def test_batches_merging_and_checkpoints_change_nothing():
    whole = batches(10)
    assert same(batches(1, 2, 3, 4), whole)
    assert same(RelevanceSums.from_arrays(whole.to_arrays()), whole)
    twice = batches(4, 6)
    twice.merge(whole)
    np.testing.assert_array_equal(twice.images, 2 * whole.images)
    np.testing.assert_allclose(twice.mean()["two"], whole.mean()["two"])


def test_equal_images_have_no_error():
    sums = RelevanceSums({"one": 2}, classes=1)
    sums.add(np.zeros(7, int), {"one": np.full((7, 2), 0.1, np.float32)})
    np.testing.assert_allclose(sums.standard_error()["one"], 0, atol=1e-8)
    assert not sums.empty.any()


@pytest.mark.parametrize(
    ("labels", "units", "mask_sum", "message"),
    [
        (LABELS + 2, UNITS, None, "Label 4 is out of range: there are 4 classes"),
        (LABELS - 1, UNITS, None, "Label -2"),
        (LABELS * 1.0, UNITS, None, "whole numbers"),
        (LABELS, {"one": UNITS["one"]}, None, "'two' is missing in the batch"),
        (LABELS, {**UNITS, "three": UNITS["one"]}, None, "'three' is missing in the sums"),
        (LABELS[:9], UNITS, None, r"\[10, 3\], not \[9, 3\]"),
        (LABELS, UNITS, MASK_SUM[:4], "mask_sum"),
    ],
)
def test_bad_batches_are_refused(labels, units, mask_sum, message):
    with pytest.raises(UserError, match=message):
        RelevanceSums(LAYERS, classes=CLASSES).add(labels, units, mask_sum=mask_sum)


def test_unequal_and_incomplete_sums_are_refused():
    sums = RelevanceSums(LAYERS, classes=CLASSES)
    with pytest.raises(UserError, match="equal layers and classes"):
        sums.merge(RelevanceSums(LAYERS, classes=3))
    with pytest.raises(UserError, match="at least one layer"):
        RelevanceSums({}, classes=3)
    arrays = sums.to_arrays()
    del arrays["squares/two"]
    with pytest.raises(UserError, match="no array of a relevance checkpoint 'squares/two'"):
        RelevanceSums.from_arrays(arrays)
