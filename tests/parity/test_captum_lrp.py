"""LRP against Captum, on networks without sums of two branches, where Captum's needs no changes."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from jaxinterp.attribution import logit
from jaxinterp.attribution.lrp import epsilon_everywhere, lrp, rules
from jaxinterp.models.alexnet import AlexNet
from jaxinterp.models.vgg import VGG, VGG_BLOCKS

torch = pytest.importorskip("torch", reason="needs PyTorch: run `make parity`")
attr = pytest.importorskip("captum.attr", reason="needs Captum: run `make parity`")
captum_rules = pytest.importorskip("captum.attr._utils.lrp_rules")

from thin_pairs import thin_pair  # noqa: E402
from torch_comparison import channels_first, channels_last  # noqa: E402

pytestmark = pytest.mark.parity

CLASSES, TARGET, EPSILON, GAMMA = 11, 3, 1e-9, 0.25

THIN_BLOCKS = [[width // 8 for width in block] for block in VGG_BLOCKS["vgg16"]]
# An eighth as wide as published, and the images' side.
NETWORKS = {
    "vgg16": (functools.partial(VGG, THIN_BLOCKS, batch_norm=False, hidden=(512, 512)), 64),
    "alexnet": (functools.partial(AlexNet, widths=(8, 24, 48, 32, 32), hidden=512), 97),
}

# Our rule for the convolutions but the first, and Captum's.
RULES = {
    "epsilon": (rules.epsilon(EPSILON), lambda: captum_rules.EpsilonRule(EPSILON)),
    "gamma": (rules.gamma(GAMMA), lambda: captum_rules.GammaRule(GAMMA)),
    "z_plus": (rules.z_plus(), captum_rules.Alpha1_Beta0_Rule),
}


def convolutions(network):
    return [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, tmp_path_factory):
    """PyTorch's network in float64; ours and its parameters; two images."""
    construct, side = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp("weights")

    def without_biases(network):
        for layer in convolutions(network)[1:]:
            layer.bias.zero_()  # Captum's gamma and z+ leave a negative bias in the denominator

    theirs, ours = thin_pair(request.param, construct, CLASSES, folder, prepare=without_biases)
    params = {name: np.asarray(value, np.float64) for name, value in ours.params.items()}
    images = np.random.default_rng(1).normal(size=(2, side, side, 3))
    return theirs.double(), ours.apply, params, images


@pytest.mark.parametrize(("rule", "make"), RULES.values(), ids=RULES)
def test_relevance_equals_captums(case, rule, make):
    theirs, apply, params, images = case
    for layer in theirs.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.rule = captum_rules.EpsilonRule(EPSILON)
    for layer in convolutions(theirs)[1:]:
        layer.rule = make()
    pictures = channels_first(images).requires_grad_()
    expected = channels_last(attr.LRP(theirs).attribute(pictures, target=TARGET))

    plain = epsilon_everywhere(EPSILON)
    chosen = {"conv": rule, "average_pool": rules.epsilon(EPSILON)}
    composite = dataclasses.replace(
        plain,
        operations={**plain.operations, **chosen},
        first=(("conv",), rules.epsilon(EPSILON)),
    )
    with jax.enable_x64(True):
        explain = jax.jit(
            lambda params, images: lrp(
                apply, params, images, logit(), [TARGET], composite=composite
            ),
            compiler_options={"xla_backend_optimization_level": 0},
        )
        result = explain(params, images)
    actual = np.asarray(result.images[0])
    assert actual.dtype == expected.dtype == np.float64
    error = np.abs(actual - expected).max() / np.abs(expected).max()
    # The stabilisers differ: Captum has one at max pools, and our z+ and gamma rules a larger one.
    assert error <= 1e-5, f"relative error {error:.1e}"
