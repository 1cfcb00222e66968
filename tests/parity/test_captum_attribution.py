"""Gradients and path attributions against Captum, on VGG, AlexNet and ResNet, in float64."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from jaxinterp.attribution import (
    conductance,
    deconvnet,
    grad_cam,
    gradient,
    guided_backprop,
    integrated_gradients,
    layer_integrated_gradients,
    logit,
)
from jaxinterp.attribution.quadrature import quadrature
from jaxinterp.models.alexnet import AlexNet
from jaxinterp.models.resnet import RESNETS, ResNet
from jaxinterp.models.vgg import VGG, VGG_BLOCKS

torch = pytest.importorskip("torch", reason="needs PyTorch: run `make parity`")
attr = pytest.importorskip("captum.attr", reason="needs Captum: run `make parity`")
approximation_methods = pytest.importorskip("captum.attr._utils.approximation_methods")

from thin_pairs import folded_pair  # noqa: E402
from torch_comparison import channels_first, channels_last  # noqa: E402

pytestmark = pytest.mark.parity

CLASSES, TARGETS, STEPS, BASELINE, TOLERANCE = 11, [3, 7], 4, 0.25, 1e-6

# Captum's name of each method of integration.
METHODS = {
    "gauss_legendre": "gausslegendre",
    "riemann_left": "riemann_left",
    "riemann_right": "riemann_right",
    "riemann_middle": "riemann_middle",
    "riemann_trapezoid": "riemann_trapezoid",
}

THIN = dataclasses.replace(RESNETS["resnet18"], width=8, group_width=8)
THIN_BLOCKS = [[width // 8 for width in block] for block in VGG_BLOCKS["vgg11"]]
# An eighth as wide as published; the images' side; layers to look at, the last one with maps. In
# the ResNet values skip around the middle ones.
NETWORKS = {
    "vgg11": (
        functools.partial(VGG, THIN_BLOCKS, batch_norm=False, hidden=(512, 512)),
        32,
        ["conv1_1", "pool2", "relu5_2"],
    ),
    "alexnet": (
        functools.partial(AlexNet, widths=(8, 24, 48, 32, 32), hidden=512),
        67,
        ["relu1", "conv3", "relu5"],
    ),
    "resnet18": (
        functools.partial(ResNet, THIN),
        33,
        ["relu1", "layer2.0.relu1", "layer3.1"],
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def case(request, tmp_path_factory):
    """PyTorch's network, its layers, ours and its parameters, two images; all in float64."""
    construct, side, layers = NETWORKS[request.param]
    folder = tmp_path_factory.mktemp("weights")
    theirs, found, ours = folded_pair(request.param, construct, CLASSES, layers, folder)
    images = np.random.default_rng(1).normal(size=(2, side, side, 3))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield theirs.double(), found, ours, images
    torch.set_num_threads(threads)


def attribute(method, ours, images, /, *layers, **options):
    """Ours for every target, jitted without optimising, which takes longer than running."""
    with jax.enable_x64(True):
        explain = jax.jit(
            lambda params, images: method(
                ours.apply, params, images, logit(), TARGETS, *layers, **options
            ),
            compiler_options={"xla_backend_optimization_level": 0},
        )
        return jax.tree.map(np.asarray, explain(ours.params, images))


def compare(found, expected, name):
    """found: [t, n, ...]; expected: Captum's tensor [n, ...] for each target."""
    for row, tensor in zip(found, expected, strict=True):
        array = channels_last(tensor)
        largest = np.abs(array).max()
        assert row.dtype == array.dtype == np.float64
        assert largest > 0, name
        error = np.abs(row - array).max() / largest
        assert error <= TOLERANCE, f"{name}: {error:.1e} of the maximum"


@pytest.mark.parametrize(
    ("method", "theirs", "options"),
    [
        (gradient, "Saliency", {"abs": False}),
        (guided_backprop, "GuidedBackprop", {}),
        (deconvnet, "Deconvolution", {}),
    ],
    ids=["saliency", "guided_backprop", "deconvnet"],
)
def test_gradients_equal_captums(case, method, theirs, options):
    network, _, ours, images = case
    captums = getattr(attr, theirs)(network)
    expected = [
        captums.attribute(channels_first(images).requires_grad_(), target, **options)
        for target in TARGETS
    ]
    compare(attribute(method, ours, images), expected, theirs)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_steps", [2, 7, 50])
def test_points_and_weights_equal_captums(method, n_steps):
    weights, points = approximation_methods.approximation_parameters(METHODS[method])
    found = quadrature(method, n_steps)
    np.testing.assert_allclose(found, [points(n_steps), weights(n_steps)], rtol=1e-6, atol=1e-7)


def test_integrated_gradients_equal_captums(case):
    network, _, ours, images = case
    options = {"baselines": BASELINE, "n_steps": STEPS}
    captums = attr.IntegratedGradients(network)
    expected = [
        captums.attribute(
            channels_first(images), target=target, return_convergence_delta=True, **options
        )
        for target in TARGETS
    ]
    found = attribute(integrated_gradients, ours, images, **options)
    compare(found.attributions, [pair[0] for pair in expected], "integrated gradients")
    for row, (_, delta) in zip(found.delta, expected, strict=True):
        np.testing.assert_allclose(row, delta, rtol=1e-5, atol=1e-6)


def test_layer_integrated_gradients_equal_captums(case):
    network, layers, ours, images = case
    found = attribute(
        layer_integrated_gradients, ours, images, list(layers), baselines=BASELINE, n_steps=STEPS
    )
    for name, module in layers.items():
        captums = attr.LayerIntegratedGradients(network, module)
        expected = [
            captums.attribute(channels_first(images), BASELINE, target, n_steps=STEPS)
            for target in TARGETS
        ]
        compare(found.attributions[name], expected, name)


def test_conductance_by_differences_equals_captums(case):
    network, layers, ours, images = case
    options = {"baselines": BASELINE, "n_steps": STEPS}
    found = attribute(conductance, ours, images, list(layers), derivative="difference", **options)
    for name, module in layers.items():
        captums = attr.LayerConductance(network, module)
        expected = [
            captums.attribute(
                channels_first(images), target=target, return_convergence_delta=True, **options
            )
            for target in TARGETS
        ]
        compare(found.attributions[name], [pair[0] for pair in expected], name)
        for row, (_, delta) in zip(found.delta[name], expected, strict=True):
            np.testing.assert_allclose(row, delta, rtol=1e-5, atol=1e-6)


def test_grad_cam_equals_captums(case):
    network, layers, ours, images = case
    name, module = list(layers.items())[-1]
    captums = attr.LayerGradCam(network, module)
    expected = [
        captums.attribute(channels_first(images), target, relu_attributions=True)
        for target in TARGETS
    ]
    found = attribute(grad_cam, ours, images, name)
    compare(found[..., None], expected, name)
