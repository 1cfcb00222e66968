"""The suppression method on small networks: frameworks, lanes, silent kernels, measures."""

import jax.numpy as jnp
import numpy as np
import pytest
from framework_networks import MAKERS, make_weights

from jaxinterp.errors import UserError
from jaxinterp.methods.suppression import (
    TRACE_TERMS,
    SuppressionSettings,
    Suppressor,
    interpret,
    layer_maps,
    suppression_objective,
)
from jaxinterp.metrics import map_similarity, mse_rest
from jaxinterp.models.layer_table import Layer, LayerTable
from jaxinterp.models.network import Network
from jaxinterp.models.preprocess import Preprocess

LAYERS = LayerTable(
    [
        Layer("conv1", "", "conv", 4, 1, 3, 1),
        Layer("relu1", "first", "relu", 4, 1, 3, 1),
        Layer("conv2", "", "conv", 5, 2, 8, 3),
        Layer("relu2", "", "relu", 5, 2, 8, 3),
        Layer("logits", "", "dense", 3, None, None, None),
    ]
)
PREPROCESS = Preprocess(mean=(0.5, 0.4), std=(0.25, 0.2), size=8, resize=8)
IMAGES = np.random.default_rng(1).uniform(size=(8, 8, 8, 2)).astype(np.float32)
SETTINGS = SuppressionSettings(steps=20)


def network(framework="plain", weights=None):
    made = MAKERS[framework](make_weights() if weights is None else weights)
    return Network(framework, made.apply, made.params, PREPROCESS, LAYERS)


def test_linen_nnx_and_equinox_copies_agree():
    """The same maps, and the same optimised inputs over the first 20 steps."""
    plain = interpret(network(), IMAGES[:3], "relu2", range(5), SETTINGS)
    maps = layer_maps(network(), "relu2")(network().params, PREPROCESS(IMAGES))
    for framework in ("linen", "nnx", "equinox"):
        copy = network(framework)
        own = layer_maps(copy, "relu2")(copy.params, PREPROCESS(IMAGES))
        np.testing.assert_allclose(own, maps, atol=1e-5)
        found = interpret(copy, IMAGES[:3], "relu2", range(5), SETTINGS)
        assert found.status == plain.status
        np.testing.assert_allclose(found.images, plain.images, atol=1e-5)
        np.testing.assert_allclose(
            found.measures["loss"], plain.measures["loss"], rtol=0.01, equal_nan=True
        )


def test_a_job_alone_equals_the_job_among_32():
    pairs = [(image, kernel) for image in range(8) for kernel in range(4)]
    together = Suppressor(network(), "relu1", SETTINGS, lanes=32)(
        IMAGES[[i for i, _ in pairs]], [k for _, k in pairs]
    )
    alone = Suppressor(network(), "relu1", SETTINGS, lanes=1)
    for lane in (0, 13, 31):
        image, kernel = pairs[lane]
        found = alone(IMAGES[image : image + 1], [kernel])
        assert found.status[0] == together.status[lane]
        np.testing.assert_allclose(found.images[0], together.images[lane], atol=1e-5)
        np.testing.assert_allclose(
            found.measures["loss"][0], together.measures["loss"][lane], rtol=0.01
        )


def test_fewer_jobs_than_lanes_fill_up_without_a_trace():
    suppressor = Suppressor(network(), "relu1", SETTINGS, lanes=5)
    full = suppressor(IMAGES[:5], [0, 1, 2, 3, 0])
    part = suppressor(IMAGES[:2], [0, 1])
    assert len(part.images) == len(part.status) == len(part.trace) == 2
    np.testing.assert_array_equal(part.images, full.images[:2])


