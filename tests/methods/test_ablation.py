"""Ablated networks against one edit at a time, weights cut out by hand, and JAX's own program."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import CLASSES, chain, equations, make_images, make_params, skipping

from jaxinterp.errors import UserError
from jaxinterp.methods.ablation import Ablator, ablate
from jaxinterp.methods.ablation_layers import ablatable_layers
from jaxinterp.methods.unit_effects import unit_effects
from jaxinterp.models.cifar_resnet import CifarResNet
from jaxinterp.models.describe import describe, describe_classifier
from jaxinterp.models.layer_table import LayerTable
from jaxinterp.models.network import Network
from jaxinterp.models.parameters import Blueprint, initial_parameters
from jaxinterp.models.preprocess import CIFAR10
from jaxinterp.models.registry import find_architecture
from jaxinterp.transform import UnknownTapError, edit, tap

UNITS = 4


def as_network(apply, params=None):
    params = make_params() if params is None else params
    table = describe(apply, params, make_images())
    return Network(apply.__name__, apply, params, CIFAR10, table)


@functools.cache
def residual_network():
    blueprint = Blueprint(lambda: CifarResNet(8, classes=CLASSES, widths=(4, 6, 8)))
    params = initial_parameters(blueprint, seed=0)
    table = describe_classifier(blueprint, CIFAR10)
    return Network("residual", blueprint.apply, params, CIFAR10, table, blueprint=blueprint)


def make_keep(network, layers, variants, seed=0):
    random = np.random.default_rng(seed)
    sizes = {name: network.layers.find(name).channels for name in layers}
    return {name: random.random((variants, units)) < 0.6 for name, units in sizes.items()}


NETWORKS = {
    "chain": (lambda: as_network(chain), ["relu1", "relu2"]),
    "skipping": (lambda: as_network(skipping), ["relu2", "sum"]),
    "residual": (residual_network, ["layer1.0.relu1", "layer2.0.bn2", "layer3.0"]),
}


@pytest.mark.parametrize("at_once", [None, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_outcomes_are_those_of_one_variant_at_a_time(name, at_once):
    make, layers = NETWORKS[name]
    network = make()
    keep, images = make_keep(network, layers, 5), make_images(7)
    labels = np.random.default_rng(2).integers(0, CLASSES, 7)
    found = Ablator(network, keep, variants_at_once=at_once)(images, labels)
    assert found.correct.dtype == bool
    assert found.probability.dtype == np.float32

    @jax.jit
    def slow(keep):
        edits = {name: lambda x, k=keep[name]: x.at[..., :].multiply(k) for name in layers}
        return edit(network.apply, edits)(network.params, images)

    for v in range(5):
        logits = np.asarray(slow({name: mask[v] for name, mask in keep.items()}), np.float64)
        exponents = np.exp(logits - logits.max(1, keepdims=True))
        expected = (exponents / exponents.sum(1, keepdims=True))[np.arange(7), labels]
        np.testing.assert_allclose(found.probability[v], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(found.correct[v], logits.argmax(1) == labels)
    # The variants differ, so that none could stand in for another.
    assert len({row.tobytes() for row in found.probability}) == 5


@pytest.mark.parametrize("unit", range(UNITS))
def test_a_unit_turned_off_is_a_unit_whose_weights_are_cut(unit):
    params = make_params()
    keep = {"relu1": np.arange(UNITS) != unit}
    found = ablate(as_network(chain), ["relu1"])(params, make_images(), keep)
    cut = {**params, "two": params["two"].copy()}
    cut["two"][:, :, unit] = 0
    np.testing.assert_allclose(found, chain(cut, make_images()), rtol=1e-6, atol=1e-5)
    assert np.abs(found - chain(params, make_images())).max() > 1e-3


def test_units_take_the_value_they_are_given():
    network, fill = as_network(chain), np.array([0.5, -1, 2, 3], np.float32)
    keep = {"relu1": np.array([True, False, True, False])}
    found = ablate(network, "relu1", fill={"relu1": fill})(network.params, make_images(), keep)
    edits = {"relu1": lambda x: x.at[..., 1].set(-1).at[..., 3].set(3)}
    expected = edit(chain, edits)(network.params, make_images())
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_units_infinity_is_gone_with_it():
    params = make_params()
    params["shift"][2] = np.inf
    keep = {"relu1": np.array([True, True, False, True])}
    found = ablate(as_network(chain), ["relu1"])(params, make_images(), keep)
    assert np.isfinite(found).all()


def test_layers_go_by_aliases_and_other_channel_axes():
    def channels_first(params, images):
        x = tap(jnp.moveaxis(jax.nn.relu(images), -1, 1), "maps")
        return jnp.moveaxis(x, 1, -1).mean((1, 2)) @ params["dense"][:3]

    params = make_params()
    table = LayerTable(
        [
            dataclasses.replace(row, channels=3, channel_axis=1, alias="features.0")
            for row in describe(channels_first, params, make_images())
        ]
    )
    network = Network("channels first", channels_first, params, CIFAR10, table)
    keep = {"features.0": np.array([True, False, True])}
    found = ablate(network, keep)(params, make_images(), keep)
    expected = channels_first(params, make_images() * np.array([1, 0, 1], np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_in_a_scan_a_unit_is_off_at_every_step():
    def looping(params, images):
        def step(x, _):
            return tap(jax.nn.relu(x + params["shift"][:3]), "state"), None

        x, _ = jax.lax.scan(step, images, None, length=3)
        return x.mean((1, 2)) @ params["dense"][:3]

    params = make_params()
    network = as_network(looping, params)
    keep = {"state": np.array([False, True, True])}
    found = ablate(network, keep)(params, make_images(), keep)
    images, shift = make_images(), params["shift"][:3]
    for _ in range(3):
        images = np.maximum(images + shift, 0) * keep["state"]
    np.testing.assert_allclose(found, images.mean((1, 2)) @ params["dense"][:3], rtol=1e-5)


def test_padding_and_what_is_no_number_are_never_right():
    params = make_params()
    network = as_network(chain, params)
    labels = np.array([0, 1, -1])
    keep = {"relu1": np.ones((1, UNITS), bool)}
    images = make_images(3)
    probability = Ablator(network, keep)(images, labels).probability
    assert (probability[0, :2] > 0).all()
    assert probability[0, 2] == 0
    images[0, 0, 0, 0] = np.nan
    assert not Ablator(network, keep)(images, np.array([0, 1, -1])).correct[0, [0, 2]].any()


def test_equal_variants_are_computed_once():
    network = as_network(chain)
    keep = {name: np.tile(mask, (4, 1)) for name, mask in make_keep(network, ["relu1"], 3).items()}
    ablator = Ablator(network, keep)
    assert ablator.different == 3
    found = ablator(make_images(), np.zeros(2, int))
    for part in found:
        np.testing.assert_array_equal(part, np.tile(part[:3], (4, 1)))


def test_variants_share_convolutions_and_what_lies_below():
    """One convolution a layer, of all variants' maps; below the first ablated layer, of one."""
    network = as_network(chain)
    ablated = jax.vmap(ablate(network, ["relu1"]), (None, None, 0))
    keep = make_keep(network, ["relu1"], 3)
    program = jax.make_jaxpr(ablated)(network.params, make_images(5), keep)
    shapes = [one.invars[0].aval.shape for one in convolutions(program.jaxpr)]
    assert [shape[0] for shape in shapes] == [5, 3 * 5]
    # What is called for each chunk of variants has the second one only.
    ablator = Ablator(network, keep, variants_at_once=2)
    ablator(make_images(5), np.zeros(5, int))
    (programs,) = ablator._programs.values()
    prepared = programs.below(network.params, make_images(5))
    two = {name: mask[:2] for name, mask in keep.items()}
    above = jax.make_jaxpr(programs.above.__wrapped__)(prepared, two, np.zeros(5, np.int32))
    assert equations(above.jaxpr, "conv_general_dilated") == 1


