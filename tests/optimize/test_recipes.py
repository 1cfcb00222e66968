"""The recipes: the step relative to the input, its exact L1 step, lanes that keep to themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

from jaxinterp.optimize import RECIPES, Lanes, LaneStatus, find_recipe, minimise
from jaxinterp.optimize.relative import relative_adam, soft_threshold

GENERATOR = np.random.default_rng(0)
LANES, ROWS, COLUMNS = 5, 12, 8
MATRIX = GENERATOR.normal(size=(ROWS, COLUMNS)).astype(np.float32)
TARGETS = GENERATOR.normal(size=(LANES, ROWS)).astype(np.float32)
STARTS = GENERATOR.uniform(-0.3, 0.5, size=(LANES, COLUMNS)).astype(np.float32)
BOUNDS = (-0.3, 0.5)
L1 = 1.5


def smooth(shared, inputs, data):
    """Half the squared residual of a linear system, a lane's own right side."""
    residual = inputs @ shared.T - data["target"]
    return 0.5 * (residual**2).sum(-1), {}


def lasso(shared, inputs, data):
    """The same with L1 |x|_1: its value, but the gradient of the smooth part only."""
    loss, terms = smooth(shared, inputs, data)
    return loss + jax.lax.stop_gradient(L1 * jnp.abs(inputs).sum(-1)), terms


def search(lanes=slice(None), *, objective=lasso, l1=L1, recipe=None, **changes):
    recipe = recipe or find_recipe("relative", rate=0.1, steps=300)
    return minimise(
        Lanes(objective, recipe.optimizer(l1=l1), recipe.steps, bounds=BOUNDS, **changes),
        STARTS[lanes],
        {"target": TARGETS[lanes]},
        shared=jnp.asarray(MATRIX),
    )


def lasso_optimum(target):
    """By SciPy, with the positive and the negative part as variables of their own."""

    def value(parts):
        positive, negative = np.split(parts, 2)
        residual = MATRIX.astype(np.float64) @ (positive - negative) - target
        gradient = MATRIX.T.astype(np.float64) @ residual
        return 0.5 * residual @ residual + L1 * parts.sum(), np.concatenate(
            [gradient + L1, L1 - gradient]
        )

    bounds = [(0, BOUNDS[1])] * COLUMNS + [(0, -BOUNDS[0])] * COLUMNS
    found = minimize(
        value,
        np.zeros(2 * COLUMNS),
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
        options={"ftol": 1e-14, "gtol": 1e-10, "maxiter": 10_000},
    )
    positive, negative = np.split(found.x, 2)
    return positive - negative, found.fun


def test_the_lasso_in_a_box_as_scipy_has_it():
    found = search()
    optima = [lasso_optimum(target) for target in TARGETS.astype(np.float64)]
    inputs = np.stack([x for x, _ in optima])
    np.testing.assert_allclose(found.loss, [value for _, value in optima], rtol=1e-5)
    np.testing.assert_allclose(found.inputs, inputs, atol=2e-3)
    # What the L1 term decides is decided exactly, what the box decides lies on it.
    zero = np.abs(inputs) < 1e-7
    assert zero.any()
    assert (found.inputs[zero] == 0).all()
    at_bound = (inputs > BOUNDS[1] - 1e-7) | (inputs < BOUNDS[0] + 1e-7)
    assert at_bound.any()
    assert np.isin(found.inputs[at_bound], np.asarray(BOUNDS, np.float32)).all()


def test_without_l1_the_bounded_least_squares_solution():
    found = search(objective=smooth, l1=0.0)
    for x, target in zip(found.inputs, TARGETS, strict=True):
        gradient = MATRIX.T @ (MATRIX @ x - target)
        # The conditions of optimality: no descent within the box.
        projected = np.clip(x - gradient, *BOUNDS) - x
        np.testing.assert_allclose(projected, 0, atol=2e-2)