def test_it_keeps_the_map_and_silences_the_rest():
    """The loss falls; and what the measures say is so by a slow count."""
    settings = SuppressionSettings(steps=150, beta=0.03)
    found = interpret(network(), IMAGES[:4], "relu1", range(4), settings)
    done = np.array(found.status) == "done"
    assert done.sum() >= 8
    start, end = found.trace[done, 0, 0], found.measures["loss"][done]
    assert (end < start).all()
    assert found.measures["similarity"][done].mean() > 0.9
    rest, original = found.measures["mse_rest"][done], found.measures["mse_rest_original"][done]
    assert rest.mean() < 0.5 * original.mean()
    maps = layer_maps(network(), "relu1")
    params = network().params
    job = int(np.flatnonzero(done)[-1])
    kernel, image = divmod(job, 4)
    before = maps(params, PREPROCESS(IMAGES[image : image + 1]))
    after = maps(params, PREPROCESS(found.images[job : job + 1]))
    name, value = map_similarity(before[..., kernel], after[..., kernel])
    assert found.similarity == name
    np.testing.assert_allclose(found.measures["similarity"][job], value[0], atol=1e-4)
    np.testing.assert_allclose(
        found.measures["mse_rest"][job], mse_rest(after, jnp.array([kernel]))[0], rtol=1e-3
    )


def test_the_usual_optimiser_finds_lower_losses_than_adam():
    losses = {
        name: interpret(
            network(), IMAGES[:4], "relu2", range(5), SuppressionSettings(optimizer=name)
        ).measures["loss"]
        for name in ("relative", "adam")
    }
    done = np.isfinite(losses["adam"])
    assert done.sum() > 10
    assert losses["relative"][done].mean() < losses["adam"][done].mean()


def test_what_is_recorded_is_the_loss_whatever_gradient_is_followed():
    """Smoothing and the proximal step change the path, not the loss of a point on it."""
    plain = SuppressionSettings(optimizer="adam", steps=1)
    for settings in (
        SuppressionSettings(steps=1),
        SuppressionSettings(steps=1, smoothing=0.0),
        SuppressionSettings(optimizer="adam", steps=1, smoothing=1.5),
    ):
        ours = interpret(network(), IMAGES[:3], "relu2", range(3), settings)
        wanted = interpret(network(), IMAGES[:3], "relu2", range(3), plain)
        np.testing.assert_allclose(ours.trace, wanted.trace, rtol=1e-6)


def test_a_start_from_details_has_no_plain_colours():
    from scipy.ndimage import gaussian_filter

    from jaxinterp.methods.details import details

    inputs = np.random.default_rng(0).normal(size=(2, 20, 16, 3)).astype(np.float32)
    blurred = gaussian_filter(inputs, (0, 2.0, 2.0, 0))  # mirrored at the borders, cut at 4 sigma
    np.testing.assert_allclose(details(jnp.asarray(inputs)), 0.5 * (inputs - blurred), atol=1e-5)
    plain = np.broadcast_to(np.float32([0.5, -1, 2]), (1, 20, 20, 3))
    np.testing.assert_allclose(details(jnp.asarray(plain)), 0, atol=1e-5)
    settings = SuppressionSettings(steps=5, start="details")
    found = interpret(network(), IMAGES[:2], "relu1", [0], settings)
    assert (found.trace[:, 0, 1] > 0).all(), "the map is not the original's at the start"