def convolutions(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation
        for value in equation.params.values():
            part = getattr(value, "jaxpr", value)
            if hasattr(part, "eqns"):
                yield from convolutions(part)


def test_a_small_memory_means_small_chunks():
    network = as_network(chain)
    keep = {"relu1": (np.arange(9)[:, None] >> np.arange(UNITS)) & 1}
    at_once = []
    for memory in (1, 10**5, 2**30):
        ablator = Ablator(network, keep, memory=memory)
        ablator(make_images(), np.zeros(2, int))
        (programs,) = ablator._programs.values()
        at_once.append(programs.at_once)
    assert at_once[0] == 1
    assert at_once[-1] == 9


@pytest.mark.parametrize("layer", ["relu1", "conv1"])
def test_unit_effects_are_those_of_each_unit_alone(layer):
    network, classes = as_network(chain), [4, 0, 2]
    images, labels = make_images(23), np.random.default_rng(2).integers(0, CLASSES, 23)
    labels[5] = -1
    batches = [
        (images[:10], labels[:10]),
        (images[10:20], labels[10:20]),
        (images[20:], labels[20:]),
    ]
    found = unit_effects(network, layer, batches, classes=classes, memory=10**4)
    assert found.accuracy_drop.shape == found.probability_drop.shape == (UNITS, 3)

    def judge(apply):
        chances = np.asarray(jax.nn.softmax(apply(network.params, images)), np.float64)
        right = chances.argmax(1) == labels
        own = [labels == one for one in classes]
        return np.array(
            [
                [right[some].mean() for some in own],
                [chances[some, one].mean() for some, one in zip(own, classes, strict=True)],
            ]
        )

    base = judge(chain)
    for unit in range(UNITS):
        edits = {layer: lambda x, unit=unit: x.at[..., unit].set(0)}
        expected = base - judge(edit(chain, edits))
        np.testing.assert_allclose(found.accuracy_drop[unit], expected[0], atol=1e-12)
        np.testing.assert_allclose(found.probability_drop[unit], expected[1], atol=1e-6)
    np.testing.assert_array_equal(found.images, [(labels == one).sum() for one in classes])
    assert np.ptp(found.probability_drop, axis=0).min() > 0


def test_a_class_without_images_has_no_effect_to_tell():
    found = unit_effects(
        as_network(chain), "relu1", [(make_images(2), np.array([1, 1]))], classes=[0, 1]
    )
    assert np.isnan(found.accuracy_drop[:, 0]).all()
    assert np.isfinite(found.accuracy_drop[:, 1]).all()


def without_weights(name):
    """A network of the registry; its layers are found by tracing, so shapes are enough."""
    architecture = find_architecture(name)
    blueprint = architecture.blueprint()
    table = describe_classifier(blueprint, architecture.preprocess)
    return Network(name, blueprint.apply, blueprint.shapes, architecture.preprocess, table)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alexnet", ["relu2", "relu3", "relu4"]),
        ("vgg11", ["relu2_1", "relu3_1", "relu3_2", "relu4_1", "relu4_2", "relu5_1"]),
        ("vgg11_bn", ["relu2_1", "relu3_1", "relu3_2", "relu4_1", "relu4_2", "relu5_1"]),
        ("vgg_f", ["relu2", "relu3", "relu4"]),
        (
            "resnet18",
            [
                *("layer1.0.relu1", "layer1.0.bn2", "layer1.1.relu1", "layer1.1.bn2"),
                *("layer2.0.relu1", "layer2.0.bn2", "layer2.0.downsample.1"),
                *("layer2.1.relu1", "layer2.1.bn2"),
                *("layer3.0.relu1", "layer3.0.bn2", "layer3.0.downsample.1"),
                *("layer3.1.relu1", "layer3.1.bn2"),
                *("layer4.0.relu1", "layer4.0.bn2", "layer4.0.downsample.1"),
                "layer4.1.relu1",
            ],
        ),
    ],
)
def test_layers_are_all_but_the_first_and_last_convolution(name, expected):
    network = without_weights(name)
    assert list(ablatable_layers(network)) == expected
    ends = ablatable_layers(network, ends=True)
    assert set(expected) < set(ends)
    assert len(ends) == sum(row.kind == "conv" for row in network.layers)


