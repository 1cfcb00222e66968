"""The layer tables of the library's own networks: known rows, recurrences, and lit pixels."""

import functools

import jax
import numpy as np
import pytest

from jaxinterp.models.alexnet import AlexNet
from jaxinterp.models.cifar_resnet import CifarResNet
from jaxinterp.models.describe import describe_classifier
from jaxinterp.models.layer_table import LayerTable
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.preprocess import IMAGENET
from jaxinterp.models.registry import ARCHITECTURES, find_architecture
from jaxinterp.models.resnet import RESNETS, ResNet, ResNetPlan
from jaxinterp.models.vgg import VGG, VGG_BLOCKS
from jaxinterp.models.vgg_f import VGGF
from jaxinterp.transform import capture, taps


@functools.cache
def table_of(name: str) -> LayerTable:
    architecture = find_architecture(name)
    return describe_classifier(Blueprint(architecture.build), architecture.preprocess)


VGG16 = """
conv1_1 features.0 conv 64 1 3 1
relu1_1 features.1 relu 64 1 3 1
conv1_2 features.2 conv 64 1 5 2
relu1_2 features.3 relu 64 1 5 2
pool1 features.4 max_pool 64 2 6 2
conv2_1 features.5 conv 128 2 10 4
relu2_1 features.6 relu 128 2 10 4
conv2_2 features.7 conv 128 2 14 6
relu2_2 features.8 relu 128 2 14 6
pool2 features.9 max_pool 128 4 16 6
conv3_1 features.10 conv 256 4 24 10
relu3_1 features.11 relu 256 4 24 10
conv3_2 features.12 conv 256 4 32 14
relu3_2 features.13 relu 256 4 32 14
conv3_3 features.14 conv 256 4 40 18
relu3_3 features.15 relu 256 4 40 18
pool3 features.16 max_pool 256 8 44 18
conv4_1 features.17 conv 512 8 60 26
relu4_1 features.18 relu 512 8 60 26
conv4_2 features.19 conv 512 8 76 34
relu4_2 features.20 relu 512 8 76 34
conv4_3 features.21 conv 512 8 92 42
relu4_3 features.22 relu 512 8 92 42
pool4 features.23 max_pool 512 16 100 42
conv5_1 features.24 conv 512 16 132 58
relu5_1 features.25 relu 512 16 132 58
conv5_2 features.26 conv 512 16 164 74
relu5_2 features.27 relu 512 16 164 74
conv5_3 features.28 conv 512 16 196 90
relu5_3 features.29 relu 512 16 196 90
pool5 features.30 max_pool 512 32 212 90
avgpool avgpool average_pool 512 None None None
fc6 classifier.0 dense 4096 None None None
relu6 classifier.1 relu 4096 None None None
fc7 classifier.3 dense 4096 None None None
relu7 classifier.4 relu 4096 None None None
fc8 classifier.6 dense 1000 None None None
"""


def test_the_rows_of_vgg16():
    rows = [
        (row.name, row.alias, row.kind, row.channels, row.stride, row.receptive_field, row.padding)
        for row in table_of("vgg16")
    ]
    assert [" ".join(map(str, row)) for row in rows] == VGG16.strip().splitlines()
    assert {row.channel_axis for row in table_of("vgg16")} == {-1}


def follow(plan: ResNetPlan) -> dict[str, tuple[int, int, int]]:
    """Stride, receptive field and padding of a ResNet's layers, from its kernels alone.

    The shortcut sees less than the convolutions beside it, and from the middle of what they see.
    """
    found, stride, field = {}, 1, 1

    def convolve(name, kernel, step=1):
        nonlocal stride, field
        field += (kernel - 1) * stride
        stride *= step
        found[name] = stride, field, (field - 1) // 2

    convolve("conv1", 7, 2)
    convolve("maxpool", 3, 2)
    for s, depth in enumerate(plan.depths, start=1):
        for b in range(depth):
            step = 2 if s > 1 and b == 0 else 1
            kernels = [(1, 1), (3, step), (1, 1)] if plan.bottleneck else [(3, step), (3, 1)]
            found[f"layer{s}.{b}.downsample.0"] = stride * step, field, (field - 1) // 2
            for i, (kernel, one) in enumerate(kernels, start=1):
                convolve(f"layer{s}.{b}.conv{i}", kernel, one)
            found[f"layer{s}.{b}"] = stride, field, (field - 1) // 2
    return found


@pytest.mark.parametrize("name", RESNETS)
def test_resnets_by_recurrence(name):
    table, compared = table_of(name), 0
    expected = follow(RESNETS[name])
    for row in table:
        if row.name in expected:
            geometry = row.stride, row.receptive_field, row.padding
            assert geometry == expected[row.name], row
            compared += 1
    shortcuts = sum("downsample" in one for one in expected)
    assert compared == len(expected) - shortcuts + sum("downsample.0" in r.name for r in table)
    kinds = {row.name.rpartition(".")[2].rstrip("0123456789"): row.kind for row in table}
    assert {end: kinds[end] for end in ("conv", "bn", "relu", "maxpool", "avgpool", "fc")} == {
        "conv": "conv",
        "bn": "batch_norm",
        "relu": "relu",
        "maxpool": "max_pool",
        "avgpool": "average_pool",
        "fc": "dense",
    }


def test_known_receptive_fields():
    # ResNet-50 with strides in the 3x3 convolutions; AlexNet: 195 with strides 4 and thrice 2.
    assert table_of("resnet50").find("layer4").receptive_field == 427
    assert table_of("resnet18").find("layer4").receptive_field == 435
    assert table_of("alexnet").find("pool5").receptive_field == 195
    assert table_of("vgg_f").find("norm2").kind == "local_response_norm"


