"""The weights that come with the package."""

import hashlib
import importlib.resources

import numpy as np
import pytest

import jaxinterp
from jaxinterp.data.cifar10 import CLASS_NAMES
from jaxinterp.models.registry import ARCHITECTURES

BUNDLED = [name for name, architecture in ARCHITECTURES.items() if architecture.bundled]


def test_some_weights_are_bundled():
    assert "vgg_cifar10" in BUNDLED


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_weights_load(name):
    content = (importlib.resources.files("jaxinterp.weights") / f"{name}.safetensors").read_bytes()
    assert len(content) <= 3 * 2**20
    network = jaxinterp.load(name)
    assert network.weights_sha256 == hashlib.sha256(content).hexdigest()
    for key, value in network.params.items():
        assert np.isfinite(np.asarray(value)).all(), key
        if key.endswith("running_var"):
            assert (np.asarray(value) >= 0).all(), key
    random = jaxinterp.load(name, weights="random")
    assert any((network.params[key] != value).any() for key, value in random.params.items())
    assert network.class_names == CLASS_NAMES


def test_nothing_of_the_training_machine_is_in_the_file():
    content = (
        importlib.resources.files("jaxinterp.weights") / "vgg_cifar10.safetensors"
    ).read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].decode()
    assert "vgg_cifar10" in header
    assert "/work" not in header
    assert "/home" not in header


def test_the_network_tells_images_apart():
    network = jaxinterp.load("vgg_cifar10")
    images = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype(np.float32)
    images[1] = 0.5
    images[2, 8:24, 8:24] = 1
    logits = np.asarray(network.logits(images))
    assert logits.shape == (4, 10)
    assert np.isfinite(logits).all()
    assert np.abs(logits[0] - logits[1]).max() > 0.1
