"""Thresholds against sorting all values at once."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.errors import UserError
from jaxinterp.methods.quantiles import ThresholdPass

IMAGES = 60
LAYERS = {"wide": (14, 14, 8), "deep": (7, 7, 16), "large": (28, 20, 4)}


@pytest.fixture(scope="module")
def maps():
    """Maps after a ReLU whose images differ in scale, so that few of them hold the largest."""
    generator = np.random.default_rng(0)
    found = {}
    for name, (height, width, units) in LAYERS.items():
        scale = generator.exponential(size=(IMAGES, 1, 1, units))
        noise = generator.normal(size=(IMAGES, height, width, units))
        found[name] = np.maximum(noise * scale, 0).astype(np.float32)
    return found


def passed(maps, batch=16, layers=None, images=IMAGES, definition="order", **options):
    """All images in padded batches; the padding is larger than any value."""
    layers = layers or {name: maps[name].shape[1:] for name in maps}
    over = ThresholdPass(layers, images, **options)
    state = over.init()
    for start in range(0, images, batch):
        filled = min(batch, images - start)
        piece = {}
        for name, values in maps.items():
            padding = np.full((batch - filled, *values.shape[1:]), 1e6, np.float32)
            piece[name] = jnp.asarray(np.concatenate([values[start : start + filled], padding]))
        state = over.update(state, piece, filled)
    return over.finish(state, definition=definition)


def positions(values):
    return values.reshape(-1, values.shape[-1])


@pytest.mark.parametrize("share", [0.005, 0.02, 0.3])
def test_threshold_is_the_smallest_value_with_at_most_the_share_above(maps, share):
    found = passed(maps, share=share)
    for name, values in maps.items():
        flat = positions(values)
        above = (flat > found.values[name]).mean(0)
        assert (above <= share).all()
        assert found.exact[name].all()
        assert found.error[name] == 0
        below = np.where(flat < found.values[name], flat, -1).max(0)
        positive = found.values[name] > 0
        assert ((flat > below).mean(0) > share)[positive].all()


def test_a_whole_number_of_positions_above_is_that_number():
    values = np.arange(1000, dtype=np.float32).reshape(10, 10, 10, 1)
    found = passed({"one": values}, images=10, batch=3)
    assert found.values["one"] == 994  # 995 to 999, 0.5 % of 1,000, lie above


def test_linear_thresholds_are_numpys_percentiles(maps):
    found = passed(maps, definition="linear")
    for name, values in maps.items():
        expected = np.percentile(positions(values), 99.5, axis=0)
        np.testing.assert_allclose(found.values[name], expected, rtol=1e-6)


@pytest.mark.parametrize("budget", [16384, 40])
def test_batches_do_not_matter(maps, budget):
    one, other = (passed(maps, batch, budget=budget) for batch in (7, 60))
    for name in maps:
        np.testing.assert_array_equal(one.values[name], other.values[name])


def test_drawn_positions_keep_the_share_within_the_stated_error(maps):
    shares = []
    for seed in range(5):
        found = passed(maps, budget=60, share=0.02, seed=seed)
        assert found.exact["deep"].all()
        assert not found.exact["large"].any()
        assert found.error["deep"] == 0 < found.error["large"]
        above = (positions(maps["large"]) > found.values["large"]).mean(0)
        assert (np.abs(above - 0.02) < 4 * found.error["large"]).all()
        shares.append(above)
    assert np.std(shares) > found.error["large"] / 4  # the error is not far too large either


def test_all_units_are_read_at_the_same_positions(maps):
    twice = np.repeat(maps["large"][..., :1], 3, axis=-1)
    found = passed({"large": twice}, budget=40)
    assert len(set(found.values["large"].tolist())) == 1


def test_the_budget_limits_memory(maps):
    sizes = {
        images: sum(
            array.nbytes
            for layer in ThresholdPass(LAYERS, images, budget=2000).init().values()
            for array in layer.values()
        )
        for images in (10**4, 3 * 10**5)
    }
    assert sizes[3 * 10**5] <= sizes[10**4]


def test_silent_infinite_and_undefined_units():
    generator = np.random.default_rng(1)
    values = generator.normal(size=(20, 8, 8, 5)).astype(np.float32)
    values[..., 0] = 0
    values[3, 2, 2, 1] = np.nan
    values[:, :2, :, 2] = np.inf
    values[..., 4] = np.nan
    found = passed({"one": values}, images=20, batch=4)
    assert found.values["one"][0] == 0
    assert np.isnan(found.values["one"][[1, 4]]).all()
    assert found.values["one"][2] == np.inf
    assert found.not_finite["one"].tolist() == [False, True, True, False, True]
    assert found.exact["one"].tolist() == [True, False, True, True, False]
    assert not (positions(values) > found.values["one"])[:, [0, 1, 2, 4]].any()
    kept = passed({"one": values[..., 3:4]}, images=20)
    assert found.values["one"][3] == kept.values["one"][0]


def test_a_stored_state_goes_on(maps):
    over = ThresholdPass(LAYERS, IMAGES)
    halves = [
        {name: values[at] for name, values in maps.items()} for at in (slice(30), slice(30, 60))
    ]
    state = over.update(over.init(), halves[0], 30)
    state = {layer: {k: v.copy() for k, v in arrays.items()} for layer, arrays in state.items()}
    found = ThresholdPass(LAYERS, IMAGES).finish(over.update(state, halves[1], 30))
    whole = passed(maps)
    for name in maps:
        np.testing.assert_array_equal(found.values[name], whole.values[name])


@pytest.mark.parametrize(
    ("layers", "images", "options", "message"),
    [
        ({}, 5, {}, "at least one layer"),
        (LAYERS, 0, {}, "at least one layer"),
        (LAYERS, 5, {"share": 1.0}, "between 0 and 1"),
        (LAYERS, 1000, {"budget": 4}, "5 is the least for 1000 images"),
    ],
)
def test_bad_input_is_refused(layers, images, options, message):
    with pytest.raises(UserError, match=message):
        ThresholdPass(layers, images, **options)


def test_fewer_images_than_announced_are_ranked_exactly(maps):
    over = ThresholdPass(LAYERS, IMAGES)
    state = over.update(over.init(), maps, 41)
    for definition in ("order", "linear"):
        found = over.finish(state, definition=definition)
        expected = passed({n: v[:41] for n, v in maps.items()}, images=41, definition=definition)
        for name in maps:
            np.testing.assert_array_equal(found.values[name], expected.values[name])


def test_other_images_than_announced_are_refused(maps):
    over = ThresholdPass(LAYERS, 59)
    with pytest.raises(ValueError, match="more than the 59"):
        over.update(over.init(), maps, 60)
    with pytest.raises(ValueError, match="no image was seen"):
        over.finish(over.init())
    with pytest.raises(ValueError, match="not as announced"):
        over.update(over.init(), {**maps, "wide": maps["deep"]}, 1)
