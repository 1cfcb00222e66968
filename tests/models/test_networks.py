"""What every network of the registry promises, and what its paper says of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxinterp
from jaxinterp.models.cifar_resnet import CifarResNet
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.registry import ARCHITECTURES, find_architecture
from jaxinterp.models.residual import ZeroPadding
from jaxinterp.transform import taps

# Numbers of parameters in millions: torchvision's documentation, Chatfield et al. (VGG-F), and He
# et al. 2016, table 6 (CIFAR-10).
MILLIONS = {
    "alexnet": 61.10,
    "vgg11": 132.86,
    "vgg13": 133.05,
    "vgg16": 138.36,
    "vgg19": 143.67,
    "vgg11_bn": 132.87,
    "vgg13_bn": 133.05,
    "vgg16_bn": 138.37,
    "vgg19_bn": 143.68,
    "resnet18": 11.69,
    "resnet34": 21.80,
    "resnet50": 25.56,
    "resnet101": 44.55,
    "resnet152": 60.19,
    "wide_resnet50_2": 68.88,
    "wide_resnet101_2": 126.89,
    "resnext50_32x4d": 25.03,
    "resnext101_32x8d": 88.79,
    "cifar_resnet20": 0.27,
    "cifar_resnet32": 0.46,
    "cifar_resnet44": 0.66,
    "cifar_resnet56": 0.85,
    "cifar_resnet110": 1.73,
}


@pytest.mark.parametrize("name", MILLIONS)
def test_networks_have_as_many_parameters_as_published(name):
    blueprint = Blueprint(find_architecture(name).build)
    count = sum(
        np.prod(leaf.shape)
        for key, leaf in blueprint.shapes.items()
        if key not in blueprint.statistics
    )
    assert round(count / 1e6, 2) == MILLIONS[name]


def traced(name, side, classes=None):
    """The shape of every tap, and of the logits."""
    architecture = find_architecture(name)
    blueprint = Blueprint(lambda: architecture.build(classes))
    images = jax.ShapeDtypeStruct((2, side, side, architecture.preprocess.channels), jnp.float32)
    found = {
        key: leaf.shape for key, leaf in taps(blueprint.apply, blueprint.shapes, images).items()
    }
    return found, jax.eval_shape(blueprint.apply, blueprint.shapes, images).shape


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_any_class_count_and_other_input_sizes_are_taken(name):
    architecture = find_architecture(name)
    published, logits = traced(name, architecture.preprocess.size)
    assert logits == (2, architecture.classes)
    assert list(published.values())[-1] == logits
    other, logits = traced(name, architecture.preprocess.size * 3 // 2 + 1, classes=7)
    assert logits == (2, 7)
    assert list(other) == list(published)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_aliases_name_taps_once_and_parameters_lie_at_taps(name):
    architecture = find_architecture(name)
    module = nnx.eval_shape(architecture.build)
    found, _ = traced(name, architecture.preprocess.size)
    assert set(module.aliases) | set(module.kinds) <= set(found)
    assert len(set(module.aliases.values())) == len(module.aliases)
    paths = {module.aliases.get(tap, tap) for tap in found} | set(found)
    owners = {key.rpartition(".")[0] for key in Blueprint(architecture.build).shapes}
    assert owners <= paths, owners - paths


def test_sizes_of_maps_are_those_of_the_papers():
    resnet, _ = traced("resnet50", 224)
    assert [resnet[f"layer{s}.0"][1:] for s in (1, 2, 3, 4)] == [
        (56, 56, 256),
        (28, 28, 512),
        (14, 14, 1024),
        (7, 7, 2048),
    ]
    # Stride in the 3x3 convolution, not in the 1x1 before it.
    assert resnet["layer2.0.conv1"][1] == 56
    assert resnet["layer2.0.conv2"][1] == 28
    assert "layer3.5.conv1" in resnet  # of The Mind's Eye
    cifar, _ = traced("cifar_resnet20", 32)
    assert [cifar[f"layer{s}.2"][1:] for s in (1, 2, 3)] == [(32, 32, 16), (16, 16, 32), (8, 8, 64)]
    vgg_f, _ = traced("vgg_f", 224)
    assert [vgg_f[f"pool{i}"][1:] for i in (1, 2, 5)] == [(27, 27, 64), (13, 13, 256), (6, 6, 256)]
    wide, _ = traced("cifar_wide", 32)
    assert [wide[f"conv{i}"][1] for i in range(1, 6)] == [16, 8, 8, 4, 4]
    single, _ = traced("flower_single", 64)
    assert [single[f"conv{i}"][1] for i in range(1, 6)] == [64, 32, 16, 8, 4]
    double, _ = traced("flower_double", 64)
    assert [double[f"conv{i}"][1] for i in range(1, 6)] == [32, 16, 16, 8, 8]
    alexnet, _ = traced("alexnet", 224)
    assert [alexnet[f"pool{i}"][1:] for i in (1, 2, 5)] == [
        (27, 27, 64),
        (13, 13, 192),
        (6, 6, 256),
    ]


def test_the_wide_network_has_128_kernels_everywhere_and_is_cheap():
    found, _ = traced("cifar_wide", 32)
    maps = {name: shape for name, shape in found.items() if name.startswith("conv")}
    assert len(maps) >= 5
    assert min(shape[-1] for shape in maps.values()) >= 128
    weights = Blueprint(find_architecture("cifar_wide").build).shapes
    multiplications = sum(
        np.prod(shape[1:3]) * np.prod(weights[f"{name}.weight"].shape)
        for name, shape in maps.items()
    )
    assert 2 * multiplications <= 60e6


@pytest.mark.parametrize("name", ["flower_single", "flower_double"])
def test_one_network_for_flowers_pools_and_the_other_strides(name):
    layers = jaxinterp.load(name, weights="random").layers
    kinds = [layer.kind for layer in layers]
    assert kinds.count("max_pool") == (4 if name == "flower_single" else 0)
    assert layers.find("relu5").stride == (16 if name == "flower_single" else 8)


@pytest.mark.parametrize("depth", [2, 9, 21])
def test_cifar_resnets_have_6n_plus_2_layers(depth):
    with pytest.raises(ValueError, match=f"6 n \\+ 2 layers, such as 20 or 56, not {depth}"):
        CifarResNet(depth, classes=10)


def test_the_shortcut_without_parameters_subsamples_and_pads():
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    y = np.asarray(ZeroPadding(3, 8, stride=2)(jnp.asarray(x)))
    assert y.shape == (2, 3, 3, 8)
    expected = np.zeros_like(y)
    for row, column in np.ndindex(3, 3):
        expected[:, row, column, 2:5] = x[:, 2 * row, 2 * column]
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(
    "name", ["resnet18", "cifar_resnet20", "mnist", "resnext50_32x4d", "flower_single"]
)
def test_an_image_alone_and_in_a_batch_gives_the_same(name):
    network = jaxinterp.load(name, weights="random", classes=4)
    channels = network.preprocess.channels
    images = np.random.default_rng(0).uniform(size=(3, 40, 40, channels)).astype(np.float32)
    together = network.logits(images)
    assert np.ptp(together, axis=0).min() > 0
    alone = jnp.concatenate([network.logits(image[None]) for image in images])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-4 * np.abs(together).max())


def test_batch_norm_moves_in_training_only():
    blueprint = Blueprint(find_architecture("cifar_resnet20").build)
    params = jaxinterp.load("cifar_resnet20", weights="random").params
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 3)), jnp.float32)
    module = blueprint.bind(params)
    module(images)
    still = blueprint.read(module)
    module(images, training=True)
    moved = blueprint.read(module)
    for name in blueprint.statistics:
        np.testing.assert_array_equal(still[name], params[name])
        assert not np.array_equal(moved[name], params[name]), name
