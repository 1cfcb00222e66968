"""The layers that the networks are built from, against PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch_comparison import channels_first, channels_last

from jaxinterp.models.layers import BatchNorm, Conv, LocalResponseNorm, adaptive_average_pool
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.pooling import max_pool

pytestmark = pytest.mark.parity


def torch_max_pool(x, window, stride, padding):
    """PyTorch pads all sides alike only: here minus infinity is put around the map first."""
    (above, below), (left, right) = padding
    x = torch.nn.functional.pad(x, (left, right, above, below), value=-torch.inf)
    return torch.nn.functional.max_pool2d(x, window, stride)


NONE, ALL_SIDES, LAST_SIDES = ((0, 0), (0, 0)), ((1, 1), (1, 1)), ((0, 1), (0, 1))


@pytest.mark.parametrize("values", ["tied", "equal"])
@pytest.mark.parametrize("size", [(6, 6), (7, 5), (4, 9), (3, 2)], ids=str)
@pytest.mark.parametrize(
    ("window", "stride", "padding"),
    [(2, 2, NONE), (3, 2, ALL_SIDES), (3, 2, LAST_SIDES), (3, 1, ALL_SIDES), (2, 3, LAST_SIDES)],
    ids=["2/2", "3/2 all sides", "3/2 last sides", "3/1 all sides", "2/3 last sides"],
)
def test_max_pooling_with_ties_equals_pytorchs(window, stride, padding, size, values):
    random = np.random.default_rng(0)
    # Whole numbers, below zero too: most windows tie, and the sums of the gradient are exact.
    spread = 2 if values == "tied" else 1
    x = random.integers(-spread, 0, (2, *size, 4)).astype(np.float32)
    picture = channels_first(x).requires_grad_()
    pooled = torch_max_pool(picture, window, stride, padding)
    y, pull = jax.vjp(lambda x: max_pool(x, window, stride, padding), jnp.asarray(x))
    dy = random.integers(-8, 8, y.shape).astype(np.float32)
    pooled.backward(channels_first(dy))
    np.testing.assert_array_equal(y, channels_last(pooled))
    np.testing.assert_array_equal(pull(dy)[0], channels_last(picture.grad))


@pytest.mark.parametrize("size", [(6, 6), (7, 5), (13, 8)], ids=str)
def test_pytorchs_own_paddings_are_those_meant(size):
    # ResNet's stem pads all sides; VGG-F's windows may reach over the last sides.
    x = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
    pool = torch.nn.functional.max_pool2d
    np.testing.assert_array_equal(
        max_pool(x, 3, 2, ALL_SIDES), channels_last(pool(channels_first(x), 3, 2, padding=1))
    )
    np.testing.assert_array_equal(
        max_pool(x, 3, 2, LAST_SIDES), channels_last(pool(channels_first(x), 3, 2, ceil_mode=True))
    )


@pytest.mark.parametrize("grid", [1, 3, 7])
@pytest.mark.parametrize("size", [(2, 2), (7, 7), (9, 5), (14, 21)], ids=str)
def test_adaptive_average_pooling_equals_pytorchs(size, grid):
    random = np.random.default_rng(0)
    x, dy = random.normal(size=(2, *size, 3)), random.normal(size=(2, grid, grid, 3))
    picture = channels_first(x).requires_grad_()
    pooled = torch.nn.functional.adaptive_avg_pool2d(picture, grid)
    pooled.backward(channels_first(dy))
    with jax.enable_x64(True):
        y, pull = jax.vjp(lambda x: adaptive_average_pool(x, grid), jnp.asarray(x))
        gradient = pull(jnp.asarray(dy))[0]
    np.testing.assert_allclose(y, channels_last(pooled), rtol=0, atol=1e-12)
    np.testing.assert_allclose(gradient, channels_last(picture.grad), rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3, 5, 16])
def test_local_response_normalisation_equals_pytorchs(channels):
    # Values as large as those of VGG-F, where the sum of squares is not lost beside k.
    random = np.random.default_rng(0)
    x, dy = random.normal(0, 100, (2, 4, 3, channels)), random.normal(size=(2, 4, 3, channels))
    picture = channels_first(x).requires_grad_()
    theirs = torch.nn.functional.local_response_norm(picture, 5, alpha=5e-4, beta=0.75, k=2)
    theirs.backward(channels_first(dy))
    ours = LocalResponseNorm(size=5, k=2, alpha=1e-4, beta=0.75)
    with jax.enable_x64(True):
        y, pull = jax.vjp(ours, jnp.asarray(x))
        gradient = pull(jnp.asarray(dy))[0]
    np.testing.assert_allclose(y, channels_last(theirs), rtol=1e-12)
    np.testing.assert_allclose(gradient, channels_last(picture.grad), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize(("size", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 2, 0)])
def test_grouped_convolution_equals_pytorchs(groups, size, stride, padding):
    random = np.random.default_rng(0)
    options = {"stride": stride, "padding": padding, "groups": groups}
    x = random.normal(size=(2, 8, 7, 6))
    weight, bias = random.normal(size=(12, 6 // groups, size, size)), random.normal(size=12)
    picture = channels_first(x).requires_grad_()
    kernel = torch.tensor(weight, requires_grad=True)
    theirs = torch.nn.functional.conv2d(picture, kernel, torch.tensor(bias), **options)
    blueprint = Blueprint(lambda: Conv(6, 12, kernel_size=size, **options))
    with jax.enable_x64(True):
        params = {"weight": jnp.asarray(weight.transpose(2, 3, 1, 0)), "bias": jnp.asarray(bias)}
        y, pull = jax.vjp(blueprint.apply, params, jnp.asarray(x))
        dy = random.normal(size=y.shape)
        grads, dx = pull(jnp.asarray(dy))
    theirs.backward(channels_first(dy))
    for actual, expected in (
        (y, channels_last(theirs)),
        (dx, channels_last(picture.grad)),
        (grads["weight"], kernel.grad.numpy().transpose(2, 3, 1, 0)),
    ):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11)


def test_batch_norm_in_training_equals_pytorchs():
    random = np.random.default_rng(0)
    theirs = torch.nn.BatchNorm2d(5).train()
    weight, bias = random.normal(1, 0.3, 5), random.normal(size=5)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(weight))
        theirs.bias.copy_(torch.tensor(bias))
    blueprint = Blueprint(lambda: BatchNorm(5))
    params = {"weight": jnp.float32(weight), "bias": jnp.float32(bias)}
    statistics = {"running_mean": jnp.zeros(5), "running_var": jnp.ones(5)}

    @jax.jit
    def step(params, statistics, x, dy):
        def forward(params, x):
            module = blueprint.bind(params | statistics)
            y = module(x, training=True)
            return y, blueprint.read(module)

        y, pull, values = jax.vjp(forward, params, x, has_aux=True)
        return y, pull(dy), {name: values[name] for name in statistics}

    for _ in range(3):
        x = random.normal(0.5, 2, (4, 3, 3, 5)).astype(np.float32)
        dy = random.normal(size=x.shape).astype(np.float32)
        theirs.zero_grad()
        picture = channels_first(x).requires_grad_()
        expected = theirs(picture)
        expected.backward(channels_first(dy))
        y, (grads, dx), statistics = step(params, statistics, x, dy)
        for actual, wanted in (
            (y, channels_last(expected)),
            (dx, channels_last(picture.grad)),
            (grads["weight"], theirs.weight.grad.numpy()),
            (grads["bias"], theirs.bias.grad.numpy()),
            (statistics["running_mean"], theirs.running_mean.numpy()),
            (statistics["running_var"], theirs.running_var.numpy()),
        ):
            np.testing.assert_allclose(actual, wanted, rtol=2e-4, atol=2e-5)
