"""Lanes: independence of neighbours, stopping, bounds, failures, optimisers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp.optimize import Lanes, LaneStatus, find_recipe, minimise

GENERATOR = np.random.default_rng(0)
TARGETS = GENERATOR.normal(size=(8, 3, 4)).astype(np.float32)
STARTS = GENERATOR.normal(size=(8, 3, 4)).astype(np.float32)


def quadratic(shared, inputs, data):
    """Lane k's distance from its own target, in the metric that all lanes share."""
    distance = (shared * (inputs - data["target"]) ** 2).sum((1, 2))
    return distance + data["offset"], {"distance": distance}


def data(lanes=8, **changes):
    return {"target": TARGETS[:lanes], "offset": np.zeros(lanes, np.float32)} | changes


SCALE = jnp.float32(0.5)
OPTIMIZERS = {
    "sgd": lambda: optax.sgd(0.1),
    "adam": lambda: optax.adam(0.1),
    "adam_decayed": lambda: find_recipe("adam", steps=60).optimizer(),
    "paper": lambda: find_recipe("paper", rate=0.5, steps=60).optimizer(),
    "momentum_clipped": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, 0.9)),
    "lion": lambda: optax.lion(0.02),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lane_alone_equals_the_lane_among_others(name):
    """Also for optimisers whose state or clipping spans the whole input."""
    together = minimise(
        Lanes(quadratic, OPTIMIZERS[name](), 60), STARTS, data(), shared=SCALE, segment=20
    )
    assert (together.loss < together.trace["loss"][0]).all()
    for lane in (0, 5):
        own = {key: value[lane : lane + 1] for key, value in data().items()}
        alone = minimise(
            Lanes(quadratic, OPTIMIZERS[name](), 60), STARTS[lane : lane + 1], own, shared=SCALE
        )
        np.testing.assert_allclose(alone.inputs[0], together.inputs[lane], atol=1e-5)
        np.testing.assert_allclose(alone.loss[0], together.loss[lane], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("segment", [1, 7, 60, 100])
def test_segments_do_not_change_the_result(segment):
    lanes = Lanes(quadratic, optax.adam(0.1), 60)
    found = minimise(lanes, STARTS, data(), shared=SCALE, segment=segment)
    whole = minimise(lanes, STARTS, data(), shared=SCALE, segment=30)
    np.testing.assert_allclose(found.inputs, whole.inputs, atol=1e-6)
    assert found.trace["loss"].shape == (60, 8)
    np.testing.assert_allclose(found.trace["loss"], whole.trace["loss"], rtol=1e-4, atol=1e-7)


def test_against_a_plain_loop():
    """One lane, one step at a time, without any of the machinery."""
    optimizer = optax.adam(0.1)
    inputs, state = jnp.asarray(STARTS[:1]), optimizer.init(jnp.asarray(STARTS[:1]))
    own = data(1)
    losses = []
    for _ in range(30):
        losses.append(float(quadratic(SCALE, inputs, own)[0][0]))
        gradient = jax.grad(lambda x: quadratic(SCALE, x, own)[0].sum())(inputs)
        updates, state = optimizer.update(gradient, state, inputs)
        inputs = inputs + updates
    losses.append(float(quadratic(SCALE, inputs, own)[0][0]))
    found = minimise(Lanes(quadratic, optimizer, 30), STARTS[:1], own, shared=SCALE)
    np.testing.assert_allclose(found.trace["loss"][:, 0], losses[:-1], rtol=1e-4)
    np.testing.assert_allclose(found.loss[0], min(losses), rtol=1e-4)
    assert found.step[0] == np.argmin(losses)
    np.testing.assert_array_equal(found.trace["distance"], found.trace["loss"])


def test_the_best_input_is_kept_when_the_walk_diverges():
    found = minimise(Lanes(quadratic, optax.sgd(2.5), 20), STARTS, data(), shared=SCALE)
    assert (found.trace["loss"][-1] > found.trace["loss"][0]).all()
    np.testing.assert_array_equal(found.step, 0)
    np.testing.assert_array_equal(found.inputs, STARTS)


def test_a_nan_lane_fails_alone():
    broken = data(offset=np.where(np.arange(8) == 3, np.nan, 0).astype(np.float32))
    lanes = Lanes(quadratic, optax.adam(0.1), 25)
    found = minimise(lanes, STARTS, broken, shared=SCALE)
    healthy = minimise(lanes, STARTS, data(), shared=SCALE)
    assert found.status[3] == LaneStatus.FAILED
    assert found.loss[3] == np.inf
    np.testing.assert_array_equal(found.inputs[3], STARTS[3])
    others = np.arange(8) != 3
    assert (found.status[others] == LaneStatus.SPENT).all()
    np.testing.assert_array_equal(found.inputs[others], healthy.inputs[others])


def test_a_lane_that_turns_nan_keeps_its_best_input():
    def cliff(shared, inputs, data):
        loss, terms = quadratic(shared, inputs, data)
        return jnp.where(loss < data["cliff"], jnp.nan, loss), terms

    edge = np.where(np.arange(8) == 2, 1.0, -1.0).astype(np.float32)
    found = minimise(Lanes(cliff, optax.sgd(0.1), 60), STARTS, data(cliff=edge), shared=SCALE)
    assert found.status[2] == LaneStatus.FAILED
    assert np.isfinite(found.loss[2])
    assert 1.0 <= found.loss[2] < found.trace["loss"][0, 2]
    assert np.isnan(found.trace["loss"][-1, 2])
    assert not np.isnan(found.trace["loss"][:, others_than(2)]).any()


def others_than(lane):
    return np.arange(8) != lane


def test_a_converged_lane_stops_and_its_neighbours_go_on():
    starts = STARTS.copy()
    starts[4] = TARGETS[4]
    lanes = Lanes(quadratic, optax.sgd(0.01), 200, patience=10, tolerance=1e-4)
    found = minimise(lanes, starts, data(), shared=SCALE, segment=25)
    assert found.status[4] == LaneStatus.CONVERGED
    assert found.steps[4] == 10
    assert np.isnan(found.trace["loss"][11:, 4]).all()
    assert (found.status[others_than(4)] == LaneStatus.SPENT).all()
    assert (found.steps[others_than(4)] == 200).all()


def test_all_converged_ends_the_search_early():
    lanes = Lanes(quadratic, optax.sgd(0.5), 10_000, patience=5, tolerance=1e-3)
    calls = []
    offset = np.ones(8, np.float32)  # an improvement is relative to the loss
    found = minimise(
        lanes,
        STARTS,
        data(offset=offset),
        shared=SCALE,
        segment=10,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert (found.status == LaneStatus.CONVERGED).all()
    assert found.trace["loss"].shape[0] < 1_000
    assert calls[-1] == (80_000, 80_000)
    assert calls == sorted(calls)


def test_bounds_hold_at_every_step():
    seen = []

    def watched(shared, inputs, data):
        jax.debug.callback(lambda x: seen.append((x.min(), x.max())), inputs)
        return quadratic(shared, inputs, data)

    lower, upper = np.float32([-0.1]), np.float32([0.2])
    lanes = Lanes(watched, optax.sgd(0.8), 20, bounds=(lower, upper))
    found = minimise(lanes, STARTS, data(), shared=SCALE)
    jax.effects_barrier()
    assert len(seen) >= 20
    assert np.min([low for low, _ in seen]) >= lower[0]
    assert np.max([high for _, high in seen]) <= upper[0]
    # The clipped pixels hold the loss up, so float32 does not see the last digits of the others.
    np.testing.assert_allclose(found.inputs, np.clip(TARGETS, lower, upper), atol=2e-3)


def test_the_papers_recipe_halves_its_rate_lane_by_lane():
    """On |x|, steps of one size oscillate for ever; halving them after 50 flat steps does not."""

    def absolute(shared, inputs, data):
        loss = jnp.abs(inputs).sum(1) + data
        return loss, {}

    recipe = find_recipe("paper", rate=1.0, steps=400)
    flat = np.float32([1.0])
    starts = np.float32([[0.3], [128.25]])
    lanes = Lanes(absolute, recipe.optimizer(), recipe.steps)
    found = minimise(lanes, starts, np.repeat(flat, 2), shared=None)
    losses = found.trace["loss"] - 1
    # The first lane is flat from the start: halved at about step 50, then again every 50.
    assert losses[40, 0] >= 0.29
    assert losses[-1, 0] < 0.1
    # The second comes down at rate 1 all the way: its neighbour's plateau is not its own.
    np.testing.assert_allclose(losses[100, 1], 28.25, atol=1e-3)
    assert found.loss[1] - 1 < 0.26


@pytest.mark.parametrize(
    ("change", "message"),
    [({"steps": 0}, "at least 1"), ({"patience": -1}, "negative"), ({"tolerance": -1}, "negative")],
)
def test_impossible_settings_are_errors(change, message):
    settings = {"steps": 10} | change
    with pytest.raises(ValueError, match=message):
        Lanes(quadratic, optax.sgd(0.1), **settings)


def test_the_callers_arrays_are_left_alone():
    """The state is donated to the jitted segments; what it was made from must not be."""
    inputs, own = jnp.asarray(STARTS), jax.tree.map(jnp.asarray, data())
    minimise(Lanes(quadratic, optax.sgd(0.1), 5), inputs, own, shared=SCALE)
    np.testing.assert_array_equal(inputs, STARTS)
    np.testing.assert_array_equal(own["target"], TARGETS)


def test_data_without_a_lane_axis_is_an_error():
    with pytest.raises(ValueError, match="leading axis of 8 lanes"):
        Lanes(quadratic, optax.sgd(0.1), 5).start(STARTS, {"target": TARGETS[:3]})


def test_unknown_recipes_are_errors():
    with pytest.raises(ValueError, match="adam, relative, paper"):
        find_recipe("newton")


def test_a_second_call_compiles_nothing():
    lanes, compiled = Lanes(quadratic, optax.adam(0.1), 30), {}
    compilations = []

    def listen(event, seconds, **_):
        if "backend_compile" in event:
            compilations.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    minimise(lanes, STARTS, data(), shared=SCALE, segment=10, compiled=compiled)
    assert compilations
    compilations.clear()
    minimise(lanes, TARGETS, data(), shared=SCALE, segment=10, compiled=compiled)
    assert not compilations
    assert set(compiled) == {8}  # 31 evaluations in four
    # Steps that are no multiple of the segment take no second one.
    odd, compiled = Lanes(quadratic, optax.adam(0.1), 25), {}
    found = minimise(odd, STARTS, data(), shared=SCALE, segment=10, compiled=compiled)
    assert set(compiled) == {9}
    assert (found.steps == 25).all()
    assert found.trace["loss"].shape == (25, 8)


def test_patience_begins_when_the_first_climb_ends():
    """The first moves may lead up: a lane is not given up before it has come down again."""

    def hill(shared, inputs, data):
        loss = 1 + jnp.sin(inputs[:, 0])
        return loss, {}

    # From 0.5 up to the top at pi / 2 and down: below the start after 2.6.
    lanes = Lanes(hill, optax.GradientTransformation(lambda p: (), climb), 60, patience=5)
    found = minimise(lanes, np.float32([[0.5], [3.0]]), np.zeros(2, np.float32), segment=10)
    assert (found.status == LaneStatus.CONVERGED).all()
    assert (found.loss < 1e-2).all()


def climb(updates, state, params=None):
    """A step to the right, whatever the gradient, that ends at 3 pi / 2."""
    return jnp.where(params < 4.7, 0.1, 0.0), state
