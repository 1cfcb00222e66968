"""The weights that come with the package."""

import dataclasses
import hashlib
import importlib.resources

import numpy as np
import pytest

import jaxinterp
from jaxinterp.data.an8flower import CLASS_NAMES as FLOWER_CLASS_NAMES, render_many
from jaxinterp.data.cifar10 import CLASS_NAMES
from jaxinterp.errors import UserError
from jaxinterp.models.registry import ARCHITECTURES

BUNDLED = [name for name, architecture in ARCHITECTURES.items() if architecture.bundled]


FLOWERS = {"flower_single": "single-6c", "flower_double": "double-12c"}
EXPECTED_NAMES = {"vgg_cifar10": CLASS_NAMES} | {
    name: FLOWER_CLASS_NAMES[variant] for name, variant in FLOWERS.items()
}


def test_some_weights_are_bundled():
    assert set(BUNDLED) == set(EXPECTED_NAMES)


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
    assert network.class_names == EXPECTED_NAMES[name]


@pytest.mark.parametrize("name", BUNDLED)
def test_nothing_of_the_training_machine_is_in_the_file(name):
    content = (importlib.resources.files("jaxinterp.weights") / f"{name}.safetensors").read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].decode()
    assert name in header
    assert "/work" not in header
    assert "/home" not in header
    assert "/tmp" not in header


@pytest.mark.parametrize("name", FLOWERS)
def test_flowers_that_were_never_trained_on_are_told_apart(name):
    content = (importlib.resources.files("jaxinterp.weights") / f"{name}.safetensors").read_bytes()
    assert len(content) < 1e6
    flowers = render_many(FLOWERS[name], 60, 64, 4321)
    logits = jaxinterp.load(name).logits(flowers.images / np.float32(255))
    assert (np.asarray(logits).argmax(1) == flowers.labels).mean() > 0.9


def test_a_file_that_is_not_there_is_no_crash(monkeypatch):
    missing = dataclasses.replace(ARCHITECTURES["flower_single"], name="flower_missing")
    monkeypatch.setitem(ARCHITECTURES, "flower_missing", missing)
    with pytest.raises(UserError, match="There are no weights for 'flower_missing' here"):
        jaxinterp.load("flower_missing")
    assert jaxinterp.load("flower_missing", weights="random").class_names[0] == "red"


def test_the_network_tells_images_apart():
    network = jaxinterp.load("vgg_cifar10")
    images = np.random.default_rng(0).uniform(size=(4, 32, 32, 3)).astype(np.float32)
    images[1] = 0.5
    images[2, 8:24, 8:24] = 1
    logits = np.asarray(network.logits(images))
    assert logits.shape == (4, 10)
    assert np.isfinite(logits).all()
    assert np.abs(logits[0] - logits[1]).max() > 0.1
