"""Bilinear interpolation as matrices, against interpolation by hand and JAX's."""

import jax
import numpy as np
import pytest

from jaxinterp.errors import UserError
from jaxinterp.methods.upsampling import bilinear_matrix

SIZES = [(1, 1), (1, 6), (2, 7), (3, 3), (7, 112), (13, 113), (6, 4), (9, 1)]


def interpolate(values, place):
    """Between the two values around a place, which beyond the ends is an end."""
    place = min(max(place, 0), len(values) - 1)
    before = int(place)
    after = min(before + 1, len(values) - 1)
    return values[before] + (place - before) * (values[after] - values[before])


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_a_line_is_interpolated_at_the_centres_of_its_cells(source, target):
    values = np.random.default_rng(0).normal(size=source)
    expected = [interpolate(values, (i + 0.5) / target * source - 0.5) for i in range(target)]
    matrix = bilinear_matrix(source, target)
    assert matrix.shape == (target, source)
    assert matrix.dtype == np.float64
    np.testing.assert_allclose(matrix @ values, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(matrix.sum(1), 1)
    assert (matrix >= 0).all()


@pytest.mark.parametrize(("source", "target"), [size for size in SIZES if size[0] <= size[1]])
def test_upsampling_is_jaxs(source, target):
    values = np.random.default_rng(0).normal(size=(source, 5)).astype(np.float32)
    expected = jax.image.resize(values, (target, 7), "linear")
    found = bilinear_matrix(source, target) @ values @ bilinear_matrix(5, 7).T
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_each_value_counts_equally_where_the_sizes_divide(factor):
    np.testing.assert_allclose(bilinear_matrix(4, 4 * factor).sum(0), factor)


@pytest.mark.parametrize(("sizes", "message"), [((0, 3), "source"), ((3, -1), "target")])
def test_empty_grids_are_refused(sizes, message):
    with pytest.raises(UserError, match=message):
        bilinear_matrix(*sizes)
