"""Transformed functions are functions: they can be transformed again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.transform import (
    RuleError,
    capture,
    deconvnet,
    edit,
    guided_backprop,
    stage,
    tail,
    tap,
    taps,
    with_rules,
)

X = jnp.asarray([-2.0, -1.0, 1.0, 2.0])
WEIGHTS = jnp.asarray([1.0, -1.0, 1.0, -1.0])


def network(params, x):
    hidden = tap(jax.nn.relu(x * jnp.exp(params)), "hidden")
    return tap(jax.nn.relu(jax.jit(jnp.tanh)(hidden) + x), "out")


def slope(fn):
    return jax.grad(lambda x: (fn(0.0, x) * WEIGHTS).sum())(X)


def test_names_survive_every_transformation():
    ruled = with_rules(network, guided_backprop)
    edited = edit(network, {"hidden": jnp.zeros_like})
    prepared, staged = stage(network, 0.0, X)
    for fn, params in ((ruled, 0.0), (edited, 0.0), (staged, prepared)):
        assert list(taps(fn, params, X)) == ["hidden", "out"]
        values = capture(fn, ["hidden"])(params, X)
        expected = jnp.zeros(4) if fn is edited else jax.nn.relu(X)
        np.testing.assert_allclose(values["hidden"], expected, rtol=1e-6)


def test_rules_and_edits_commute():
    def shift(value):
        return value + 0.5

    first = with_rules(edit(network, {"hidden": shift}), guided_backprop)
    second = edit(with_rules(network, guided_backprop), {"hidden": shift})
    np.testing.assert_allclose(first(0.0, X), second(0.0, X), rtol=1e-6)
    np.testing.assert_allclose(slope(first), slope(second), rtol=1e-6)
    assert np.abs(slope(first) - slope(network)).max() > 0.1


def test_rules_hold_in_a_tail_and_in_a_staged_function():
    ruled = with_rules(network, deconvnet)
    prepared, staged = stage(ruled, 0.0, X)
    np.testing.assert_allclose(slope(lambda _, x: staged(prepared, x)), slope(ruled), rtol=1e-6)
    above = tail(ruled, "hidden", 0.0, X)
    gradient = jax.grad(lambda value: (above.fn(value) * WEIGHTS).sum())(above.value)
    # Positive signals pass the upper ReLU, whatever its input: tanh' at hidden = 0, 0, 1, 2.
    expected = (1 - jnp.tanh(jax.nn.relu(X)) ** 2) * jnp.maximum(WEIGHTS, 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
    assert not above.full_cut


def test_a_rule_is_not_put_over_a_rule():
    with pytest.raises(RuleError, match="inside a custom_vjp function, whose own derivative rule"):
        with_rules(with_rules(network, deconvnet), guided_backprop)(0.0, X)


def test_mutable_arrays_are_written_up_to_the_value():
    counter = jax.new_ref(jnp.zeros(4))

    def fn(x):
        counter[...] += x
        x = tap(counter[...] * 2, "double")
        counter[...] += 100
        return x

    np.testing.assert_array_equal(capture(fn, ["double"])(X)["double"], X * 2)
    np.testing.assert_array_equal(counter[...], X)
    edit(fn, {"double": jnp.sin})(X)
    np.testing.assert_array_equal(counter[...], X * 2 + 100)
