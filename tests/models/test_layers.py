"""The layers against slow loops, and against JAX's derivative of the plain formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxinterp.models.layers import BatchNorm, Conv, Linear, LocalResponseNorm, normalise_by_batch
from jaxinterp.models.parameters import Blueprint

EPSILON = 1e-5


def plain_formula(x, weight, bias):
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    variance = ((x - mean) ** 2).mean(axes)
    return weight * (x - mean) / jnp.sqrt(variance + EPSILON) + bias


def inputs(shape, dtype=np.float64):
    random = np.random.default_rng(0)
    channels = shape[-1]
    x = random.normal(0.7, 2, shape)
    weight, bias = random.normal(1, 0.5, channels), random.normal(size=channels)
    return x.astype(dtype), weight.astype(dtype), bias.astype(dtype)


SHAPES = [(4, 3, 5, 2), (6, 3), (2, 1, 1, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_normalise_by_batch_and_its_gradient_equal_the_formula(shape):
    with jax.enable_x64(True):
        values = tuple(map(jnp.asarray, inputs(shape)))
        dy = jnp.asarray(np.random.default_rng(1).normal(size=shape))
        expected, expected_pull = jax.vjp(plain_formula, *values)
        actual, pull = jax.vjp(lambda *v: normalise_by_batch(*v, EPSILON)[0], *values)
        assert actual.dtype == jnp.float64
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-10)
        for gradient, wanted in zip(pull(dy), expected_pull(dy), strict=True):
            np.testing.assert_allclose(gradient, wanted, rtol=1e-7, atol=1e-9)


def test_normalise_by_batch_in_single_precision():
    values = tuple(map(jnp.asarray, inputs((16, 4, 4, 3), np.float32)))
    dy = jnp.asarray(np.random.default_rng(1).normal(size=(16, 4, 4, 3)), jnp.float32)
    expected, expected_pull = jax.vjp(plain_formula, *values)
    actual, pull = jax.vjp(lambda *v: normalise_by_batch(*v, EPSILON)[0], *values)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    for gradient, wanted in zip(pull(dy), expected_pull(dy), strict=True):
        scale = float(jnp.abs(wanted).max())
        np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-5 * scale)


def test_the_batch_statistics_are_returned_and_carry_no_gradient():
    x, weight, bias = inputs((5, 2, 2, 3), np.float32)
    _, mean, variance = normalise_by_batch(x, weight, bias, EPSILON)
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(variance, x.var((0, 1, 2)), rtol=1e-4)
    gradient = jax.grad(
        lambda x: sum(map(jnp.sum, normalise_by_batch(x, weight, bias, EPSILON)[1:]))
    )
    np.testing.assert_array_equal(gradient(jnp.asarray(x)), np.zeros_like(x))


def test_a_constant_batch_gives_the_bias():
    # Rounding must not make the variance negative: 1 / sqrt of it would not be a number.
    x = jnp.full((7, 3, 3, 2), 1234.5678, jnp.float32)
    bias = jnp.asarray([1.0, -2.0])
    y, _, variance = normalise_by_batch(x, jnp.ones(2), bias, EPSILON)
    assert (np.asarray(variance) >= 0).all()
    assert np.isfinite(np.asarray(y)).all()


def test_training_moves_the_running_statistics_by_pytorchs_formula():
    layer = BatchNorm(3, momentum=0.3)
    random = np.random.default_rng(0)
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = random.normal(2, 3, (4, 2, 5, 3)).astype(np.float32)
        layer(jnp.asarray(x), training=True)
        flat = x.reshape(-1, 3).astype(np.float64)
        mean = 0.7 * mean + 0.3 * flat.mean(0)
        variance = 0.7 * variance + 0.3 * flat.var(0, ddof=1)
    np.testing.assert_allclose(layer.running_mean[...], mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var[...], variance, rtol=1e-4)


def test_evaluation_uses_the_running_statistics_and_leaves_them():
    layer = BatchNorm(2)
    random = np.random.default_rng(0)
    weight, bias, mean = (random.normal(size=2).astype(np.float32) for _ in range(3))
    variance = random.uniform(0.1, 4, 2).astype(np.float32)
    stored = ("weight", weight), ("bias", bias), ("running_mean", mean), ("running_var", variance)
    for name, value in stored:
        getattr(layer, name)[...] = jnp.asarray(value)
    x = random.normal(size=(2, 3, 3, 2)).astype(np.float32)
    expected = weight * (x - mean) / np.sqrt(variance + EPSILON) + bias
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)
    for name, value in stored:
        np.testing.assert_array_equal(getattr(layer, name)[...], value)


@pytest.mark.parametrize(("stride", "padding", "bias"), [(1, 1, True), (2, 0, False), (2, 1, True)])
def test_convolution_equals_a_loop(stride, padding, bias):
    layer = Conv(2, 3, kernel_size=3, stride=stride, padding=padding, bias=bias)
    random = np.random.default_rng(0)
    weight = random.normal(size=(3, 3, 2, 3)).astype(np.float32)
    layer.weight[...] = jnp.asarray(weight)
    offset = np.zeros(3, np.float32)
    if bias:
        offset = random.normal(size=3).astype(np.float32)
        layer.bias[...] = jnp.asarray(offset)
    x = random.normal(size=(2, 6, 5, 2)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows = (padded.shape[1] - 3) // stride + 1
    columns = (padded.shape[2] - 3) // stride + 1
    expected = np.zeros((2, rows, columns, 3))
    for i, r, c, k in np.ndindex(expected.shape):
        window = padded[i, stride * r : stride * r + 3, stride * c : stride * c + 3]
        expected[i, r, c, k] = (window * weight[..., k]).sum() + offset[k]
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)


def test_a_dense_layer_multiplies_and_adds():
    layer = Linear(4, 3)
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(4, 3)), random.normal(size=3)
    layer.weight[...], layer.bias[...] = jnp.float32(weight), jnp.float32(bias)
    x = random.normal(size=(5, 4))
    np.testing.assert_allclose(layer(jnp.float32(x)), x @ weight + bias, rtol=1e-4, atol=1e-5)


def test_parameters_and_statistics_are_told_apart():
    state = nnx.state(BatchNorm(2), nnx.BatchStat)
    assert sorted(path[0] for path, _ in nnx.to_flat_state(state)) == [
        "running_mean",
        "running_var",
    ]


def bound(build, random):
    """The module with random numbers in all its parameters."""
    blueprint = Blueprint(build)
    params = {name: random.normal(size=leaf.shape) for name, leaf in blueprint.shapes.items()}
    return blueprint.bind({name: jnp.asarray(value) for name, value in params.items()}), params


def slow_convolution(x, weight, bias, *, stride, padding, groups):
    """Sums over the window, pixel by pixel: weight [h, w, in / groups, out]."""
    side, _, inputs, outputs = weight.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = ((size - side) // stride + 1 for size in x.shape[1:3])
    y = np.zeros((len(x), rows, columns, outputs))
    for i, row, column, kernel in np.ndindex(y.shape):
        first = kernel // (outputs // groups) * inputs
        top, left = row * stride, column * stride
        seen = x[i, top : top + side, left : left + side, first : first + inputs]
        y[i, row, column, kernel] = (seen * weight[..., kernel]).sum() + bias[kernel]
    return y


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize(("side", "stride", "padding"), [(3, 1, 1), (3, 2, 0), (1, 2, 0)])
def test_convolution_equals_the_slow_one(side, stride, padding, groups):
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        layer, params = bound(
            lambda: Conv(6, 12, kernel_size=side, stride=stride, padding=padding, groups=groups),
            random,
        )
        x = random.normal(size=(2, 5, 6, 6))
        expected = slow_convolution(
            x, params["weight"], params["bias"], stride=stride, padding=padding, groups=groups
        )
        np.testing.assert_allclose(layer(jnp.asarray(x)), expected, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_local_response_norm_equals_the_formula(channels):
    random = np.random.default_rng(0)
    x = random.normal(0, 30, (2, 3, 2, channels))
    expected = np.zeros_like(x)
    for i, row, column, c in np.ndindex(x.shape):
        near = x[i, row, column, max(c - 2, 0) : c + 3]
        expected[i, row, column, c] = x[i, row, column, c] / (2 + 1e-4 * (near**2).sum()) ** 0.75
    with jax.enable_x64(True):
        layer = LocalResponseNorm(size=5, k=2, alpha=1e-4, beta=0.75)
        np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-12)
