"""PyTorch's side of `jaxinterp bench` is the same method: losses, gradients, steps."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from command_line import runner

import jaxinterp
from jaxinterp.bench import CASES, BenchSettings
from jaxinterp.bench.ours import JaxSearch
from jaxinterp.bench.problems import Problem, ProblemPlan
from jaxinterp.bench.pytorch import TorchSearch, Variant, flops_of, torch_device, torch_features
from jaxinterp.bench.pytorch.search import PlateauRate
from jaxinterp.bench.variants import contestants
from jaxinterp.errors import UserError
from jaxinterp.losses.suppression import suppression_reference
from jaxinterp.methods import suppression
from jaxinterp.methods.suppression import SuppressionSettings, layer_maps, suppression_task
from jaxinterp.models.describe import describe_classifier
from jaxinterp.models.folding import fold_batch_norm
from jaxinterp.models.parameters import Blueprint, initial_parameters
from jaxinterp.models.preprocess import CIFAR10
from jaxinterp.models.resnet import ResNet, ResNetPlan
from jaxinterp.models.vgg import VGG
from jaxinterp.optimize import find_recipe

pytestmark = pytest.mark.parity

NETWORKS = {
    "VGG": lambda: VGG(((8,), (12,)), batch_norm=False, classes=3, hidden=(), grid=1),
    "VGG with batch norm": lambda: VGG(
        ((8,), (12,)), batch_norm=True, classes=3, hidden=(), grid=1
    ),
    "ResNet": lambda: ResNet(ResNetPlan((1, 2), bottleneck=False, width=8), classes=3),
    "bottlenecks": lambda: ResNet(ResNetPlan((1, 1), width=8, group_width=8), classes=3),
    "groups": lambda: ResNet(ResNetPlan((1, 1), width=8, groups=4, group_width=4), classes=3),
}
LAYERS = {"VGG": "relu2_1", "ResNet": "layer2.1", "built-in": "relu2_2"}
VARIANTS = [Variant(channels_last=True), Variant(channels_last=False)]
SIZE, LANES = 24, 3


def random_network(name):
    """Random weights, and a batch norm that is not the identity."""
    if name == "built-in":
        return jaxinterp.load("vgg_cifar10")
    blueprint, random = Blueprint(NETWORKS[name]), np.random.default_rng(0)
    params = {
        key: value if value.ndim > 1 else value + random.uniform(0, 0.5, value.shape)
        for key, value in initial_parameters(blueprint, seed=0).items()
    }
    return jaxinterp.Network(
        name,
        blueprint.apply,
        {key: jnp.asarray(value, jnp.float32) for key, value in params.items()},
        CIFAR10,
        describe_classifier(blueprint, CIFAR10),
        blueprint=blueprint,
    )


@functools.cache
def problem_of(name):
    """On noise, the most active kernels: a silent one takes no step here, and does in PyTorch."""
    network, layer = random_network(name), LAYERS[name]
    images = np.random.default_rng(1).uniform(size=(LANES, SIZE, SIZE, 3)).astype(np.float32)
    maps = jax.jit(layer_maps(network, layer))(network.params, network.preprocess(images))
    kernels = np.argsort(-np.asarray(maps).mean((0, 1, 2)))[:LANES].astype(np.int32)
    return Problem(ProblemPlan(name, layer, SIZE, LANES, 5), network, images, kernels, 5)


@pytest.fixture
def small():
    return problem_of("VGG")


def torch_search(problem, settings, **options):
    features = torch_features(problem.network, problem.plan.layer)
    return TorchSearch(
        features, problem.network, problem.images, problem.kernels, settings, **options
    )


def away(problem):
    """Inputs that are not the original: there the preservation term has a kink."""
    noise = np.random.default_rng(0).normal(0, 0.3, problem.images.shape)
    return (0.7 * np.asarray(problem.network.preprocess(problem.images)) + noise).astype(np.float32)


@pytest.fixture
def our_lanes(monkeypatch):
    """A function that gives the method's lanes, what they share and their reference.

    The maps are computed with weights of any type: those that a stream prepares are float32.
    """

    def lanes(problem, settings, dtype):
        network, layer = problem.network, problem.plan.layer
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), network.params)
        maps = layer_maps(network, layer)
        monkeypatch.setattr(suppression, "frozen_maps", lambda *_: (params, maps))
        size = problem.images.shape[1:3]
        task, shared, _ = suppression_task(network, layer, settings, size=size, lanes=LANES)
        assert shared["prepared"] is params
        originals = jnp.asarray(network.preprocess(problem.images), dtype)
        before = jax.jit(maps)(params, originals)
        reference = jax.jit(suppression_reference)(before, jnp.asarray(problem.kernels))
        return task.lanes, shared, reference

    return lanes


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("VGG", {}),
        ("VGG", {"normalization": "paper"}),
        ("VGG", {"optimizer": "adam", "smoothing": 0.7}),
        ("built-in", {"optimizer": "paper"}),
    ],
)
def test_losses_and_gradients_are_equal(name, options, our_lanes):
    """The gradients are those that are followed: smoothed, and without the L1 term if its step is
    exact."""
    problem = problem_of(name)
    settings = SuppressionSettings(bounded=False, **options)
    start = away(problem)
    lanes, shared, reference = our_lanes(problem, settings, jnp.float32)

    def total(inputs):
        losses, _ = lanes.objective(shared, inputs, reference)
        return losses.sum(), losses

    own_gradient, own_losses = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(start))
    for variant in VARIANTS:
        search = torch_search(problem, settings, variant=variant, start=start)
        losses, gradient = search.gradient()
        np.testing.assert_allclose(losses, own_losses, rtol=1e-5)
        assert np.abs(gradient - own_gradient).max() <= 1e-5 * np.abs(own_gradient).max()


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        *[("VGG", "adam"), ("VGG", "paper"), ("VGG", "relative")],
        ("ResNet", "relative"),
    ],
)
def test_twenty_steps_are_equal(name, optimizer, our_lanes):
    """In float64: in float32 a ReLU near zero switches, and Adam makes much of it."""
    problem = problem_of(name)
    settings = SuppressionSettings(optimizer=optimizer, steps=20)
    # The folded network on both sides: folding rounds the weights to float32.
    problem = dataclasses.replace(problem, network=fold_batch_norm(problem.network))
    start = away(problem)
    theirs = torch_search(problem, settings, start=start, dtype=torch.float64, segment=20)
    theirs.advance(1)
    with jax.enable_x64(True):
        lanes, shared, reference = our_lanes(problem, settings, jnp.float64)
        state, trace = lanes.start(jnp.asarray(start, jnp.float64), reference), []
        step = jax.jit(lanes.step)
        for _ in range(20):
            state, values = step(shared, state)
            trace.append(np.asarray(values["loss"]))
        np.testing.assert_allclose(theirs.losses, trace, rtol=1e-5)
        assert np.abs(theirs.inputs - state.inputs).max() <= 1e-5 * np.abs(state.inputs).max()
        best = np.asarray(state.best_inputs)
    assert np.abs(theirs.best_inputs - best).max() <= 1e-5 * np.abs(best).max()


def test_a_difference_that_is_rounding_is_none_in_both(small, our_lanes):
    """Next to the original, where the norm's gradient would be a unit vector."""
    settings = SuppressionSettings(optimizer="adam", bounded=False)
    noise = np.random.default_rng(0).normal(size=small.images.shape)
    start = np.asarray(small.network.preprocess(small.images)) + 1e-8 * noise
    theirs = torch_search(small, settings, start=start, dtype=torch.float64)
    losses, gradient = theirs.gradient()
    own_maps, kept = theirs._maps(theirs._start), theirs._selected
    difference = own_maps[theirs._lanes, theirs._kernels] - kept
    assert (difference.abs().amax((1, 2)) > 0).all()
    with jax.enable_x64(True):
        lanes, shared, reference = our_lanes(small, settings, jnp.float64)

        def total(inputs):
            losses, terms = lanes.objective(shared, inputs, reference)
            return losses.sum(), (losses, terms["preservation"])

        own, (own_losses, preservation) = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(start))
        assert not preservation.any()
        np.testing.assert_allclose(losses, own_losses, rtol=1e-7)
        assert np.abs(gradient - own).max() <= 1e-6 * np.abs(own).max()


