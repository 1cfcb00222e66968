"""The networks as a user meets them, and their parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxinterp
from jaxinterp.errors import UserError
from jaxinterp.models.parameters import Blueprint, initial_parameters
from jaxinterp.models.preprocess import CIFAR10, IMAGENET
from jaxinterp.models.registry import ARCHITECTURES, find_architecture
from jaxinterp.models.vgg import VGG

SMALL = Blueprint(
    lambda: VGG(((64,), (96, 32)), batch_norm=True, classes=7, hidden=(200,), grid=2)
)


@pytest.fixture(scope="module")
def network():
    return jaxinterp.load("vgg_cifar10", weights="random", classes=5)


def test_the_network_takes_images_of_any_size(network):
    generator = np.random.default_rng(0)
    tops = []
    for side in (32, 48, 64):
        image = generator.uniform(size=(2, side, side, 3)).astype(np.float32)
        logits = np.asarray(network.logits(image))
        assert logits.shape == (2, 5)
        assert np.isfinite(logits).all()
        assert np.ptp(logits) > 0
        tops.append(logits)
    # A uniform image looks alike at every size, but for the zero padding around it.
    flat = [network.logits(np.full((1, side, side, 3), 0.4)) for side in (64, 128)]
    difference = np.abs(flat[0] - flat[1]).max()
    assert difference < np.abs(tops[0] - tops[1]).max()


def test_the_number_of_classes_can_be_chosen(network):
    assert network.layers.find("fc").channels == 5
    assert network.params["classifier.0.weight"].shape == (256, 5)
    assert network.class_names == ()  # CIFAR-10's names would be wrong
    assert len(jaxinterp.load("vgg_cifar10", weights="random").class_names) == 10


def test_logits_are_the_function_of_the_preprocessed_image(network):
    image = np.random.default_rng(0).uniform(size=(1, 32, 32, 3))
    mean, std = np.asarray(CIFAR10.mean), np.asarray(CIFAR10.std)
    expected = network.apply(network.params, jnp.float32((image - mean) / std))
    np.testing.assert_allclose(network.logits(image), expected, rtol=1e-4, atol=1e-6)


def test_random_weights_depend_on_the_seed_alone():
    first, same, other = (
        jaxinterp.load("vgg_cifar10", weights="random", seed=seed) for seed in (1, 1, 2)
    )
    for name, value in first.params.items():
        np.testing.assert_array_equal(value, same.params[name])
    assert (first.params["features.0.weight"] != other.params["features.0.weight"]).any()
    assert first.weights_sha256 == "random, seed 1"


def test_an_unknown_model_is_named_with_its_nearest():
    with pytest.raises(UserError, match="no model 'vgg_16'; nearest: .*vgg16"):
        find_architecture("vgg_16")
    with pytest.raises(UserError, match="nearest: vgg16"):
        find_architecture("VGG16")
    with pytest.raises(UserError, match="choose from: vgg_cifar10, vgg11"):
        find_architecture("transformer")


def test_models_are_registered_under_their_own_names():
    assert all(name == architecture.name for name, architecture in ARCHITECTURES.items())


@pytest.mark.parametrize("preprocess", [CIFAR10, IMAGENET], ids=["cifar10", "imagenet"])
def test_preprocessing_can_be_inverted_and_states_its_bounds(preprocess):
    image = np.random.default_rng(0).uniform(size=(2, 4, 4, 3)).astype(np.float32)
    inputs = preprocess(image)
    np.testing.assert_allclose(preprocess.invert(inputs), image, atol=1e-6)
    black, white = preprocess.bounds
    np.testing.assert_allclose(preprocess(np.zeros((1, 1, 3)))[0, 0], black, atol=1e-6)
    np.testing.assert_allclose(preprocess(np.ones((1, 1, 3)))[0, 0], white, atol=1e-6)
    assert (inputs >= black).all()
    assert (inputs <= white).all()


def test_a_blueprint_holds_shapes_and_no_numbers():
    module = VGG(((64,), (96, 32)), batch_norm=True, classes=7, hidden=(200,), grid=2)
    expected = {
        ".".join(map(str, path)): variable.get_value().shape
        for path, variable in nnx.to_flat_state(nnx.state(module))
    }
    assert {name: leaf.shape for name, leaf in SMALL.shapes.items()} == expected
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in SMALL.shapes.values())
    assert SMALL.statistics == {name for name in expected if "running" in name}
    assert len(SMALL.statistics) == 2 * 3


def test_a_bound_module_reads_back_what_was_bound():
    params = initial_parameters(SMALL, seed=3)
    read = SMALL.read(SMALL.bind(params))
    assert list(read) == list(params)
    for name, value in params.items():
        np.testing.assert_array_equal(read[name], value)


def test_training_changes_the_module_and_not_what_was_bound():
    params = {name: jnp.asarray(v) for name, v in initial_parameters(SMALL, seed=3).items()}
    before = {name: np.array(value) for name, value in params.items()}
    module = SMALL.bind(params)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    module(images, training=True)
    after = SMALL.read(module)
    for name, value in before.items():
        np.testing.assert_array_equal(params[name], value)
        assert (np.asarray(after[name]) != value).any() == (name in SMALL.statistics), name


def test_evaluation_is_a_pure_function():
    params = initial_parameters(SMALL, seed=3)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    logits = SMALL.apply(params, images)
    assert logits.shape == (2, 7)
    np.testing.assert_array_equal(SMALL.apply(params, images), logits)
    # One image's logits do not depend on its neighbours in the batch.
    np.testing.assert_allclose(SMALL.apply(params, images[1:]), logits[1:], rtol=1e-4, atol=1e-6)


def test_initial_parameters_have_torchvisions_spread():
    params = initial_parameters(SMALL, seed=0)
    for name, value in params.items():
        assert value.dtype == np.float32
        assert value.shape == SMALL.shapes[name].shape
        if value.ndim == 4:  # kaiming_normal_(mode="fan_out", nonlinearity="relu")
            fan_out = value.shape[0] * value.shape[1] * value.shape[3]
            assert value.std() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), name
            assert abs(value.mean()) < 0.1 * value.std(), name
        elif value.ndim == 2:
            assert value.std() == pytest.approx(0.64 / value.shape[0] ** 0.5, rel=0.05), name
        elif name.endswith(("weight", "running_var")):
            np.testing.assert_array_equal(value, 1)
        else:
            np.testing.assert_array_equal(value, 0)