def thin_vgg(depth: str, *, batch_norm: bool = False):
    """The network with one kernel a layer; where its units look does not depend on that."""
    blocks = [[1] * len(block) for block in VGG_BLOCKS[depth]]
    return VGG(blocks, batch_norm=batch_norm, classes=1, hidden=(), grid=1, in_channels=3)


# What builds it, the side of the images, and their other side.
THIN = {
    "vgg16_bn": (lambda: thin_vgg("vgg16", batch_norm=True), 224, 32),
    "alexnet": (lambda: AlexNet(classes=1, widths=(1,) * 5, hidden=1), 224, 64),
    "vgg_f": (lambda: VGGF(classes=1, widths=(1,) * 5, hidden=1), 239, 48),
    "cifar_resnet20": (lambda: CifarResNet(20, classes=1, widths=(1, 1, 1)), 96, 8),
    "bottlenecks": (
        lambda: ResNet(ResNetPlan((1, 2, 1, 1), width=1, group_width=1), classes=1), 256, 32
    ),
    "blocks": (
        lambda: ResNet(ResNetPlan((1, 1, 1, 1), bottleneck=False, width=1), classes=1), 256, 32
    ),
}  # fmt: skip


def averaging_params(blueprint: Blueprint) -> dict[str, np.ndarray]:
    """Positive weights without biases: a lit pixel lights every unit that sees it, no other."""
    params = {}
    for name, leaf in blueprint.shapes.items():
        if len(leaf.shape) > 1:
            params[name] = np.full(leaf.shape, 1 / np.prod(leaf.shape[:-1]), np.float32)
        else:
            ones = name.endswith(("running_var", "weight"))  # of batch norm
            params[name] = np.full(leaf.shape, float(ones), np.float32)
    return params


def lit_units(blueprint: Blueprint, names: list[str], *, length: int, width: int, axis: int):
    """For every layer: bool [pixel, unit], whether a lit line of pixels lights a line of units.

    The images are `length` long on `axis` (1: rows, 2: columns) and `width` on the other one.
    """
    images = np.zeros((length, length, width, 3), np.float32)
    images[np.arange(length), np.arange(length)] = 1
    images = images if axis == 1 else images.swapaxes(1, 2)
    maps = jax.jit(capture(blueprint.apply, names))(averaging_params(blueprint), images)
    other = 3 - axis
    return {name: np.asarray(value.max((other, 3)) > 0) for name, value in maps.items()}


@pytest.mark.parametrize("axis", [1, 2], ids=["rows", "columns"])
@pytest.mark.parametrize("name", THIN)
def test_units_see_the_pixels_that_the_table_says(name, axis):
    build, length, width = THIN[name]
    blueprint = Blueprint(build)
    table = [row for row in describe_classifier(blueprint, IMAGENET) if row.is_map]
    seen = lit_units(blueprint, [row.name for row in table], length=length, width=width, axis=axis)
    for row in table:
        units = np.arange(seen[row.name].shape[1])
        first = units * row.stride - row.padding
        pixels = np.arange(length)[:, None]
        expected = (pixels >= first) & (pixels < first + row.receptive_field)
        wrong = np.argwhere(seen[row.name] != expected)
        assert not len(wrong), (row, wrong[:5])
        # A unit that sees less than the whole length tells the field from a larger one.
        assert not expected.all(), row


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_table_lists_the_taps_in_order_with_their_channels(name):
    architecture = find_architecture(name)
    blueprint = Blueprint(architecture.build)
    side, channels = architecture.preprocess.size, architecture.preprocess.channels
    image = jax.ShapeDtypeStruct((1, side, side, channels), "float32")
    found = taps(blueprint.apply, blueprint.shapes, image)
    table = table_of(name)
    assert [row.name for row in table] == list(found)
    for row in table:
        shape = found[row.name].shape
        assert shape[row.channel_axis] == row.channels, row
        assert row.is_map == (len(shape) == 4 and row.kind != "average_pool"), row
        if row.is_map:
            assert abs(shape[1] - side / row.stride) <= 2, row  # less the edges


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_and_aliases_agree_with_the_parameters(name):
    # The module's path is the name or the alias, so parameters of a layer start with it.
    shapes = Blueprint(find_architecture(name).build).shapes
    table = table_of(name)
    owners = {key.rpartition(".")[0] for key in shapes}
    with_parameters = {
        row.alias or row.name for row in table if row.kind in ("conv", "batch_norm", "dense")
    }
    assert with_parameters == owners
    for row in table:
        assert table.find(row.name) is row
        if row.alias:
            assert table.find(row.alias) is row
        if row.kind in ("conv", "dense"):
            assert shapes[f"{row.alias or row.name}.weight"].shape[-1] == row.channels


def test_names_are_those_of_the_papers_and_aliases_torchvisions():
    # From torchvision's documentation of vgg16: features.22 is the ReLU after conv4_3.
    assert table_of("vgg16").find("features.22").name == "relu4_3"
    assert table_of("vgg16_bn").find("features.43").name == "pool5"
    assert table_of("resnet50").find("layer3").name == "layer3.5"
    assert table_of("resnet50").find("relu").name == "relu1"
    # The Mind's Eye counts the children of the network: its 6 is layer3, its 7 layer4.
    assert table_of("resnet50").find("layer3.5.conv1").channels == 256
    assert table_of("wide_resnet101_2").find("layer3.12.conv3").channels == 1024
    assert table_of("resnext101_32x8d").find("layer3.20").channels == 1024
    assert table_of("resnext101_32x8d").find("layer4.2").channels == 2048