def test_rates_are_halved_lane_by_lane():
    """The paper's recipe past plateaus, against optax, by losses that the lanes are told."""
    losses = np.random.default_rng(0).uniform(1, 2, (200, 3))
    losses[:, 0] = np.linspace(9, 1, 200)  # falls to the end: its rate stays
    losses[100:, 1] -= 1  # falls once
    optimizer = find_recipe("paper", rate=8.0).optimizer()
    update = jax.jit(jax.vmap(lambda s, v: optimizer.update(jnp.ones(()), s, None, value=v)))
    state, rate = (
        jax.vmap(optimizer.init)(jnp.ones(3)),
        PlateauRate(8.0, torch.full((3,), torch.inf)),
    )
    seen = set()
    for values in losses.astype(np.float32):
        updates, state = update(state, jnp.asarray(values))
        rate.see(torch.tensor(values))
        np.testing.assert_array_equal(rate.rates.numpy(), -np.asarray(updates))
        seen.add(tuple(rate.rates.tolist()))
    assert seen > {(8.0, 8.0, 8.0)}
    assert rate.rates[0] == 8.0
    assert rate.rates[1] < 8.0


def test_both_run_the_same_problem_from_its_start(small):
    """What is timed: the first loss, where rounding has not yet been amplified."""
    problem = small
    settings = SuppressionSettings(steps=10**6)
    ours = JaxSearch(problem, settings)
    theirs = torch_search(problem, settings, segment=problem.segment)
    for search in (ours, theirs):
        search.advance(2)
    assert ours.losses.shape == theirs.losses.shape == (10, LANES)
    np.testing.assert_allclose(ours.losses[0], theirs.losses[0], rtol=1e-5)
    low, high = problem.network.preprocess.bounds(ours.inputs)
    for search in (ours, theirs):
        assert (search.inputs >= low - 1e-6).all()
        assert (search.inputs <= high + 1e-6).all()
        assert search.losses[1:].min() > 0
        search.restart()
        search.advance(1)
    np.testing.assert_allclose(ours.losses[0], theirs.losses[0], rtol=1e-5)


