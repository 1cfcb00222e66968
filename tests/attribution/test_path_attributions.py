"""Integrated gradients, of images and of layers, and conductance."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import (
    CLASSES,
    SIDE,
    chain,
    linear,
    make_images,
    make_params,
    skipping,
    smooth_chain,
)

from jaxinterp.attribution import (
    conductance,
    integrated_gradients,
    kernel_sum,
    layer_integrated_gradients,
    logit,
    probability,
)
from jaxinterp.attribution.quadrature import METHODS, quadrature
from jaxinterp.errors import UserError
from jaxinterp.transform import UnknownTapError, capture, tail, tap

PARAMS, IMAGES = make_params(), make_images()
LAYERS = ["relu1", "pool1", "relu2"]


def total(attributions):
    return np.asarray(attributions).sum(tuple(range(2, attributions.ndim)))


@pytest.mark.parametrize("n_steps", [1, 2, 5])
@pytest.mark.parametrize(("method", "factor"), [("", 2), ("_squared", 1)])
def test_gauss_legendre_is_exact_for_polynomials(method, factor, n_steps):
    points, weights = quadrature(f"gauss_legendre{method}", n_steps)
    degrees = factor * n_steps
    for degree in range(degrees):
        assert weights @ points**degree == pytest.approx(1 / (degree + 1))
    assert weights @ points**degrees != pytest.approx(1 / (degrees + 1))


@pytest.mark.parametrize("method", METHODS)
def test_methods_integrate_and_reach_their_ends(method):
    points, weights = quadrature(method, 400)
    assert weights @ np.exp(points) == pytest.approx(np.e - 1, rel=5e-3)
    assert (np.diff(points) > 0).all()
    points, _ = quadrature(method, 5)
    reached = {"riemann_left": (1, 0), "riemann_right": (0, 1), "riemann_trapezoid": (1, 1)}
    assert (points[0] == 0, points[-1] == 1) == reached.get(method, (0, 0))


@pytest.mark.parametrize("method", METHODS[:-1])
@pytest.mark.parametrize("baselines", [0.0, 0.5, IMAGES[::-1, :1]], ids=["zero", "grey", "array"])
def test_a_linear_network_is_attributed_exactly_with_one_step(method, baselines):
    found = integrated_gradients(
        linear, PARAMS, IMAGES, logit(), [0, 2], baselines=baselines, n_steps=1, method=method
    )
    slope = jax.jacobian(lambda x: linear(PARAMS, x[None])[0])(IMAGES[0])
    expected = slope[jnp.array([0, 2]), None] * (IMAGES - baselines)
    np.testing.assert_allclose(found.attributions, expected, atol=1e-5)
    np.testing.assert_allclose(found.delta, 0, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_integrated_gradients_equal_a_plain_loop(method):
    """Also the delta's sign: with few steps it is far from zero."""
    targets, baseline = [1, 4], 0.25
    found = integrated_gradients(
        chain, PARAMS, IMAGES, logit(), targets, baselines=baseline, n_steps=3, method=method
    )
    gradient = jax.jit(jax.grad(lambda x, k: chain(PARAMS, x)[:, k].sum()))
    for row, target in enumerate(targets):
        mean = 0
        for alpha, weight in zip(*quadrature(method, 3), strict=True):
            point = np.float32(baseline) + np.float32(alpha) * (IMAGES - np.float32(baseline))
            mean = mean + weight * gradient(point, target)
        expected = np.asarray(mean * (IMAGES - baseline))
        np.testing.assert_allclose(found.attributions[row], expected, rtol=1e-4, atol=1e-5)
        scores = chain(PARAMS, IMAGES)[:, target]
        baselines = chain(PARAMS, np.full_like(IMAGES, baseline))[:, target]
        np.testing.assert_allclose(found.score[row], scores, rtol=1e-5)
        np.testing.assert_allclose(found.baseline_score[row], baselines, rtol=1e-5)
        delta = expected.sum((1, 2, 3)) - (scores - baselines)
        np.testing.assert_allclose(found.delta[row], delta, atol=1e-4)
        assert np.abs(delta).max() > 1e-2


