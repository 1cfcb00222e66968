"""Relevance on its way down whole networks."""

import dataclasses
import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.attribution import Seed, kernel_map, logit
from jaxinterp.attribution.lrp import (
    epsilon_alpha2_beta1_flat,
    epsilon_everywhere,
    epsilon_gamma_box,
    epsilon_plus_flat,
    lrp,
    rules,
)
from jaxinterp.errors import UserError
from jaxinterp.models.describe import describe_classifier
from jaxinterp.models.folding import fold_batch_norm
from jaxinterp.models.network import Network
from jaxinterp.models.parameters import Blueprint, initial_parameters
from jaxinterp.models.preprocess import IMAGENET
from jaxinterp.models.resnet import RESNETS, ResNet
from jaxinterp.models.vgg import VGG, VGG_BLOCKS
from jaxinterp.models.vgg_f import VGGF
from jaxinterp.transform import RuleError, UnknownTapError, tap, taps, with_rules
from jaxinterp.transform.operations import Operation

LOW, HIGH = IMAGENET.bounds(np.zeros((1, 1, 1, 3)))
COMPOSITES = {
    "epsilon_everywhere": epsilon_everywhere(),
    "epsilon_plus_flat": epsilon_plus_flat(),
    "epsilon_alpha2_beta1_flat": epsilon_alpha2_beta1_flat(),
    "epsilon_gamma_box": epsilon_gamma_box(LOW, HIGH),
}