def test_lower_precision_is_near(small):
    problem = small
    settings = SuppressionSettings(steps=10**6)
    ours = JaxSearch(problem, settings, precision="bfloat16")
    variant = Variant(precision="bfloat16")
    theirs = torch_search(problem, settings, variant=variant, start=away(problem))
    exact = torch_search(problem, settings, start=away(problem))
    own = JaxSearch(problem, settings)
    for search in (ours, own, theirs, exact):
        search.advance(1)
    assert ours._state.inputs.dtype == jnp.float32
    assert np.isfinite(ours.losses).all()
    np.testing.assert_allclose(theirs.losses[0], exact.losses[0], rtol=0.05)
    # The same gradient is followed: both searches have come about as far.
    assert np.abs(own.losses[-1] / own.losses[0] - 1).min() > 0.05
    np.testing.assert_allclose(ours.losses, own.losses, rtol=0.01)


TWINS = {
    "VGG": ("conv1_1", "relu1_1", "pool1"),
    "VGG with batch norm": ("bn1_1", "relu1_1", "pool1", "bn2_1", "relu2_1"),
    "ResNet": ("bn1", "relu1", "maxpool", "layer1.0.relu1", "layer1.0", "layer2.0", "layer2.1"),
    "bottlenecks": ("layer1.0.relu1", "layer1.0.relu2", "layer1.0", "layer2.0"),
    "groups": ("layer1.0.relu2", "layer2.0"),
}


@pytest.mark.parametrize("name", TWINS)
def test_every_layer_that_has_a_twin_is_equal(name):
    network = random_network(name)
    images = np.random.default_rng(0).uniform(size=(1, 32, 32, 3)).astype(np.float32)
    inputs = np.array(network.preprocess(images))
    taps = jax.jit(jaxinterp.capture(network.apply, TWINS[name]))(network.params, inputs)
    for layer in TWINS[name]:
        maps = torch_features(network, layer)(torch.tensor(inputs.transpose(0, 3, 1, 2)))
        theirs, ours = maps.permute(0, 2, 3, 1).numpy(), np.asarray(taps[layer])
        assert np.abs(theirs - ours).max() <= 1e-5 * np.abs(ours).max(), layer


def test_what_has_no_twin_is_refused():
    with pytest.raises(UserError, match="only VGG and ResNet"):
        torch_features(jaxinterp.load("mnist", weights="random"), "relu1")
    network = random_network("ResNet")
    with pytest.raises(UserError, match=r"layer1\.0\.relu1"):
        torch_features(network, "layer1.0.bn1")
    with pytest.raises(UserError, match="JAX_PLATFORMS"):
        torch_device("tpu")


def test_operations_by_hand(small):
    features = torch_features(small.network, "relu2_1")
    first, second = 2 * 9 * 3 * 8 * 16 * 16, 2 * 9 * 8 * 12 * 8 * 8
    # Forward, and as much again for the gradient of each convolution's input.
    assert flops_of(features, (5, 3, 16, 16)) == 5 * 2 * (first + second)


def test_a_recipe_that_pytorch_has_not_is_refused(small):
    search = torch_search(small, SuppressionSettings())
    with pytest.raises(ValueError, match="adam, relative, paper"):
        search.use(types.SimpleNamespace(optimizer="another"))


def test_a_variant_that_cannot_be_compiled_is_left_out_with_a_note(small, monkeypatch):
    def compile(function, **options):
        def fails(*arguments):
            raise RuntimeError("no compiler\nand more")

        return fails

    monkeypatch.setattr(torch, "compile", compile)
    said = []
    found = contestants(small, SuppressionSettings(steps=99), BenchSettings(), said.append)
    assert list(found.searches) == ["JAX", "torch NCHW", "torch channels_last"]
    assert len(found.notes) == 2
    assert all("no compiler" in note and "and more" not in note for note in found.notes)
    assert set(found.notes) <= set(said)


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case.compares])
def test_cases_run_and_write_their_section(case, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    path = tmp_path / "results.md"
    ended = runner(capfd, "bench")(case, "--quick", "--no-compiled", "--write", path)
    assert ended.code == 0, ended.err
    assert CASES[case].title in ended.out
    text = path.read_text()
    assert text.count("<!-- bench:") == 1
    assert "| JAX" in text if case != "equal-loss" else "| same optimiser" in text