@functools.cache
def attributions_of(method):
    """A method as a function of its micro-batch and of params and images."""
    call = {
        "images": functools.partial(integrated_gradients, smooth_chain),
        "layer": functools.partial(layer_integrated_gradients, smooth_chain, layers=["pool1"]),
        "exact": functools.partial(conductance, smooth_chain, layers=LAYERS),
        "difference": functools.partial(
            conductance, smooth_chain, layers=LAYERS, derivative="difference"
        ),
    }[method]
    targets = [3, 0, 2]
    return lambda params, images, **options: call(params, images, logit(), targets, **options)


PATHS = ["images", "layer", "exact", "difference"]


@pytest.mark.parametrize("method", PATHS)
def test_micro_batches_and_jit_change_nothing(method):
    images = make_images(3)
    call = functools.partial(attributions_of(method), n_steps=7)
    expected = call(PARAMS, images)
    found = call(PARAMS, images, batch_size=2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), found, expected)
    traced = jax.jit(functools.partial(call, batch_size=55))(PARAMS, images)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), traced, expected)


@pytest.mark.parametrize("method", PATHS)
def test_attributions_are_complete_where_everything_passes_through(method):
    with jax.enable_x64(True):
        params, images = make_params(np.float64), make_images(2, np.float64)
        steps = 2000 if method == "difference" else 20
        options = {"method": "riemann_trapezoid"} if method == "difference" else {}
        found = attributions_of(method)(params, images, n_steps=steps, **options)
    change = smooth_chain(params, images) - smooth_chain(params, 0 * images)
    change = np.asarray(change).T[np.array([3, 0, 2])]
    parts = found.attributions if method != "images" else {"images": found.attributions}
    deltas = found.delta if method != "images" else {"images": found.delta}
    for name, attributions in parts.items():
        assert attributions.dtype == np.float64
        # One kink is left: the maximum of pooling.
        np.testing.assert_allclose(total(attributions), change, atol=2e-2 * np.abs(change).max())
        np.testing.assert_allclose(deltas[name], total(attributions) - change, atol=1e-3)


def test_layer_integrated_gradients_are_those_of_the_tail():
    layers = ["relu1", "relu2"]
    found = layer_integrated_gradients(chain, PARAMS, IMAGES, logit(), [1], layers, n_steps=4)
    for name in layers:
        above = tail(chain, name, PARAMS, IMAGES)
        start = capture(chain, [name])(PARAMS, 0 * IMAGES)[name]
        gradient = jax.jit(jax.grad(lambda values, above=above: above.fn(values)[:, 1].sum()))
        mean = sum(
            weight * gradient(start + alpha * (above.value - start))
            for alpha, weight in zip(*quadrature("gauss_legendre", 4), strict=True)
        )
        expected = mean * (above.value - start)
        np.testing.assert_allclose(found.attributions[name][0], expected, atol=1e-5)


def test_what_skips_around_a_layer_keeps_the_images_own_values():
    found = layer_integrated_gradients(
        skipping, PARAMS, IMAGES, logit(), [1], ["relu1", "relu2", "sum"], n_steps=60
    )
    above = tail(skipping, "relu2", PARAMS, IMAGES)
    assert not above.full_cut
    start = capture(skipping, ["relu2"])(PARAMS, 0 * IMAGES)["relu2"]
    np.testing.assert_allclose(
        found.baseline_score["relu2"][0], above.fn(start)[:, 1], rtol=1e-5, atol=1e-6
    )
    blank = skipping(PARAMS, 0 * IMAGES)[:, 1]
    for name in ("relu1", "sum"):
        np.testing.assert_allclose(found.baseline_score[name][0], blank, atol=1e-6)
    change = np.abs(found.score - found.baseline_score["relu1"]).max()
    for delta in found.delta.values():
        np.testing.assert_allclose(delta, 0, atol=2e-2 * change)