# Thinner networks of the same structure, and the images' side. (In a layer of few channels some
# outputs have no terms of one sign, whose share is lost: z+ and alpha-beta want some width.)
THIN_VGG = [[max(width // 16, 4) for width in block] for block in VGG_BLOCKS["vgg16"]]
THIN_RESNET = dataclasses.replace(RESNETS["resnet50"], depths=(2, 1, 1, 1))
NETWORKS = {
    "vgg16": (lambda: VGG(THIN_VGG, batch_norm=False, hidden=(32, 32), classes=10), 32),
    "resnet50": (lambda: ResNet(THIN_RESNET, classes=10), 64),
    "vgg_f": (lambda: VGGF(widths=(8, 16, 16, 16, 16), hidden=32, classes=10), 112),
}


# Optimised machine code takes longer to make than it saves here.
QUICKLY = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def explain(fn, params, images, seed, targets, **options):
    """`lrp`, jitted."""

    def call(params, images):
        return lrp(fn, params, images, seed, targets, **options)

    return QUICKLY(call)(params, images)


@functools.cache
def network(name):
    """The network with batch norm folded and without biases, float32; and two images."""
    construct, side = NETWORKS[name]
    blueprint = Blueprint(construct)
    params = initial_parameters(blueprint, seed=0)
    table = describe_classifier(blueprint, IMAGENET)
    whole = Network(name, blueprint.apply, params, IMAGENET, table, blueprint=blueprint)
    folded = fold_batch_norm(whole)
    assert not any(value.any() for value in folded.params.values() if value.ndim == 1)
    pixels = np.random.default_rng(1).uniform(size=(2, side, side, 3))
    return folded.apply, folded.params, IMAGENET(pixels)


def gradient(operation, inputs, cotangent):
    return jax.vjp(operation, *inputs)[1](cotangent)


def recording(rule, records):
    """The rule, noting the kind of operation and the sums of what comes in and goes out."""
    rule = gradient if rule is None else rule

    def noted(operation, inputs, cotangent):
        given = rule(operation, inputs, cotangent)
        out = sum(one.sum() for one in given[: operation.activations])
        records.append((operation.kind, cotangent.sum(), out))
        return given

    return noted


@pytest.mark.parametrize(
    ("name", "composite"),
    [
        *itertools.product(["vgg16", "resnet50"], COMPOSITES),
        ("vgg_f", "epsilon_alpha2_beta1_flat"),
    ],
)
def test_every_operation_conserves_relevance(name, composite):
    apply, params, images = network(name)
    composite = COMPOSITES[composite]
    kinds = []

    @QUICKLY
    def sums(params):
        records = []
        noting = {kind: recording(rule, records) for kind, rule in composite.operations.items()}
        first = composite.first and (composite.first[0], recording(composite.first[1], records))
        noted = dataclasses.replace(composite, operations=noting, first=first)
        ruled = with_rules(apply, noted)
        logits, pull = jax.vjp(lambda images: ruled(params, images), images[:1])
        start = jnp.zeros_like(logits).at[0, 3].set(logits[0, 3])
        (relevance,) = pull(start)
        kinds[:] = [kind for kind, _, _ in records]
        return start.sum(), relevance.sum(), [(into, out) for _, into, out in records]

    start, end, pairs = sums(params)
    present = {"vgg16": ("conv", "max_pool"), "resnet50": ("add", "average_pool")}
    for kind in present.get(name, ("local_response_norm", "dense")):
        assert kind in kinds
    assert kinds.count("conv") == {"vgg16": 13, "resnet50": 20, "vgg_f": 5}[name]
    for kind, (into, out) in zip(kinds, pairs, strict=True):
        assert abs(out - into) <= 1e-3 * abs(into), kind
    assert start
    assert abs(end - start) <= 1e-3 * abs(start)


RESNET_CUTS = r"(conv1|bn1|relu1|maxpool|avgpool|logits|layer\d\.\d+)"


@pytest.mark.parametrize(
    ("name", "composite", "full_cuts"),
    [
        ("vgg16", "epsilon_alpha2_beta1_flat", r".*"),
        ("resnet50", "epsilon_plus_flat", RESNET_CUTS),
    ],
)
def test_sums_are_the_start_wherever_all_of_the_signal_passes(name, composite, full_cuts):
    apply, params, images = network(name)
    composite = COMPOSITES[composite]
    result = explain(apply, params, images, logit(), [3, 8], composite=composite)
    assert list(result.sums) == list(taps(apply, params, images))
    assert result.start.shape == (2, 2)
    logits = apply(params, images)[:, jnp.array([3, 8])].T
    np.testing.assert_allclose(result.start, logits, rtol=1e-4)
    passed = [layer for layer in result.sums if re.fullmatch(full_cuts, layer)]
    assert len(passed) > 9
    for layer in passed:
        np.testing.assert_allclose(result.sums[layer], result.start, rtol=1e-3, err_msg=layer)
        assert (result.conservation[layer] <= 1e-3).all()
    np.testing.assert_allclose(result.images.sum((2, 3, 4)), result.start, rtol=1e-3)
    assert (result.conservation["images"] <= 1e-3).all()


def test_epsilon_without_biases_is_gradient_times_input():
    apply, params, images = network("vgg16")
    with jax.enable_x64(True):
        params = {name: np.asarray(value, np.float64) for name, value in params.items()}
        images = jnp.asarray(images, jnp.float64)
        composite = epsilon_everywhere(1e-14)
        result = explain(apply, params, images, logit(), [3], composite=composite)
        gradients = QUICKLY(jax.grad(lambda images: apply(params, images)[:, 3].sum()))(images)
        expected = np.asarray(images * gradients)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(result.images[0], expected, atol=1e-8 * np.abs(expected).max())


def convolve(x, weight):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=numbers)


def small(params, images):
    """Two convolutions, a sum, an average and a dense layer."""
    x = tap(jax.nn.relu(convolve(images, params["first"]) + params["bias"]), "relu1")
    x = tap(x + convolve(x, params["second"]), "block")
    return tap(x.mean((1, 2)) @ params["dense"], "logits")


@pytest.fixture
def small_case():
    random = np.random.default_rng(2)
    shapes = {"first": (3, 3, 3, 4), "bias": (4,), "second": (3, 3, 4, 4), "dense": (4, 5)}
    params = {
        name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()
    }
    return params, random.normal(size=(2, 6, 6, 3)).astype(np.float32)


LOWEST, HIGHEST = np.array([-3.0, -3.5, -4.0]), np.array([3.0, 3.5, 4.0])


@pytest.mark.parametrize(
    ("composite", "first", "second", "dense"),
    [
        (epsilon_everywhere(0.1), rules.epsilon(0.1), rules.epsilon(0.1), rules.epsilon(0.1)),
        (epsilon_plus_flat(0.1), rules.flat(), rules.z_plus(), rules.epsilon(0.1)),
        (epsilon_alpha2_beta1_flat(), rules.flat(), rules.alpha_beta(2, 1), rules.epsilon()),
        (
            epsilon_gamma_box(LOWEST, HIGHEST, gamma=0.5),
            rules.z_box(LOWEST, HIGHEST),
            rules.gamma(0.5),
            rules.epsilon(),
        ),
    ],
    ids=COMPOSITES,
)
def test_composite_is_its_rules_one_after_the_other(small_case, composite, first, second, dense):
    params, images = small_case
    convolution = Operation("conv", convolve)
    biased = Operation("conv", lambda x, w, b: convolve(x, w) + b)
    average = Operation("average_pool", lambda x: x.mean((1, 2)))

    @QUICKLY
    def by_hand(params, images):
        relu = jax.nn.relu(convolve(images, params["first"]) + params["bias"])
        block = relu + convolve(relu, params["second"])
        means = block.mean((1, 2))
        at_logits = means @ params["dense"] * (jnp.arange(5) == 2)
        at_means, _ = dense(Operation("dense", jnp.matmul), (means, params["dense"]), at_logits)
        (at_block,) = rules.norm()(average, (block,), at_means)
        parts = (relu, block - relu)
        skipped, through = rules.norm()(Operation("add", jnp.add, activations=2), parts, at_block)
        at_relu = skipped + second(convolution, (relu, params["second"]), through)[0]
        return at_relu, first(biased, (images, params["first"], params["bias"]), at_relu)[0]

    at_relu, expected = by_hand(params, images)
    result = explain(small, params, images, logit(), [2], composite=composite, layers=["relu1"])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result.images[0], expected, atol=1e-4 * scale)
    np.testing.assert_allclose(
        result.layers["relu1"][0], at_relu, atol=1e-4 * np.abs(at_relu).max()
    )
    np.testing.assert_allclose(result.sums["relu1"][0], at_relu.sum((1, 2, 3)), rtol=1e-3)


def test_targets_together_are_the_targets_one_by_one(small_case):
    params, images = small_case
    together = explain(small, params, images, logit(), [[0, 1], [4, 4]])
    for number, targets in enumerate([[0, 1], [4, 4]]):
        alone = explain(small, params, images, logit(), [targets])
        np.testing.assert_allclose(together.images[number], alone.images[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(together.start[number], alone.start[0], rtol=1e-5)


def test_a_map_as_the_seed_starts_with_itself_and_ends_below(small_case):
    params, images = small_case
    result = explain(small, params, images, kernel_map("relu1"), [1, 3], layers=["relu1"])
    maps = jax.nn.relu(convolve(images, params["first"]) + params["bias"])
    assert list(result.sums) == ["relu1"]
    for number, kernel in enumerate([1, 3]):
        expected = jnp.where(jnp.arange(4) == kernel, maps, 0)
        np.testing.assert_allclose(result.layers["relu1"][number], expected, atol=1e-5)
        np.testing.assert_allclose(result.start[number], expected.sum((1, 2, 3)), rtol=1e-5)
    assert result.images.shape == (2, *images.shape)


def test_in_a_scan_sums_are_one_for_each_step(small_case):
    params, images = small_case

    def looped(params, images):
        x = jax.nn.relu(convolve(images, params["first"]))

        def step(x, weight):
            return tap(jax.nn.relu(convolve(x, weight)), "step"), None

        x, _ = jax.lax.scan(step, x, jnp.stack([params["second"], params["second"][::-1]]))
        return x.mean((1, 2)) @ params["dense"]

    result = explain(looped, params, images, logit(), [0, 1, 2], layers=["step"])
    assert result.layers["step"].shape == (3, 2, 2, 6, 6, 4)
    assert result.sums["step"].shape == result.conservation["step"].shape == (3, 2, 2)
    expected = np.broadcast_to(result.start[:, None], (3, 2, 2))
    np.testing.assert_allclose(result.sums["step"], expected, rtol=1e-3)


def with_tanh(params, images):
    return jnp.tanh(convolve(images, params["first"])).mean((1, 2)) @ params["dense"]


def test_an_operation_without_a_rule_is_named_with_what_can_be_done(small_case):
    params, images = small_case
    with pytest.raises(RuleError, match=r"tanh.*`others`"):
        lrp(with_tanh, params, images, logit(), [0])
    for others in (rules.pass_on(), rules.epsilon()):
        result = explain(
            with_tanh, params, images, logit(), [0], composite=epsilon_plus_flat(others=others)
        )
        assert result.conservation["images"].shape == (1, 2)
        assert jnp.isfinite(result.images).all()
        assert result.images.any()


@pytest.mark.parametrize(
    ("seed", "targets", "layers", "error", "words"),
    [
        (logit(), [5], [], UserError, "5 is out of range"),
        (logit(), [0], ["relu2"], UnknownTapError, "relu2.*relu1"),
        (kernel_map("relu2"), [0], [], UnknownTapError, "relu2.*relu1"),
        (kernel_map("relu1"), [0], ["block"], UserError, "'relu1' does not depend on .* 'block'"),
        (Seed(None, lambda values, target: values.sum()), [0], [], UserError, "one number"),
    ],
)
def test_bad_input_is_explained(small_case, seed, targets, layers, error, words):
    with pytest.raises(error, match=words):
        lrp(small, *small_case, seed, targets, layers=layers)