def test_units_without_a_relu_may_be_turned_off_in_the_block():
    found = ablatable_layers(without_weights("resnet18"), residual="block")
    assert found[:3] == ("layer1.0.relu1", "layer1.0", "layer1.1.relu1")
    assert found[-2:] == ("layer4.0", "layer4.1.relu1")
    assert len(set(found)) == len(found) == 15


def test_a_projection_beside_the_last_convolution_is_last_too():
    def network(params, images):
        weights = jnp.ones((1, 1, 3, 3))
        x = tap(jax.nn.relu(tap(conv(images, weights), "conv1")), "relu1")
        y = tap(jax.nn.relu(tap(conv(x, weights), "conv2")), "relu2")
        y, x = tap(conv(y, weights), "conv3"), tap(conv(x, weights), "projection")
        return tap(jax.nn.relu(x + y), "block").mean((1, 2))

    assert ablatable_layers(as_network(network)) == ("relu2",)


def conv(x, weights):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, weights, (1, 1), "SAME", dimension_numbers=numbers)


def test_a_sum_is_told_from_a_relu_whatever_it_is_called():
    """By the names alone "act2" could be the ReLU of "conv2"; it is that of a sum."""

    def network(params, images):
        weights = jnp.ones((1, 1, 3, 3))
        x = tap(jax.nn.relu(tap(conv(images, weights), "conv1")), "act1")
        x = tap(jax.nn.relu(tap(conv(x, weights), "conv2") + x), "act2")
        return tap(conv(x, weights), "conv3").mean((1, 2))

    assert ablatable_layers(as_network(network)) == ("conv2",)


