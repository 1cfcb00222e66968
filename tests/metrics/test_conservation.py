"""How much relevance is lost on the way."""

import jax.numpy as jnp
import numpy as np

from jaxinterp.metrics.conservation import conservation_error


def test_error_is_the_share_of_what_was_sent():
    total = jnp.array([[2.0, -3.0, 0.0], [0.0, 1.0, 4.0]])
    start = jnp.array([[4.0, -2.0, 0.0], [5.0, 0.0, 4.0]])
    expected = [[0.5, 0.5, 0.0], [1.0, np.inf, 0.0]]
    np.testing.assert_array_equal(conservation_error(total, start), expected)


def test_what_is_no_number_is_no_success():
    error = conservation_error(jnp.array([jnp.nan, jnp.nan, 1.0]), jnp.array([0, jnp.nan, jnp.nan]))
    assert jnp.isnan(error).all()


def test_one_start_serves_many_totals():
    error = conservation_error(jnp.ones((3, 2)), jnp.array([2.0, 4.0]))
    np.testing.assert_array_equal(error, np.full((3, 2), [0.5, 0.75]))
