"""The layer table against brute force: which pixels change which unit."""

import jax
import numpy as np
import pytest
from flax import nnx

from jaxinterp.errors import UserError
from jaxinterp.models.layer_table import Layer, LayerTable
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.registry import ARCHITECTURES, find_architecture
from jaxinterp.models.vgg import VGG, VGG_BLOCKS
from jaxinterp.transform import capture, taps


def table_of(name: str) -> LayerTable:
    return nnx.eval_shape(find_architecture(name).build).layers()


def thin(name: str) -> VGG:
    """The network with one kernel a layer; where its units look does not depend on that."""
    depth, _, norm = name.partition("_")
    blocks = [[1] * len(block) for block in VGG_BLOCKS[depth]]
    return VGG(blocks, batch_norm=bool(norm), classes=1, hidden=(), grid=1, in_channels=1)


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


def lit_units(build, names: list[str], *, length: int, width: int, axis: int):
    """For every map layer: bool [pixel, unit], whether a lit line of pixels lights a line of units.

    The images are `length` long on `axis` (1: rows, 2: columns) and `width` on the other one.
    """
    blueprint = Blueprint(build)
    channels = blueprint.shapes["features.0.weight"].shape[2]
    images = np.zeros((length, length, width, channels), np.float32)
    images[np.arange(length), np.arange(length)] = 1
    images = images if axis == 1 else images.swapaxes(1, 2)
    maps = jax.jit(capture(blueprint.apply, names))(averaging_params(blueprint), images)
    other = 3 - axis
    return {name: np.asarray(value.max((other, 3)) > 0) for name, value in maps.items()}


CASES = {
    "vgg_cifar10": (find_architecture("vgg_cifar10").build, 88, 8),
    "vgg11": (lambda: thin("vgg11"), 160, 32),
    "vgg16_bn": (lambda: thin("vgg16_bn"), 224, 32),
}


@pytest.mark.parametrize("axis", [1, 2], ids=["rows", "columns"])
@pytest.mark.parametrize("name", CASES)
def test_units_see_the_pixels_that_the_table_says(name, axis):
    build, length, width = CASES[name]
    layers = [layer for layer in table_of(name) if layer.is_map]
    seen = lit_units(build, [layer.name for layer in layers], length=length, width=width, axis=axis)
    for layer in layers:
        assert seen[layer.name].shape == (length, length // layer.stride), layer.name
        for unit in range(length // layer.stride):
            first = unit * layer.stride - layer.padding
            stop = first + layer.receptive_field
            expected = np.zeros(length, bool)
            expected[max(first, 0) : max(stop, 0)] = True
            actual = np.flatnonzero(seen[layer.name][:, unit])
            assert (seen[layer.name][:, unit] == expected).all(), (layer, unit, actual)


def test_the_deepest_units_were_seen_from_edge_to_edge():
    # Otherwise the test above could not tell a receptive field from a larger one.
    for name, (_, length, _) in CASES.items():
        for layer in table_of(name):
            if layer.is_map:
                assert layer.receptive_field - layer.padding < length, (name, layer)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_table_lists_the_taps_in_order_with_their_channels(name):
    architecture = find_architecture(name)
    blueprint = Blueprint(architecture.build)
    side = architecture.preprocess.size
    image = jax.ShapeDtypeStruct((1, side, side, 3), "float32")
    found = taps(blueprint.apply, blueprint.shapes, image)
    table = table_of(name)
    assert [layer.name for layer in table] == list(found)
    for layer in table:
        shape = found[layer.name].shape
        assert shape[layer.channel_axis] == layer.channels, layer
        assert layer.is_map == (len(shape) == 4 and layer.kind != "average_pool"), layer
        if layer.is_map:
            assert shape[1:3] == (side // layer.stride,) * 2, layer


@pytest.mark.parametrize("name", ["vgg_cifar10", "vgg16", "vgg16_bn"])
def test_names_and_aliases_agree_with_the_parameters(name):
    # The alias is the path of the module, so parameters of a layer start with it.
    shapes = Blueprint(find_architecture(name).build).shapes
    table = table_of(name)
    owners = {key.rpartition(".")[0] for key in shapes}
    with_parameters = {
        layer.alias for layer in table if layer.kind in ("conv", "batch_norm", "dense")
    }
    assert with_parameters == owners
    for layer in table:
        assert table.find(layer.name) is layer
        assert table.find(layer.alias) is layer
        if layer.kind in ("conv", "dense"):
            assert shapes[f"{layer.alias}.weight"].shape[-1] == layer.channels


def test_names_are_those_of_the_paper_and_aliases_torchvisions():
    # From torchvision's documentation of vgg16: features.22 is the ReLU after conv4_3.
    table = table_of("vgg16")
    assert table.find("features.22").name == "relu4_3"
    assert table.find("features.30").name == "pool5"
    assert table.find("classifier.3").name == "fc7"
    assert [layer.name for layer in table][-5:] == ["fc6", "relu6", "fc7", "relu7", "fc8"]


def test_an_unknown_layer_is_named_with_its_nearest():
    with pytest.raises(UserError, match=r"no layer 'relu4_4'; nearest: .*relu4_3"):
        table_of("vgg16").find("relu4_4")
    with pytest.raises(UserError, match=r"nearest: relu4_3"):
        table_of("vgg16").find("ReLU4_3")


def test_the_table_is_a_sequence():
    rows = [Layer(name, "", "conv", 1, 1, 1, 0) for name in ("a", "b", "c")]
    table = LayerTable(rows)
    assert len(table) == 3
    assert list(table) == rows
    assert table[1] is rows[1]
    with pytest.raises(UserError, match="no layer ''"):
        table.find("")  # no row has an alias
