"""Every network against PyTorch: the same weights, every named activation, gradients.

Most networks are an eighth as wide as the published ones, so that they need neither gigabytes nor
minutes; names and shapes of the full ones are compared without any numbers.
`benchmarks/zoo_parity.py` compares the full ones with numbers.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import numpy as np
import pytest
import torch
from flax import nnx
from torch_comparison import compare, randomise, save_state
from torch_networks import TORCH_NETWORKS, torch_network

import jaxinterp
from jaxinterp.models.alexnet import AlexNet
from jaxinterp.models.cifar_resnet import CifarResNet
from jaxinterp.models.mnist import MnistNetwork
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.plain import (
    CIFAR_WIDE_LAYERS,
    FLOWER_DOUBLE_LAYERS,
    FLOWER_SINGLE_LAYERS,
    PlainNetwork,
)
from jaxinterp.models.registry import ARCHITECTURES, find_architecture
from jaxinterp.models.resnet import RESNETS, ResNet
from jaxinterp.models.vgg import VGG, VGG_BLOCKS, VGG_CIFAR10_BLOCKS
from jaxinterp.models.vgg_f import VGGF
from jaxinterp.transform import taps

pytestmark = pytest.mark.parity

CLASSES, TARGET = 11, 3

PLAIN_LAYERS = {
    "cifar_wide": CIFAR_WIDE_LAYERS,
    "flower_single": FLOWER_SINGLE_LAYERS,
    "flower_double": FLOWER_DOUBLE_LAYERS,
}


class Case(NamedTuple):
    """A network, the divisor of its widths, the images' height and width, the weights' format.

    Where a family is met several times, the sides are below, at and above those it was trained
    with, and odd ones.
    """

    name: str
    thin: int
    size: tuple[int, int]
    suffix: str

    def __str__(self):
        return f"{self.name}-{self.size[0]}x{self.size[1]}{self.suffix}"


CASES = (
    Case("vgg_cifar10", 1, (32, 32), ".safetensors"),
    Case("vgg_cifar10", 2, (29, 46), ".pth"),
    Case("alexnet", 8, (97, 130), ".safetensors"),
    Case("alexnet", 8, (256, 231), ".pth"),
    Case("vgg11", 8, (64, 64), ".safetensors"),
    Case("vgg13", 8, (57, 40), ".pth"),
    Case("vgg16", 8, (32, 49), ".safetensors"),
    Case("vgg19", 8, (33, 32), ".pth"),
    Case("vgg11_bn", 16, (224, 239), ".pth"),
    Case("vgg13_bn", 8, (43, 64), ".safetensors"),
    Case("vgg16_bn", 8, (40, 40), ".pth"),
    Case("vgg19_bn", 8, (37, 50), ".safetensors"),
    Case("resnet18", 8, (65, 50), ".safetensors"),
    Case("resnet18", 8, (224, 251), ".pth"),
    Case("resnet34", 8, (64, 64), ".pth"),
    Case("resnet50", 8, (97, 66), ".safetensors"),
    Case("resnet101", 8, (48, 33), ".pth"),
    Case("resnet152", 8, (32, 41), ".safetensors"),
    Case("wide_resnet50_2", 8, (51, 64), ".pth"),
    Case("wide_resnet101_2", 8, (32, 39), ".safetensors"),
    Case("resnext50_32x4d", 8, (70, 65), ".pth"),
    Case("resnext101_32x8d", 8, (35, 48), ".safetensors"),
    Case("vgg_f", 8, (224, 224), ".safetensors"),
    Case("vgg_f", 8, (111, 142), ".pth"),
    Case("vgg_f", 16, (241, 260), ".pth"),
    Case("cifar_resnet20", 1, (32, 32), ".th"),
    Case("cifar_resnet32", 2, (17, 20), ".safetensors"),
    Case("cifar_resnet44", 2, (28, 32), ".th"),
    Case("cifar_resnet56", 2, (33, 41), ".pth"),
    Case("cifar_resnet110", 2, (16, 19), ".safetensors"),
    Case("mnist", 1, (28, 28), ".safetensors"),
    Case("mnist", 2, (33, 27), ".pth"),
    Case("cifar_wide", 1, (32, 32), ".safetensors"),
    Case("cifar_wide", 4, (29, 50), ".pth"),
    Case("flower_single", 1, (64, 64), ".safetensors"),
    Case("flower_single", 4, (47, 33), ".pth"),
    Case("flower_double", 1, (64, 64), ".pth"),
    Case("flower_double", 4, (35, 71), ".safetensors"),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """PyTorch's threads wait for each other in every small layer, for seconds if cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_every_network_is_compared():
    assert {case.name for case in CASES} == set(ARCHITECTURES) == set(TORCH_NETWORKS)


