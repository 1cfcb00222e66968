"""From a file's contents to parameters: what fits, what is said of what does not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from jaxinterp.errors import UserError
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.registry import ARCHITECTURES, find_architecture
from jaxinterp.weights.contents import WeightsContents
from jaxinterp.weights.convert import convert, fitting_architectures


def torch_contents(name, classes=None):
    """Contents with the names and shapes of a network's PyTorch checkpoint."""
    shapes = Blueprint(lambda: find_architecture(name).build(classes)).shapes
    random = np.random.default_rng(0)
    orders = {4: (3, 2, 0, 1), 2: (1, 0)}
    arrays = {}
    for key, leaf in shapes.items():
        order = orders.get(len(leaf.shape), range(len(leaf.shape)))
        shape = [leaf.shape[axis] for axis in order]
        arrays[key] = random.uniform(0.1, 1, shape).astype(np.float32)
    arrays |= {
        key.replace("running_var", "num_batches_tracked"): np.int64(3)
        for key in shapes
        if key.endswith("running_var")
    }
    return WeightsContents(Path("weights.pth"), "torch zip", "torch", arrays)


def hollow(name, classes=None):
    """Names and shapes alone: no memory behind them."""
    shapes = Blueprint(lambda: find_architecture(name).build(classes)).shapes
    arrays = {key: np.broadcast_to(np.float32(0), leaf.shape) for key, leaf in shapes.items()}
    return WeightsContents(Path("weights.npz"), "npz", "hwio", arrays)


def test_parameters_are_those_of_the_file_transposed():
    contents = torch_contents("resnet18")
    params = convert(contents, "resnet18").params
    there, here = contents.arrays["layer2.0.conv1.weight"], params["layer2.0.conv1.weight"]
    assert here.shape == (3, 3, 64, 128)
    np.testing.assert_array_equal(here[1, 2, 7, 100], there[100, 7, 1, 2])
    np.testing.assert_array_equal(params["fc.weight"], contents.arrays["fc.weight"].T)
    assert {value.dtype for value in params.values()} == {np.dtype(np.float32)}
    assert convert(contents, "resnet18").warnings == ()


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ">f4"], ids=str)
def test_other_precisions_become_float32(dtype):
    contents = torch_contents("mnist")
    stored = {name: value.astype(dtype) for name, value in contents.arrays.items()}
    params = convert(WeightsContents(contents.path, "torch zip", "torch", stored), "mnist").params
    for name, value in convert(contents, "mnist").params.items():
        assert params[name].dtype == np.dtype(np.float32)
        np.testing.assert_allclose(params[name], value, rtol=1e-3)


@pytest.mark.parametrize("layout", ["torch", "hwio"])
def test_parameters_lie_in_memory_of_their_own(layout):
    # A file is mapped: what is written into it later would change the network.
    make = torch_contents if layout == "torch" else hollow
    arrays = {name: np.ascontiguousarray(v) for name, v in make("mnist").arrays.items()}
    for value in arrays.values():
        value.flags.writeable = False
    contents = WeightsContents(Path("w"), "safetensors", layout, arrays)
    for name, value in convert(contents, "mnist").params.items():
        assert not np.shares_memory(value, arrays[name]), name


@pytest.mark.parametrize("name", ["cifar_resnet32", "resnet50", "wide_resnet50_2", "vgg13_bn"])
def test_architectures_are_told_by_names_and_shapes(name):
    assert fitting_architectures(hollow(name)) == {name: ARCHITECTURES[name].classes}
    assert fitting_architectures(hollow(name, 37)) == {name: 37}


def test_nothing_fits_a_head_of_the_wrong_shape():
    contents = hollow("mnist")
    for shape in [(64, 10), (128, 5), (128,)]:
        arrays = dict(contents.arrays) | {"fc2.weight": np.zeros(shape, np.float32)}
        changed = WeightsContents(contents.path, "npz", "hwio", arrays)
        assert fitting_architectures(changed) == {}


def test_weights_of_another_architecture_are_told_what_they_fit():
    with pytest.raises(UserError) as caught:
        convert(torch_contents("cifar_resnet32"), "cifar_resnet20")
    message = str(caught.value)
    assert "weights.pth" in message
    assert "unexpected" in message
    assert message.endswith("They fit cifar_resnet32.")
    with pytest.raises(UserError, match="They fit cifar_resnet32 with 4 classes"):
        convert(torch_contents("cifar_resnet32", 4), "cifar_resnet20")


def test_another_class_count_is_offered():
    contents = torch_contents("cifar_resnet20", 100)
    with pytest.raises(UserError) as caught:
        convert(contents, "cifar_resnet20")
    assert str(caught.value).endswith(
        "They are of cifar_resnet20 with 100 classes: give --classes 100 (in a run's config "
        "model.classes = 100, in Python classes=100)."
    )
    assert convert(contents, "cifar_resnet20", 100).params["linear.bias"].shape == (100,)
    published = torch_contents("cifar_resnet20")
    with pytest.raises(UserError, match=r"with 10 classes: give --classes 10"):
        convert(published, "cifar_resnet20", 7)


def test_weights_of_no_architecture_get_no_advice():
    contents = WeightsContents(Path("w"), "npz", "hwio", {"x": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match=r"do not fit the network.*\.$") as caught:
        convert(contents, "mnist")
    assert "They" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_reported_by_layer(value):
    contents = torch_contents("cifar_resnet20")
    contents.arrays["layer2.1.conv2.weight"][3, 2, 1, 0] = value
    contents.arrays["linear.bias"][0] = value
    (warning,) = convert(contents, "cifar_resnet20").warnings
    assert "not finite" in warning
    assert "in layer2.1.conv2, linear:" in warning


def test_numbers_beyond_float32_are_reported_like_infinite_ones():
    contents = torch_contents("cifar_resnet20")
    bias = contents.arrays["linear.bias"].astype(np.float64)
    bias[0] = 1e300
    contents = dataclasses.replace(contents, arrays={**contents.arrays, "linear.bias": bias})
    (warning,) = convert(contents, "cifar_resnet20").warnings  # and none by NumPy
    assert "not finite" in warning
    assert "in linear:" in warning


def test_negative_variances_are_reported():
    contents = torch_contents("cifar_resnet20")
    contents.arrays["bn1.running_var"][2] = -1e-3
    (warning,) = convert(contents, "cifar_resnet20").warnings
    assert "negative variances in bn1.running_var" in warning


def test_a_mean_image_becomes_part_of_the_preprocessing():
    shapes = Blueprint(find_architecture("mnist").build).shapes
    arrays = {key: np.zeros(leaf.shape, np.float32) for key, leaf in shapes.items()}
    mean = np.random.default_rng(0).uniform(size=(28, 28, 1)).astype(np.float32)
    contents = WeightsContents(Path("w"), "matconvnet", "hwio", arrays, mean_image=mean)
    preprocess = convert(contents, "mnist").preprocess
    assert preprocess.mean_image is mean
    np.testing.assert_allclose(preprocess.mean, mean.mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(preprocess(mean), 0, atol=1e-6)