def test_conductance_through_a_bypassed_layer_lacks_what_skips():
    layers = ["relu1", "relu2"]
    found = conductance(skipping, PARAMS, IMAGES, logit(), [1], layers, n_steps=60)
    change = np.abs(found.score - found.baseline_score["relu1"])
    assert (np.abs(found.delta["relu1"]) <= 2e-2 * change.max()).all()
    assert (np.abs(found.delta["relu2"]) > 0.1 * change).any()


def test_conductance_is_gradient_times_derivative_along_the_line():
    """By forward mode on a network without rules of its own."""

    def below(images):
        return capture(skipping, ["relu2"])(PARAMS, images)["relu2"]

    found = conductance(skipping, PARAMS, IMAGES, logit(), [1], ["relu2"], n_steps=3)
    expected = 0
    for alpha, weight in zip(*quadrature("gauss_legendre", 3), strict=True):
        point = np.float32(alpha) * IMAGES
        _, derivative = jax.jvp(below, (point,), (IMAGES,))
        above = tail(skipping, "relu2", PARAMS, point)
        gradient = jax.grad(lambda values, above=above: above.fn(values)[:, 1].sum())(above.value)
        expected = expected + weight * gradient * derivative
    np.testing.assert_allclose(found.attributions["relu2"][0], expected, atol=1e-5)


def test_differences_approach_the_exact_derivative():
    def error(n_steps):
        call = functools.partial(
            conductance, smooth_chain, PARAMS, IMAGES, logit(), [1], ["relu1"], n_steps=n_steps
        )
        exact, difference = call(), call(derivative="difference")
        gap = exact.attributions["relu1"] - difference.attributions["relu1"]
        return jnp.abs(gap).max() / jnp.abs(exact.attributions["relu1"]).max()

    assert error(80) < error(5) / 4


def test_layer_integrated_gradients_along_the_input_are_conductance():
    options = {"layers": LAYERS, "n_steps": 3, "derivative": "difference"}
    found = layer_integrated_gradients(chain, PARAMS, IMAGES, logit(), [1], path="input", **options)
    expected = conductance(chain, PARAMS, IMAGES, logit(), [1], **options)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_seeds_below_the_output_and_other_scores():
    seed = kernel_sum("relu2")
    change = capture(smooth_chain, ["relu2"])(PARAMS, IMAGES)["relu2"].sum((1, 2))
    blank = capture(smooth_chain, ["relu2"])(PARAMS, 0 * IMAGES)["relu2"].sum((1, 2))
    change = (change - blank)[:, 1]
    for found in (
        integrated_gradients(smooth_chain, PARAMS, IMAGES, seed, [1]).attributions,
        conductance(smooth_chain, PARAMS, IMAGES, seed, [1], ["relu1"]).attributions["relu1"],
        layer_integrated_gradients(smooth_chain, PARAMS, IMAGES, seed, [1], ["relu1"]).attributions[
            "relu1"
        ],
    ):
        np.testing.assert_allclose(total(found)[0], change, rtol=2e-2, atol=0.1)
    found = integrated_gradients(smooth_chain, PARAMS, IMAGES, probability(), [1, 2])
    np.testing.assert_allclose(found.delta, 0, atol=2e-2)
    own = integrated_gradients(
        smooth_chain, PARAMS, IMAGES, probability(), np.array([[1, 2]]), n_steps=50
    )
    np.testing.assert_allclose(
        own.attributions[0],
        [found.attributions[0, 0], found.attributions[1, 1]],
        atol=1e-5,
    )


@pytest.mark.parametrize("method", PATHS)
def test_memory_does_not_grow_with_steps_or_paths(method):
    def memory(n_steps, images):
        call = functools.partial(attributions_of(method), n_steps=n_steps, batch_size=6)
        compiled = jax.jit(call).lower(PARAMS, make_images(images)).compile()
        analysis = compiled.memory_analysis()
        return analysis.temp_size_in_bytes, analysis.output_size_in_bytes

    few, results = memory(6, 1)
    many, _ = memory(60, 1)
    assert many <= few + 4096  # the points and weights themselves
    several, all_results = memory(60, 8)
    # Besides the points' values there may be one more copy of images and results.
    assert several - many <= 2 * (all_results - results) + 3 * make_images(8).nbytes