def thin_constructor(name, thin):
    """Makes our network as wide as `torch_network(name, thin=thin)`."""

    def narrow(*widths):
        return tuple(width // thin for width in widths)

    hidden = {"hidden": 4096 // thin}
    if name == "alexnet":
        return functools.partial(AlexNet, widths=narrow(64, 192, 384, 256, 256), **hidden)
    if name == "vgg_f":
        return functools.partial(VGGF, widths=narrow(64, 256, 256, 256, 256), **hidden)
    if name == "mnist":
        return functools.partial(MnistNetwork, widths=narrow(16, 32), hidden=128 // thin)
    if name in PLAIN_LAYERS:
        layers = [layer._replace(width=layer.width // thin) for layer in PLAIN_LAYERS[name]]
        return functools.partial(PlainNetwork, layers)
    if name == "vgg_cifar10":
        blocks = [narrow(*block) for block in VGG_CIFAR10_BLOCKS]
        return functools.partial(VGG, blocks, batch_norm=True, hidden=(), grid=1, pool_last=False)
    if name.startswith("cifar_resnet"):
        depth = int(name.removeprefix("cifar_resnet"))
        return functools.partial(CifarResNet, depth, widths=narrow(16, 32, 64))
    if name in RESNETS:
        plan = RESNETS[name]
        thinner = {"groups": plan.groups // thin}  # a group stays as wide
        if plan.groups == 1:
            thinner = {"group_width": plan.group_width // thin}
        return functools.partial(
            ResNet, dataclasses.replace(plan, width=plan.width // thin, **thinner)
        )
    depth, _, norm = name.partition("_")
    blocks = [narrow(*block) for block in VGG_BLOCKS[depth]]
    return functools.partial(VGG, blocks, batch_norm=bool(norm), hidden=narrow(4096, 4096))


@pytest.fixture(scope="module", params=CASES, ids=str)
def pair(request, tmp_path_factory):
    """(PyTorch's network, ours loaded from its file, normalised images NHWC)."""
    case = request.param
    theirs = randomise(torch_network(case.name, classes=CLASSES, thin=case.thin))
    path = (tmp_path_factory.mktemp("weights") / "weights").with_suffix(case.suffix)
    save_state(theirs, path)
    with pytest.MonkeyPatch.context() as patch:
        if case.thin > 1:
            construct = thin_constructor(case.name, case.thin)
            architecture = dataclasses.replace(find_architecture(case.name), construct=construct)
            patch.setitem(ARCHITECTURES, case.name, architecture)
        ours = jaxinterp.load(case.name, weights=path, classes=CLASSES)
    channels = len(ours.preprocess.mean)
    pixels = np.random.default_rng(1).uniform(size=(2, *case.size, channels))
    return theirs, ours, np.asarray(ours.preprocess(pixels))


# In single precision a ReLU whose input is zero but for rounding may be open on one side only: the
# values hardly notice, the gradient does: one ReLU of millions moves it by 1e-2 of its maximum.
@pytest.mark.parametrize(
    ("dtype", "most_tap", "most_gradient"),
    [(np.float32, 1e-4, 0.1), (np.float64, 1e-9, 1e-9)],
    ids=["float32", "float64"],
)
def test_every_tap_and_the_gradient_of_a_logit_equal_pytorchs(pair, dtype, most_tap, most_gradient):
    theirs, ours, images = pair
    found = compare(theirs, ours, images, target=TARGET, dtype=dtype, optimize=False)
    worst = found.taps[found.worst]
    assert worst <= most_tap, f"{found.worst}: {worst:.1e} of its maximum"
    assert found.gradient <= most_gradient, f"{found.gradient:.1e} of its maximum"
    # A container gives what its last member gives; dropout is off.
    kinds = {type(theirs.get_submodule(path)) for path in found.unseen}
    assert kinds <= {torch.nn.Sequential, torch.nn.Dropout}, found.unseen


def full_network(name):
    """The published network of PyTorch without memory for its numbers."""
    with torch.device("meta"):
        return torch_network(name)


def our_layout(shape):
    """The shape of a parameter here: HWIO and [in, out] for PyTorch's OIHW and [out, in]."""
    if len(shape) == 4:
        outputs, inputs, height, width = shape
        return height, width, inputs, outputs
    return tuple(reversed(shape))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_and_shapes_of_the_full_networks(name):
    expected = {
        key: our_layout(tuple(value.shape))
        for key, value in full_network(name).state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    shapes = Blueprint(find_architecture(name).build).shapes
    assert {key: leaf.shape for key, leaf in shapes.items()} == expected


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_taps_and_their_shapes_of_the_full_networks(name):
    theirs, expected = full_network(name), {}
    for path, module in theirs.named_modules():
        module.register_forward_hook(
            lambda module, inputs, output, path=path: expected.__setitem__(path, output.shape)
        )
    architecture = find_architecture(name)
    side, channels = architecture.preprocess.size, len(architecture.preprocess.mean)
    theirs(torch.empty(1, channels, side, side, device="meta"))

    blueprint = Blueprint(architecture.build)
    aliases = nnx.eval_shape(architecture.build).aliases
    image = jax.ShapeDtypeStruct((1, side, side, channels), "float32")
    for name_of_tap, value in taps(blueprint.apply, blueprint.shapes, image).items():
        paths = {name_of_tap, aliases.get(name_of_tap)} & expected.keys()
        shape = tuple(value.shape)
        if len(shape) == 4:
            shape = (shape[0], shape[3], *shape[1:3])
        assert {tuple(expected[path]) for path in paths} == {shape}, name_of_tap


# torchvision's documentation gives these, `num_params`; the CIFAR ResNets' are published rounded.
PUBLISHED_COUNTS = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
}
PUBLISHED_MILLIONS = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}


@pytest.mark.parametrize("name", PUBLISHED_COUNTS)
def test_pytorchs_networks_have_the_published_numbers_of_parameters(name):
    parameters = full_network(name).parameters()
    assert sum(value.numel() for value in parameters) == PUBLISHED_COUNTS[name]


@pytest.mark.parametrize("depth", PUBLISHED_MILLIONS)
def test_pytorchs_cifar_resnets_have_the_published_numbers_of_parameters(depth):
    parameters = full_network(f"cifar_resnet{depth}").parameters()
    millions = sum(value.numel() for value in parameters) / 1e6
    assert millions == pytest.approx(PUBLISHED_MILLIONS[depth], rel=0.02)