def test_the_trace_holds_the_weighted_sum():
    settings = SuppressionSettings(steps=12, alpha=0.5, beta=0.25)
    found = interpret(network(), IMAGES[:2], "conv2", [1], settings)
    assert found.trace.shape == (2, 12, len(TRACE_TERMS))
    loss, preservation, suppression, regularization = np.moveaxis(found.trace, -1, 0)
    np.testing.assert_allclose(
        loss, preservation + 0.5 * suppression + 0.25 * regularization, rtol=1e-5
    )
    np.testing.assert_allclose(preservation[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(suppression[:, 0], 1, rtol=1e-5)


def test_bounds_keep_pixels_displayable():
    settings = SuppressionSettings(steps=30, rate=0.5)
    bounded = interpret(network(), IMAGES[:4], "relu1", [0, 1], settings)
    assert bounded.images.min() >= -1e-6
    assert bounded.images.max() <= 1 + 1e-6
    free = SuppressionSettings(steps=30, rate=0.5, bounded=False)
    unbounded = interpret(network(), IMAGES[:4], "relu1", [0, 1], free)
    assert unbounded.images.min() < 0 or unbounded.images.max() > 1


def test_silent_kernels_are_said_to_be_silent():
    weights = make_weights()
    weights["conv1"][..., 2] = 0
    weights["conv1_bias"][2] = -1
    found = interpret(network(weights=weights), IMAGES[:2], "relu1", [2, 0], SETTINGS)
    assert found.status[:2] == ("silent", "silent")
    assert "silent" not in found.status[2:]
    for values in found.measures.values():
        assert np.isnan(values[:2]).all()
        assert np.isfinite(values[2:]).all()


def test_a_nan_image_fails_alone():
    images = IMAGES[:3].copy()
    images[1, 0, 0, 0] = np.nan
    found = interpret(network(), images, "relu1", [0], SETTINGS)
    healthy = interpret(network(), IMAGES[:3], "relu1", [0], SETTINGS)
    assert found.status[1] == "failed"
    np.testing.assert_array_equal(found.images[[0, 2]], healthy.images[[0, 2]])


def test_a_channels_first_layer_gives_the_same():
    made = MAKERS["plain"](make_weights())

    def apply(params, images):
        from jaxinterp.transform import capture, tap

        maps = capture(made.apply, ["relu1"])(params, images)["relu1"]
        return tap(jnp.moveaxis(maps, -1, 1), "maps").sum((1, 2, 3))

    table = LayerTable([Layer("maps", "", "relu", 4, 1, 3, 1, channel_axis=1)])
    first = Network("channels first", apply, made.params, PREPROCESS, table)
    found = interpret(first, IMAGES[:2], "maps", [3], SETTINGS)
    last = interpret(network(), IMAGES[:2], "relu1", [3], SETTINGS)
    np.testing.assert_allclose(found.images, last.images, atol=1e-6)


def test_progress_reaches_its_end():
    calls = []
    interpret(
        network(),
        IMAGES[:3],
        "relu1",
        range(3),
        SETTINGS,
        lanes=4,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == sorted(calls)
    assert calls[-1] == (9 * 20, 9 * 20)


@pytest.mark.parametrize(
    ("layer", "kernels", "message"),
    [
        ("relu3", [0], "no layer 'relu3'; nearest: relu"),
        ("logits", [0], "'logits' has no feature maps"),
        ("relu1", [4], "no kernel 4 in relu1: it has kernels 0 to 3"),
        ("relu1", [-1], "no kernel -1"),
        ("relu1", [], "at least one kernel"),
    ],
)
def test_bad_input_is_named(layer, kernels, message):
    with pytest.raises(UserError, match=message):
        interpret(network(), IMAGES[:1], layer, kernels, SETTINGS)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ((IMAGES * 255).astype(np.uint8), "divide 8-bit pixels by 255"),
        (IMAGES * 255, "in \\[0, 1\\], got float32"),
        (IMAGES[0], r"got shape \(8, 8, 2\)"),
        (IMAGES[:0], r"got shape \(0, 8, 8, 2\)"),
    ],
)
def test_images_of_another_form_are_named(images, message):
    with pytest.raises(UserError, match=message):
        interpret(network(), images, "relu1", [0], SETTINGS)


def test_only_a_map_of_zeros_is_silent():
    """Before its ReLU a kernel may answer with negative values alone."""
    weights = make_weights()
    weights["conv1_bias"][2] = -100
    found = interpret(network(weights=weights), IMAGES[:1], "conv1", [2], SETTINGS)
    assert found.status == ("done",)


@pytest.mark.parametrize(
    "change",
    [{"alpha": -1.0}, {"rate": 0.0}, {"steps": 0}, {"patience": -1}, {"beta": float("nan")}],
)
def test_impossible_settings_are_errors(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        SuppressionSettings(**change)


def test_alias_and_name_give_one_objective():
    inputs = PREPROCESS(IMAGES[:2])
    from jaxinterp.losses import suppression_reference

    maps = layer_maps(network(), "first")(network().params, inputs)
    reference = suppression_reference(maps, jnp.array([0, 1]))
    by_alias = suppression_objective(network(), "first")(network().params, inputs, reference)
    by_name = suppression_objective(network(), "relu1")(network().params, inputs, reference)
    np.testing.assert_array_equal(by_alias[0], by_name[0])
