"""The networks as a user meets them, and their parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinterp
from jaxinterp.errors import UserError
from jaxinterp.models.parameters import Blueprint, initial_parameters
from jaxinterp.models.preprocess import CIFAR10, IMAGENET
from jaxinterp.models.registry import ARCHITECTURES, find_architecture
from jaxinterp.models.vgg import VGG

SMALL = Blueprint(lambda: VGG(((64,), (96, 32)), batch_norm=True, classes=7, hidden=(200,), grid=2))


@pytest.fixture(scope="module")
def network():
    return jaxinterp.load("vgg_cifar10", weights="random", classes=5)


@pytest.mark.parametrize("side", [32, 48, 64])
def test_the_network_takes_images_of_any_size(network, side):
    image = np.random.default_rng(0).uniform(size=(2, side, side, 3)).astype(np.float32)
    logits = np.asarray(jax.jit(network.logits)(image))
    assert logits.shape == (2, 5)
    assert np.isfinite(logits).all()
    assert (logits[0] != logits[1]).all()


def test_the_number_of_classes_can_be_chosen(network):
    assert network.layers.find("fc").channels == 5
    assert network.params["classifier.0.weight"].shape == (256, 5)
    assert network.class_names == ()  # CIFAR-10's names would be wrong
    assert len(jaxinterp.load("vgg_cifar10", weights="random").class_names) == 10


def test_logits_are_the_function_of_the_preprocessed_image(network):
    image = np.random.default_rng(0).uniform(size=(1, 32, 32, 3))
    mean, std = np.asarray(CIFAR10.mean), np.asarray(CIFAR10.std)
    apply = jax.jit(network.apply)
    expected = apply(network.params, np.float32((image - mean) / std))
    actual = dataclasses.replace(network, apply=apply).logits(image)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_random_weights_depend_on_the_seed_alone():
    first, same, other = (
        jaxinterp.load("vgg_cifar10", weights="random", seed=seed) for seed in (1, 1, 2)
    )
    for name, value in first.params.items():
        np.testing.assert_array_equal(value, same.params[name])
    assert (first.params["features.0.weight"] != other.params["features.0.weight"]).any()
    assert first.weights_sha256 == "random, seed 1"


def test_an_unknown_model_is_named_with_its_nearest():
    with pytest.raises(UserError, match=r"no model 'vgg_16'; nearest: .*vgg16"):
        find_architecture("vgg_16")
    with pytest.raises(UserError, match="nearest: vgg16"):
        find_architecture("VGG16")
    with pytest.raises(UserError, match="choose from: vgg_cifar10, alexnet, vgg11"):
        find_architecture("transformer")


def test_models_are_registered_under_their_own_names():
    assert all(name == architecture.name for name, architecture in ARCHITECTURES.items())


@pytest.mark.parametrize("preprocess", [CIFAR10, IMAGENET], ids=["cifar10", "imagenet"])
def test_preprocessing_can_be_inverted_and_states_its_bounds(preprocess):
    image = np.random.default_rng(0).uniform(size=(2, 4, 4, 3)).astype(np.float32)
    inputs = preprocess(image)
    np.testing.assert_allclose(preprocess.invert(inputs), image, atol=1e-6)
    black, white = preprocess.bounds(inputs)
    np.testing.assert_allclose(preprocess(np.zeros((1, 1, 3)))[0, 0], black, atol=1e-6)
    np.testing.assert_allclose(preprocess(np.ones((1, 1, 3)))[0, 0], white, atol=1e-6)
    assert (inputs >= black).all()
    assert (inputs <= white).all()


def test_a_mean_image_is_subtracted_from_images_of_its_size_alone():
    random = np.random.default_rng(0)
    mean_image = random.uniform(size=(4, 5, 3)).astype(np.float32)
    plain = IMAGENET
    preprocess = dataclasses.replace(plain, mean_image=mean_image)
    image = random.uniform(size=(2, 4, 5, 3)).astype(np.float32)
    inputs = preprocess(image)
    np.testing.assert_allclose(inputs * np.float32(plain.std), image - mean_image, atol=1e-6)
    np.testing.assert_allclose(preprocess.invert(inputs), image, atol=1e-6)
    black, white = preprocess.bounds(inputs)
    np.testing.assert_allclose(preprocess(np.zeros((4, 5, 3))), black, atol=1e-6)
    np.testing.assert_allclose(preprocess(np.ones((4, 5, 3))), white, atol=1e-6)
    other = image[:, :, :4]
    np.testing.assert_array_equal(preprocess(other), plain(other))


def test_a_blueprint_holds_shapes_and_no_numbers():
    convolutions = {"features.0": (3, 64), "features.4": (64, 96), "features.7": (96, 32)}
    expected = {f"{name}.weight": (3, 3, *ends) for name, ends in convolutions.items()}
    expected |= {f"{name}.bias": ends[1:] for name, ends in convolutions.items()}
    for i, width in {1: 64, 5: 96, 8: 32}.items():
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            expected[f"features.{i}.{leaf}"] = (width,)
    for i, ends in {0: (32 * 4, 200), 3: (200, 7)}.items():
        expected |= {f"classifier.{i}.weight": ends, f"classifier.{i}.bias": ends[1:]}
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
    blueprint = Blueprint(lambda: VGG(((4,),), batch_norm=True, classes=2, hidden=(), grid=1))
    params = {name: jnp.asarray(v) for name, v in initial_parameters(blueprint, seed=3).items()}
    before = {name: np.array(value) for name, value in params.items()}
    module = blueprint.bind(params)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    module(images, training=True)
    after = blueprint.read(module)
    for name, value in before.items():
        np.testing.assert_array_equal(params[name], value)
        assert (np.asarray(after[name]) != value).any() == (name in blueprint.statistics), name


def test_evaluation_is_a_pure_function():
    params = initial_parameters(SMALL, seed=3)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    apply = jax.jit(SMALL.apply)
    logits = apply(params, images)
    assert logits.shape == (2, 7)
    # One image's logits do not depend on its neighbours in the batch.
    swapped = apply(params, np.stack([images[1], 9 * images[0]]))
    np.testing.assert_allclose(swapped[0], logits[1], rtol=1e-4, atol=1e-6)
    assert (swapped[1] != logits[0]).all()


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