WRONG = {
    "steps": ({"n_steps": 0}, UserError, "at least 1 .* not 0"),
    "fraction": ({"n_steps": 2.5}, UserError, "whole number, not 2.5"),
    "targets": ({"targets": []}, UserError, "no targets"),
    "trapezoid": ({"n_steps": 1, "method": "riemann_trapezoid"}, UserError, "at least 2"),
    "method": ({"method": "gausslegendre"}, UserError, "gauss_legendre"),
    "baseline": (
        {"baselines": np.zeros((SIDE, SIDE, 4))},
        UserError,
        rf"\[{SIDE}, {SIDE}, 4\] .* \[2, {SIDE}, {SIDE}, 3\]",
    ),
    "larger": ({"baselines": np.zeros((5, 2, SIDE, SIDE, 3))}, UserError, "does not fit"),
    "target": ({"targets": [CLASSES]}, UserError, "out of range"),
    "batch": ({"batch_size": 0}, UserError, "batch_size"),
    "half": ({"batch_size": 0.5}, UserError, "whole number"),
    "memory": ({"memory": 0}, UserError, "memory"),
}
WRONG_LAYERS = {
    "path": ({"path": "straight"}, UserError, "straight"),
    "derivative": ({"path": "input", "derivative": "none"}, UserError, "none"),
    "none": ({"layers": []}, UserError, "at least one layer"),
    "unknown": ({"layers": ["relu3"]}, UnknownTapError, "nearest: relu2"),
    "above": ({"layers": ["relu2"], "seed": kernel_sum("relu1")}, UserError, "does not depend"),
}


@pytest.mark.parametrize(("options", "error", "message"), WRONG.values(), ids=WRONG)
def test_what_is_refused(options, error, message):
    options = {"targets": [0], "seed": logit(), **options}
    with pytest.raises(error, match=message):
        integrated_gradients(chain, PARAMS, IMAGES, **options)
    for path in ("layer", "input"):
        with pytest.raises(error, match=message):
            layer_integrated_gradients(
                chain, PARAMS, IMAGES, layers=["relu1"], path=path, **options
            )


def test_no_images_are_refused():
    with pytest.raises(UserError, match="no images"):
        integrated_gradients(chain, PARAMS, IMAGES[:0], logit(), [0])


@pytest.mark.parametrize("method", PATHS)
def test_half_precision_is_summed_in_float32(method):
    """With a constant gradient the sum over many steps has no error but that of its terms."""
    images = jnp.abs(jnp.asarray(make_images(1), jnp.bfloat16))

    def doubled(params, images):
        return tap(images * 2, "layer").sum((1, 2))

    call = {
        "images": lambda **options: integrated_gradients(doubled, None, **options),
        "layer": lambda **options: layer_integrated_gradients(doubled, None, **options),
        "exact": lambda **options: conductance(doubled, None, **options),
        "difference": lambda **options: conductance(
            doubled, None, derivative="difference", method="riemann_trapezoid", **options
        ),
    }[method]
    options = {} if method == "images" else {"layers": ["layer"]}
    found = call(
        images=images, seed=logit(), targets=[1], n_steps=300, batch_size=1, **options
    ).attributions
    found = found if method == "images" else found["layer"]
    assert found.dtype == jnp.bfloat16
    expected = 2 * np.asarray(images, np.float32)[..., 1]
    np.testing.assert_allclose(np.asarray(found, np.float32)[0, ..., 1], expected, rtol=6e-3)


@pytest.mark.parametrize(("options", "error", "message"), WRONG_LAYERS.values(), ids=WRONG_LAYERS)
def test_what_is_refused_of_layers(options, error, message):
    options = {"targets": [0], "seed": logit(), "layers": ["relu1"], **options}
    with pytest.raises(error, match=message):
        layer_integrated_gradients(chain, PARAMS, IMAGES, **options)
