"""Batch norm merged into convolutions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp
from jaxinterp.errors import UserError
from jaxinterp.models.folding import fold_batch_norm
from jaxinterp.models.network import Network
from jaxinterp.models.preprocess import CIFAR10
from jaxinterp.transform import capture

NAMES = ["vgg_cifar10", "resnet18", "resnext50_32x4d", "cifar_resnet20", "flower_double"]


def with_statistics(network: Network) -> Network:
    """The network with batch norms that are far from the identity, in float64."""
    random = np.random.default_rng(0)
    params = {}
    for name, value in network.params.items():
        value = np.asarray(value, np.float64)
        if name.endswith("running_var"):
            value = random.uniform(0.3, 2, value.shape)
        elif value.ndim == 1:
            value = value + random.normal(0, 0.2, value.shape)
        params[name] = jnp.asarray(value)
    return dataclasses.replace(network, params=params)


@pytest.mark.parametrize("name", NAMES)
def test_folding_changes_nothing_but_the_convolutions_taps(name):
    with jax.enable_x64(True):
        network = with_statistics(jaxinterp.load(name, weights="random", classes=5))
        folded = fold_batch_norm(network)
        images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 33, 33, 3)))
        names = [layer.name for layer in network.layers]
        before = jax.jit(capture(network.apply, names))(network.params, images)
        after = jax.jit(capture(folded.apply, names))(folded.params, images)
    norms = [
        layer.name
        for layer in network.layers
        if "bn" in layer.name or ".downsample.1" in layer.name
    ]
    assert norms
    read_by = {conv_before(norm): norm for norm in norms}
    for tap in names:
        expected = before[read_by.get(tap, tap)]
        error = np.abs(after[tap] - expected).max() / np.abs(expected).max()
        assert error <= 1e-11, tap


def conv_before(norm: str) -> str:
    return norm.replace("bn", "conv").replace(".downsample.1", ".downsample.0")


@pytest.mark.parametrize("name", NAMES)
def test_no_statistics_are_left(name):
    network = jaxinterp.load(name, weights="random", classes=5)
    folded = fold_batch_norm(network)
    assert not [key for key in folded.params if "bn" in key or "running" in key]
    assert folded.blueprint is not None
    assert {k: v.shape for k, v in folded.params.items()} == {
        k: v.shape for k, v in folded.blueprint.shapes.items()
    }
    assert all(value.dtype == jnp.float32 for value in folded.params.values())
    # A copy: the network itself is as it was.
    assert [key for key in network.params if "running_mean" in key]
    assert fold_batch_norm(folded) is folded


def test_the_built_in_network_classifies_as_before():
    network = jaxinterp.load("vgg_cifar10")
    folded = fold_batch_norm(network)
    images = np.random.default_rng(0).uniform(size=(4, 32, 32, 3))
    expected = network.logits(images)
    np.testing.assert_allclose(folded.logits(images), expected, atol=1e-4)


def test_networks_without_batch_norm_come_back():
    network = jaxinterp.load("mnist", weights="random")
    assert fold_batch_norm(network) is network


def test_other_functions_are_refused_by_name():
    other = Network(
        "mine", lambda params, x: x, {}, CIFAR10, jaxinterp.load("mnist", weights="random").layers
    )
    with pytest.raises(UserError, match="batch norms of 'mine' cannot be found"):
        fold_batch_norm(other)


def test_a_folded_network_cannot_be_trained():
    folded = fold_batch_norm(jaxinterp.load("cifar_resnet20", weights="random"))
    module = folded.blueprint.bind(folded.params)
    with pytest.raises(ValueError, match="cannot be trained"):
        module(jnp.zeros((1, 8, 8, 3)), training=True)
