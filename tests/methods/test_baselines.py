"""The baselines' signals against a slow derivation, and the choice of their gain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.errors import UserError
from jaxinterp.methods.baselines import (
    BASELINES,
    GAINS,
    Baseline,
    best_gains,
    kernel_signal,
)
from jaxinterp.methods.kernel_measures import kernel_measures
from jaxinterp.methods.suppression import SuppressionSettings, Suppressor, layer_maps
from jaxinterp.metrics import map_similarity
from jaxinterp.models.layer_table import Layer, LayerTable
from jaxinterp.models.network import Network
from jaxinterp.models.preprocess import CIFAR10
from jaxinterp.transform import tap
from jaxinterp.weights.load import load

SIDE, HIDDEN, KERNELS = 12, 6, 5


def two_layers(first, second):
    """relu(relu(x A) B) at every pixel: small enough to derive by hand."""

    def apply(params, x):
        hidden = tap(jax.nn.relu(x @ params["a"]), "hidden")
        maps = tap(jax.nn.relu(hidden @ params["b"]), "maps")
        return tap(maps.mean((1, 2)), "mean")

    rows = [
        Layer("hidden", "", "relu", HIDDEN, 1, 1, 0),
        Layer("maps", "", "relu", KERNELS, 1, 1, 0),
        Layer("mean", "", "mean", KERNELS, None, None, None),
    ]
    params = {"a": jnp.asarray(first), "b": jnp.asarray(second)}
    return Network("two layers", apply, params, CIFAR10, LayerTable(rows))


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(3, HIDDEN)).astype(np.float32),
        rng.normal(size=(HIDDEN, KERNELS)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((4, SIDE, SIDE, 3)).astype(np.float32)


@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_the_map_itself_is_sent_down(weights, images, method):
    """Eq. of Springenberg et al. and of Zeiler and Fergus, in NumPy, pixel by pixel."""
    network = two_layers(*weights)
    kernels = np.array([0, 3, 1, 4])
    inputs = np.asarray(network.preprocess(images))
    expected = np.zeros_like(inputs)
    for n, kernel in enumerate(kernels):
        for place in np.ndindex(SIDE, SIDE):
            x = inputs[n][place]
            hidden = np.maximum(x @ weights[0], 0)
            value = max(float(hidden @ weights[1][:, kernel]), 0.0)
            signal = np.maximum(value * weights[1][:, kernel], 0)
            if method == "guided_backprop":
                signal = np.where(hidden > 0, signal, 0)
            expected[n][place] = weights[0] @ signal
    signal = kernel_signal(network, "maps", method)(jnp.asarray(inputs), jnp.asarray(kernels))
    np.testing.assert_allclose(signal, expected, rtol=1e-4, atol=1e-4)


def test_no_other_gain_of_the_grid_is_better(weights, images):
    network = two_layers(*weights)
    kernels = [0, 3, 1, 4]
    found = Baseline(network, "maps", "deconvnet", lanes=5)(images, kernels)
    maps = layer_maps(network, "maps")
    step = GAINS[1] / GAINS[0]

    def judged(power):
        pixels = network.preprocess(found.images) * step**power
        pairs = (
            (before[..., k], after[..., k])
            for before, after, k in zip(
                maps(network.params, network.preprocess(images)),
                maps(network.params, pixels),
                kernels,
                strict=True,
            )
        )
        return [float(map_similarity(before, after)[1]) for before, after in pairs]

    assert all(gain in GAINS for gain in found.gain)
    best = np.array(judged(0))
    for power in (-10, -3, -1, 1, 3, 10):
        assert (np.array(judged(power)) <= best + 0.0101).all()


def test_a_kernel_that_only_its_own_signal_reaches_is_found_whole(images):
    """Orthonormal weights: the signal is the map times its own direction."""
    direction, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    first = np.concatenate([direction, -direction], axis=1).astype(np.float32)
    network = two_layers(first, np.eye(HIDDEN, KERNELS, dtype=np.float32))
    found = Baseline(network, "maps", "guided_backprop", lanes=4)(images, [0, 1, 2, 3])
    maps = layer_maps(network, "maps")
    before = maps(network.params, network.preprocess(images))
    after = maps(network.params, network.preprocess(found.images))
    for n in range(4):
        # The grid is ten gains a decade: the best is at most 12 % off.
        np.testing.assert_allclose(after[n, ..., n], before[n, ..., n], rtol=0.13, atol=1e-5)
        others = np.delete(np.asarray(after[n]), n, axis=-1)
        np.testing.assert_allclose(others, 0, atol=1e-5)


@pytest.mark.parametrize(
    ("similarity", "error", "expected"),
    [
        ([0.1, 0.9, 0.5], [3.0, 2.0, 1.0], 1),
        ([0.9, 0.895, 0.5], [3.0, 2.0, 1.0], 1),  # as good as the best, and nearer in scale
        ([0.9, 0.88, 0.5], [3.0, 2.0, 1.0], 0),
        ([np.nan, 0.2, 0.1], [0.0, 2.0, 1.0], 1),
        ([0.2, 0.2, 0.1], [np.nan, 2.0, 1.0], 1),
    ],
)
def test_the_best_gain(similarity, error, expected):
    found = best_gains(np.array(similarity)[:, None], np.array(error)[:, None])
    assert found.tolist() == [expected]


def test_where_no_signal_arrives_the_estimate_is_blank(weights, images):
    """A kernel that is silent has a map of zeros to send."""
    silent = weights[1].copy()
    silent[:, 2] = -np.abs(silent[:, 2])
    network = two_layers(weights[0], silent)
    found = Baseline(network, "maps", "deconvnet", lanes=1)(images[:1], [2])
    assert found.gain.tolist() == [0]
    blank = np.broadcast_to(np.float32(network.preprocess.mean), found.images.shape)
    np.testing.assert_allclose(found.images, blank, atol=1e-6)


@pytest.mark.parametrize("method", BASELINES)
def test_the_built_in_network_with_its_batch_norms(method):
    network = load("vgg_cifar10")
    rng = np.random.default_rng(3)
    images = rng.random((2, 16, 16, 3)).astype(np.float32)
    baseline = Baseline(network, "features.9", method, lanes=3)
    heard = []
    found = baseline(images, [8, 20], progress=lambda done, total: heard.append((done, total)))
    assert found.images.shape == images.shape
    assert np.isfinite(found.images).all()
    assert (found.gain > 0).all()
    assert heard[-1] == (len(GAINS), len(GAINS))
    # A spare lane changes nothing but the rounding.
    alone = Baseline(network, "relu2_2", method, lanes=1)(images[1:], [20])
    np.testing.assert_allclose(alone.images[0], found.images[1], atol=1e-3)


def test_the_measures_are_those_of_suppression():
    network = load("vgg_cifar10")
    images = np.random.default_rng(4).random((2, 16, 16, 3)).astype(np.float32)
    kernels = [8, 20]
    result = Suppressor(network, "relu2_2", SuppressionSettings(steps=3), lanes=2)(images, kernels)
    maps = layer_maps(network, "relu2_2")
    before, after, blank = (
        maps(network.params, network.preprocess(pixels))
        for pixels in (
            images,
            result.images,
            np.broadcast_to(np.float32(network.preprocess.mean), images.shape),
        )
    )
    measures = kernel_measures(before, after, blank, jnp.asarray(kernels))
    for name in result.measures.keys() & measures.keys():
        np.testing.assert_allclose(measures[name], result.measures[name], rtol=1e-3, atol=1e-4)
    for n, kernel in enumerate(kernels):
        power = np.square(np.asarray(before)[n, ..., kernel] - np.asarray(blank)[n, ..., kernel])
        np.testing.assert_allclose(measures["mse_selected_blank"][n], power.mean(), rtol=1e-4)
        assert measures["peak"][n] == np.asarray(before)[n, ..., kernel].max()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda n, x: Baseline(n, "maps", "deconvnet")(x, [0, 1, 2, 9]), UserError, "no kernel 9"),
        (lambda n, x: Baseline(n, "map", "deconvnet"), UserError, "nearest: maps"),
        (lambda n, x: Baseline(n, "mean", "deconvnet"), UserError, "no feature maps"),
        (lambda n, x: Baseline(n, "maps", "gradcam"), ValueError, "one of guided_backprop"),
        (
            lambda n, x: Baseline(n, "maps", "deconvnet", lanes=2)(x, [0] * 4),
            ValueError,
            "4 jobs for 2 lanes",
        ),
        (lambda n, x: Baseline(n, "maps", "deconvnet")(x, [0]), ValueError, "1 kernels"),
    ],
)
def test_bad_input_is_named(weights, images, call, error, message):
    with pytest.raises(error, match=message):
        call(two_layers(*weights), images)