MASKS = {"relu1": np.ones((2, UNITS), bool)}


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda n: ablate(n, ["relu3"]), "There is no layer 'relu3'; nearest: relu"),
        (lambda n: ablate(n, []), "each once"),
        (lambda n: ablate(n, ["relu1", "relu1"]), "each once"),
        (lambda n: ablate(n, ["relu1"], fill={"relu2": np.ones(4)}), "'relu2'"),
        (lambda n: ablate(n, ["relu1"], fill={"relu1": np.ones(3)}), r"\[3\]"),
        (lambda n: ablate(n, ["relu1"])(n.params, make_images(), {}), "must be of the layers"),
        (lambda n: Ablator(n, {"relu1": np.ones((2, 3), bool)}), r"\[variants, 4\]"),
        (lambda n: Ablator(n, {"relu1": np.ones((0, 4), bool)}), "at least one"),
        (lambda n: Ablator(n, {**MASKS, "relu2": np.ones((3, 4), bool)}), r"\[2, 3\]"),
        (lambda n: Ablator(n, MASKS, variants_at_once=0), "variants_at_once must be"),
        (lambda n: Ablator(n, MASKS, memory=0), "memory must be"),
        (lambda n: Ablator(n, MASKS)(make_images(), [0]), "needs a label"),
        (lambda n: Ablator(n, MASKS)(make_images(), [0, CLASSES]), "0 to 5"),
        (lambda n: Ablator(n, MASKS)(make_images(), [-2, 0]), "0 to 5"),
        (lambda n: unit_effects(n, "relu1", [], classes=[1, 1]), "each once"),
        (lambda n: unit_effects(n, "relu1", [], classes=[]), "each once"),
        (lambda n: unit_effects(n, "relu", [], classes=[1]), "There is no layer 'relu'"),
        (lambda n: ablatable_layers(n), "none is left"),
    ],
)
def test_what_cannot_be_ablated_is_refused(call, complaint):
    with pytest.raises(UserError, match=complaint):
        call(as_network(chain))


def test_a_network_without_convolutions_is_refused():
    def dense(params, images):
        return tap(images.mean((1, 2)) @ params["dense"][:3], "logits")

    with pytest.raises(UserError, match="no convolution"):
        ablatable_layers(as_network(dense))


def test_a_layer_table_may_not_name_what_is_not_tapped():
    network = as_network(chain)
    rows = [dataclasses.replace(row, name=f"{row.name}x") for row in network.layers]
    network = dataclasses.replace(network, layers=LayerTable(rows))
    keep = {"relu1x": np.ones(UNITS, bool)}
    with pytest.raises(UnknownTapError):
        ablate(network, keep)(network.params, make_images(), keep)