def test_steps_against_numpy():
    """The formula of the docstring, written again, in float64."""
    rate, b1, b2, offset, l1 = 0.1, 0.8, 0.9, 0.3, 0.05
    optimizer = relative_adam(
        optax.linear_schedule(rate, 0.0, 10), b1=b1, b2=b2, offset=offset, l1=l1
    )
    params = jnp.asarray(STARTS[0])
    state = optimizer.init(params)
    x, m, v = np.asarray(params, np.float64), 0.0, 0.0
    for step in range(6):
        gradient = np.sin(7.0 * x + step)
        updates, state = optimizer.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient**2
        scale = np.sqrt(v / (1 - b2 ** (step + 1)) + l1**2)
        size = rate * (1 - step / 10) * (np.abs(x) + offset) / scale
        z = x - size * m / (1 - b1 ** (step + 1))
        x = np.sign(z) * np.maximum(np.abs(z) - size * l1, 0)
        np.testing.assert_allclose(np.asarray(params), x, atol=1e-5)


def test_soft_threshold_minimises_what_it_should():
    """Against a fine grid: t |z| + (z - x)^2 / 2."""
    grid = np.linspace(-3, 3, 6001)
    for x in (-2.0, -0.3, 0.0, 0.4, 1.7):
        for threshold in (0.0, 0.35, 1.0):
            slow = grid[np.argmin(threshold * np.abs(grid) + 0.5 * (grid - x) ** 2)]
            np.testing.assert_allclose(soft_threshold(jnp.float32(x), threshold), slow, atol=1e-3)


def test_the_loss_has_no_unit():
    """A loss in other units, its L1 term with it, takes the same steps."""
    gradients = GENERATOR.normal(size=(8, COLUMNS)).astype(np.float32)
    ends = []
    for unit in (1.0, 1024.0):
        optimizer = relative_adam(0.1, l1=0.5 * unit)
        params = jnp.asarray(STARTS[0])
        state = optimizer.init(params)
        for gradient in gradients:
            updates, state = optimizer.update(jnp.asarray(unit * gradient), state, params)
            params = optax.apply_updates(params, updates)
        ends.append(params)
    np.testing.assert_allclose(*ends, atol=1e-6)


def test_a_sign_changed_input_goes_the_sign_changed_way():
    optimizer = relative_adam(0.1, l1=0.5)
    x, gradient = jnp.asarray(STARTS[0]), jnp.asarray(TARGETS[0, :COLUMNS])
    there, _ = optimizer.update(gradient, optimizer.init(x), x)
    back, _ = optimizer.update(-gradient, optimizer.init(-x), -x)
    np.testing.assert_array_equal(np.asarray(there), -np.asarray(back))


def test_no_gradient_and_no_l1_is_no_step():
    optimizer = relative_adam(0.1)
    x = jnp.asarray(STARTS[0])
    updates, _ = optimizer.update(jnp.zeros_like(x), optimizer.init(x), x)
    np.testing.assert_array_equal(updates, 0)


@pytest.mark.parametrize("name", RECIPES)
def test_a_lane_alone_equals_the_lane_among_others(name):
    recipe = find_recipe(name, rate=0.02, steps=30)
    l1 = L1 if name == "relative" else 0.0
    together = search(recipe=recipe, l1=l1)
    assert (together.status == LaneStatus.SPENT).all()
    for lane in (0, 3):
        alone = search(slice(lane, lane + 1), recipe=recipe, l1=l1)
        np.testing.assert_allclose(alone.inputs[0], together.inputs[lane], atol=1e-5)
        np.testing.assert_allclose(alone.loss[0], together.loss[lane], rtol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_lowers_the_loss(name):
    found = search(objective=smooth, l1=0.0, recipe=find_recipe(name, rate=0.02, steps=50))
    assert (found.loss < 0.9 * found.trace["loss"][0]).all()


@pytest.mark.parametrize("change", [{"b1": 1.0}, {"b2": -0.1}, {"offset": 0.0}, {"l1": -1.0}])
def test_numbers_out_of_range(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        relative_adam(0.1, **change)


def test_misuse():
    with pytest.raises(ValueError, match="L1 norm"):
        find_recipe("adam").optimizer(l1=0.1)
    with pytest.raises(ValueError, match="relative"):
        find_recipe("relativ")
    optimizer = relative_adam(0.1)
    with pytest.raises(ValueError, match="parameters"):
        optimizer.update(jnp.ones(3), optimizer.init(jnp.ones(3)))
