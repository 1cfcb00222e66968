"""`jaxinterp.load`."""

import hashlib

import jax
import numpy as np
import pytest
from safetensors.numpy import save

import jaxinterp
from jaxinterp.data.cifar10 import CLASS_NAMES
from jaxinterp.errors import UserError
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.preprocess import CIFAR10
from jaxinterp.models.registry import ARCHITECTURES, Architecture
from jaxinterp.models.vgg import VGG
from jaxinterp.weights.formats.safetensors_file import write_safetensors
from jaxinterp.weights.layout import to_torch_layout


@pytest.fixture(scope="module")
def network():
    return jaxinterp.load("vgg_cifar10", weights="random", seed=4)


@pytest.fixture
def file(network, tmp_path):
    """The network's weights as a file; with counters, as PyTorch saves them."""
    values = {name: np.asarray(value) for name, value in network.params.items()}
    values["features.1.num_batches_tracked"] = np.asarray(12.0)
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, to_torch_layout(values, flattened={}), dtype=np.float32)
    return path


def test_weights_from_a_file(network, file):
    loaded = jaxinterp.load("vgg_cifar10", weights=file)
    assert set(loaded.params) == set(network.params)
    for name, value in network.params.items():
        assert isinstance(loaded.params[name], jax.Array)
        assert loaded.params[name].dtype == np.float32
        np.testing.assert_array_equal(loaded.params[name], value)
    assert loaded.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert loaded.class_names == CLASS_NAMES
    assert loaded.name == "vgg_cifar10"
    assert list(loaded.layers) == list(network.layers)


def test_an_unknown_model():
    with pytest.raises(UserError, match="no model 'vgg_cifar'; nearest: vgg_cifar10"):
        jaxinterp.load("vgg_cifar")


def test_models_without_weights_say_what_to_give():
    with pytest.raises(UserError, match="no weights for 'vgg16' here: `jaxinterp weights fetch v"):
        jaxinterp.load("vgg16")
    with pytest.raises(UserError, match="no weights for 'mnist' here: give a file of them"):
        jaxinterp.load("mnist")


@pytest.mark.parametrize("classes", [0, -3])
def test_a_network_has_classes(classes):
    with pytest.raises(UserError, match=f"at least 1 class, not {classes}"):
        jaxinterp.load("mnist", weights="random", classes=classes)


def test_class_names_are_those_of_the_data_set():
    assert jaxinterp.load("cifar_resnet20", weights="random").class_names == CLASS_NAMES
    assert jaxinterp.load("mnist", weights="random").class_names == tuple("0123456789")
    names = jaxinterp.load("resnet18", weights="random").class_names
    assert len(names) == 1000
    assert names[0] == "tench"
    assert jaxinterp.load("resnet18", weights="random", classes=7).class_names == ()


def test_suspicious_numbers_are_a_warning(network, tmp_path):
    values = {name: np.array(value) for name, value in network.params.items()}
    values["features.4.weight"][0, 0, 0, 0] = np.nan
    path = tmp_path / "broken.safetensors"
    path.write_bytes(save(to_torch_layout(values, flattened={})))
    with pytest.warns(UserWarning, match=r"not finite numbers .* in features\.4:"):
        loaded = jaxinterp.load("vgg_cifar10", weights=path)
    assert np.isnan(loaded.params["features.4.weight"]).sum() == 1


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "vgg13_bn"])
def test_weights_of_another_network_are_refused_in_one_sentence(name, file):
    with pytest.raises(UserError, match="do not fit the network") as caught:
        jaxinterp.load(name, weights=file)
    message = str(caught.value)
    assert file.name in message
    assert "missing" in message
    assert "classifier.0.weight (10, 256) instead of (4096, 25088)" in message
    assert "\n" not in message


def test_another_number_of_classes_is_refused(file):
    with pytest.raises(UserError, match=r"classifier\.0\.weight \(10, 256\) instead of \(7, 256\)"):
        jaxinterp.load("vgg_cifar10", weights=file, classes=7)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no weights file .*absent\.safetensors"):
        jaxinterp.load("vgg_cifar10", weights=tmp_path / "absent.safetensors")


def test_the_rows_after_flattening_are_reordered(tmp_path, monkeypatch):
    # A file in PyTorch's layout in which each column of the first dense weight is its own number.
    def construct(classes):
        return VGG(((2,), (3,)), batch_norm=False, classes=classes, hidden=(4,), grid=7)

    architecture = Architecture("tiny", construct, 5, CIFAR10, "")
    monkeypatch.setitem(ARCHITECTURES, "tiny", architecture)
    shapes = Blueprint(architecture.build).shapes
    values = {name: np.zeros(leaf.shape) for name, leaf in shapes.items()}
    there = to_torch_layout(values, flattened={})
    numbers = np.arange(3 * 49, dtype=np.float32)
    there["classifier.0.weight"] = np.broadcast_to(numbers, (4, 3 * 49))
    write_safetensors(tmp_path / "w", there, dtype=np.float32)
    weight = jaxinterp.load("tiny", weights=tmp_path / "w").params["classifier.0.weight"]
    expected = numbers.reshape(3, 7, 7).transpose(1, 2, 0).reshape(-1)
    np.testing.assert_array_equal(weight[:, 2], expected)
