"""What depends on parameters alone is computed once, and nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.transform import StageError, TransformError, stage

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
PARAMS = {
    "mean": jnp.arange(4.0),
    "variance": jnp.arange(1.0, 5.0),
    "kernels": jnp.asarray(np.random.default_rng(1).normal(size=(3, 4, 4)), jnp.float32),
}


def normalise(params, x):
    """Batch normalisation with fixed statistics; the scale depends on parameters only."""
    return (x - params["mean"]) * jax.lax.rsqrt(params["variance"] + 1e-5)


def layers(params, x):
    """A scan over stacked kernels; tanh(kernel) is known at each step, the scale at all of them."""

    def layer(x, kernel):
        return x @ jnp.tanh(kernel) * jax.lax.rsqrt(params["variance"]), x.sum()

    return jax.lax.scan(jax.checkpoint(layer), x, params["kernels"])


def block(params, x):
    """A rematerialised block that hands on a value of parameters only."""
    x, scale = jax.checkpoint(lambda p, x: (normalise(p, x), jnp.tanh(p["mean"])))(params, x)
    return x + jax.lax.rsqrt(scale + 2)


@jax.custom_jvp
def scaled(scale, x):
    return x * jnp.tanh(scale)


scaled.defjvp(lambda primals, tangents: (scaled(*primals), tangents[1] * 7))

CASES = {
    "plain": normalise,
    "jit": jax.jit(normalise),
    "nested jit": jax.jit(lambda params, x: jax.jit(normalise)(params, x * 2)),
    "remat": jax.checkpoint(normalise),
    "handed on": block,
    "scan": layers,
    "jit of scan": jax.jit(layers),
}


@pytest.mark.parametrize("fn", CASES.values(), ids=CASES)
def test_parameter_work_is_gone(fn):
    prepared, staged = stage(fn, PARAMS, jax.ShapeDtypeStruct(X.shape, X.dtype))
    for expected, actual in zip(
        jax.tree.leaves(fn(PARAMS, X)), jax.tree.leaves(jax.jit(staged)(prepared, X)), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-6)
    before = str(jax.make_jaxpr(fn)(PARAMS, X))
    after = str(jax.make_jaxpr(staged)(prepared, X))
    assert "rsqrt" in before
    assert "rsqrt" not in after
    assert "tanh" not in after


def test_staged_is_differentiable_in_the_rest():
    prepared, staged = stage(layers, PARAMS, X)
    actual = jax.grad(lambda x: staged(prepared, x)[0].sum())(X)
    expected = jax.grad(lambda x: layers(PARAMS, x)[0].sum())(X)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_remat_stays():
    prepared, staged = stage(jax.checkpoint(normalise), PARAMS, X)
    names = [one.primitive.name for one in jax.make_jaxpr(staged)(prepared, X).eqns]
    assert sum(name in ("remat", "remat2", "checkpoint") for name in names) == 1


def test_prepared_holds_only_what_is_read():
    prepared, _ = stage(layers, PARAMS, X)
    # tanh of the three kernels, and one scale for all of the steps: neither kernels nor variance.
    assert sorted(array.shape for array in prepared) == [(3, 4, 4), (4,)]


def test_broadcasts_are_not_stored():
    def fn(bias, x):
        return x + jnp.broadcast_to(jnp.tanh(bias), (1000, 5, 4)).sum(0) + bias

    def wide(bias, x):
        return (jnp.broadcast_to(jnp.tanh(bias), (1000, 5, 4)) * x).sum(0)

    prepared, staged = stage(wide, PARAMS["mean"], X)
    assert [array.shape for array in prepared] == [(4,)]
    np.testing.assert_allclose(staged(prepared, X), wide(PARAMS["mean"], X), rtol=1e-5)
    prepared, staged = stage(fn, PARAMS["mean"], X)
    np.testing.assert_allclose(staged(prepared, X), fn(PARAMS["mean"], X), rtol=1e-5)


def test_closed_over_arrays_are_prepared_too():
    kernel = jnp.asarray(np.random.default_rng(2).normal(size=(4, 4)), jnp.float32)
    prepared, staged = stage(lambda bias, x: x @ jnp.tanh(kernel) + bias, PARAMS["mean"], X)
    program = jax.make_jaxpr(staged)(prepared, X)
    assert not program.consts
    assert "tanh" not in str(program)


def test_a_loop_that_forgets_its_start_still_gets_it():
    def fn(params, x):
        def step(carry, kernel):
            return jnp.tanh(kernel[0]), None

        last, _ = jax.lax.scan(step, x[0], params["kernels"])
        return x + last * 2

    prepared, staged = stage(fn, PARAMS, X)
    np.testing.assert_allclose(staged(prepared, X), fn(PARAMS, X), rtol=1e-5)


def test_a_custom_rule_is_kept():
    prepared, staged = stage(scaled, PARAMS["mean"], X)
    assert (jax.grad(lambda x: staged(prepared, x).sum())(X) == 7).all()


def test_effects_are_not_staged():
    seen = []

    def fn(params, x):
        jax.debug.callback(lambda mean: seen.append(float(mean)), params["mean"][1])
        return x * params["mean"]

    prepared, staged = stage(fn, PARAMS, X)
    assert not seen
    staged(prepared, X)
    staged(prepared, X)
    jax.effects_barrier()
    assert seen == [1.0, 1.0]


def test_keyword_arguments_and_outputs_of_any_structure():
    def fn(params, x, *, shift):
        return {"sum": normalise(params, x) + shift, "constant": jnp.tanh(params["mean"]), "one": 1}

    prepared, staged = stage(fn, PARAMS, X, shift=1.0)
    expected, actual = fn(PARAMS, X, shift=2.0), staged(prepared, X, shift=2.0)
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-5)


def test_other_shapes_are_an_error():
    prepared, staged = stage(normalise, PARAMS, X)
    with pytest.raises(StageError, match=r"of float32\[5, 4\], called with float32\[2, 4\]; stage"):
        staged(prepared, X[:2])
    with pytest.raises(StageError, match=r"called with int32\[5, 4\]"):
        staged(prepared, X.astype(jnp.int32))
    with pytest.raises(StageError, match="staged without argument number 2, called with it"):
        staged(prepared, X, X)
    with pytest.raises(StageError, match="staged with argument number 1, called without it"):
        staged(prepared)
    with pytest.raises(StageError, match="staged without keyword argument 'k', called with it"):
        staged(prepared, X, k=X)
    with pytest.raises(StageError, match="argument number 1 has another structure than it was"):
        staged(prepared, {"x": X})
    with pytest.raises(TransformError, match="argument number 1 of normalise is a str"):
        staged(prepared, "x")
    with pytest.raises(StageError, match=r"expected the \d prepared arrays that stage returned"):
        staged([], X)


def test_stage_works_under_jit():
    @jax.jit
    def step(params, x):
        prepared, staged = stage(normalise, params, x)
        return staged(prepared, x)

    np.testing.assert_allclose(step(PARAMS, X), normalise(PARAMS, X), rtol=1e-5)
