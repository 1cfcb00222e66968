"""Where values can be replaced, and where that would be unsound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.transform import TapError, UnknownTapError, capture, edit, tap

X = jnp.linspace(-1.0, 2.0, 6)


def name_sine(x):
    """Names sin(x), and goes on with twice that."""
    return tap(jnp.sin(x), "sine") * 2


def name_shifted(x):
    """What `name_sine` is after an edit that adds one."""
    return (jnp.sin(x) + 1) * 2


def while_loop(fn):
    return lambda x: jax.lax.while_loop(lambda x: x.sum() < 99, lambda x: fn(x) + x + 3, x)


def cond(fn):
    return lambda x: jax.lax.cond(x.sum() > 0, fn, lambda x: x, x)


def switch(fn):
    return lambda x: jax.lax.switch(2, [jnp.cos, jnp.tan, fn], x)


PLACES = {
    "nothing": lambda fn: fn,
    "nested jit": lambda fn: jax.jit(lambda x: jax.jit(fn)(x) + 1),
    "remat": jax.checkpoint,
    "vmap": jax.vmap,
    "while": while_loop,
    "cond": cond,
    "switch": switch,
    "cond in remat": lambda fn: jax.checkpoint(cond(fn)),
}


@pytest.mark.parametrize("wrap", PLACES.values(), ids=PLACES)
def test_edit_reaches(wrap):
    edited = edit(wrap(name_sine), {"sine": lambda value: value + 1})
    expected = wrap(name_shifted)
    for outer in (lambda fn: fn, jax.jit, lambda fn: jax.jvp(fn, (X,), (X,))[1]):
        actual, wanted = outer(edited), outer(expected)
        actual, wanted = (actual(X), wanted(X)) if callable(actual) else (actual, wanted)
        np.testing.assert_allclose(actual, wanted, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(edited)(X[None])[0], expected(X), rtol=1e-5)


def test_edit_may_be_differentiated_in_what_it_reads():
    def energy(shift):
        return edit(jax.checkpoint(name_sine), {"sine": lambda value: value * shift})(X).sum()

    np.testing.assert_allclose(jax.grad(energy)(3.0), 2 * jnp.sin(X).sum(), rtol=1e-5)


def test_condition_of_a_while_loop_is_edited():
    def fn(x):
        return jax.lax.while_loop(lambda x: tap(x, "limit") < 5, lambda x: x + 1, x)

    assert edit(fn, {"limit": lambda value: value - 10})(0) == 15


@pytest.mark.parametrize("reverse", [False, True])
def test_edit_in_a_scan_gets_the_index_of_the_step(reverse):
    def fn(x):
        step = jax.checkpoint(lambda carry, t: (carry, tap(carry * t, "product")))
        return jax.lax.scan(step, x, jnp.arange(4.0), reverse=reverse)[1]

    def replace(value, step):
        return jnp.where(step == 2, 0, value)

    expected = X * jnp.array([0.0, 1.0, 0.0, 3.0])[:, None]
    np.testing.assert_array_equal(edit(fn, {"product": replace})(X), expected)


def test_edit_in_nested_scans_gets_both_indices():
    def fn(x):
        def outer(_, a):
            return None, jax.lax.scan(lambda _, b: (None, tap(a + b, "sum")), None, x)[1]

        return jax.lax.scan(outer, None, x)[1]

    edited = edit(fn, {"sum": lambda value, outer, inner: value * 0 + 10 * outer + inner})
    np.testing.assert_array_equal(edited(X), 10 * np.arange(6)[:, None] + np.arange(6))


def test_an_edit_that_takes_no_step_is_an_error_in_a_scan():
    def fn(x):
        return jax.lax.scan(lambda c, _: (name_sine(c), None), x, None, length=3)[0]

    message = r"the edit of 'sine' is called as g\(value, step\), because it lies in a scan"
    with pytest.raises(TapError, match=message):
        edit(fn, {"sine": lambda value: value})(X)
    with pytest.raises(TapError, match=r"g\(value, step_0, step_1\), because it lies in 2 scans"):
        edit(
            lambda x: jax.lax.scan(lambda c, _: (fn(c), None), x, None, length=2)[0],
            {"sine": lambda value, step: value},
        )(X)
    with pytest.raises(TapError, match=r"the edit of 'sine' is called as g\(value\), but does"):
        edit(name_sine, {"sine": lambda value, step: value})(X)
    with pytest.raises(TypeError, match="unsupported operand"):  # the edit's own mistake
        edit(name_sine, {"sine": lambda value: value + "one"})(X)


def test_edits_and_captures_compose():
    def fn(x):
        return tap(name_sine(x) + 1, "out")

    edited = edit(fn, {"sine": jnp.zeros_like})
    assert (capture(edited, ["sine"])(X)["sine"] == 0).all()
    assert (edit(edited, {"out": lambda value: value * 3})(X) == 3).all()
    both = edit(fn, {"sine": jnp.zeros_like, "out": lambda value: value * 5})
    assert (both(X) == 5).all()


def test_one_of_several_is_edited():
    def fn(x):
        return tap(tap(x, "a") + 1, "a")

    assert edit(fn, {"a[0]": lambda value: value * 10})(2) == 21
    assert edit(fn, {"a[1]": lambda value: value * 10})(2) == 30
    with pytest.raises(UnknownTapError, match="tapped 2 times"):
        edit(fn, {"a": jnp.sin})(2)


@jax.custom_vjp
def with_own_vjp(x):
    return name_sine(x)


with_own_vjp.defvjp(lambda x: (with_own_vjp(x), None), lambda _, g: (g * 7,))


@jax.custom_jvp
def with_own_jvp(x):
    return name_sine(x)


with_own_jvp.defjvp(lambda primals, tangents: (with_own_jvp(*primals), tangents[0] * 7))


def in_shard_map(x):
    mesh = jax.make_mesh((1,), ("device",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("device")
    return jax.shard_map(name_sine, mesh=mesh, in_specs=spec, out_specs=spec)(x)


FORBIDDEN = {
    "custom_vjp": (with_own_vjp, "inside a custom_vjp function, whose own derivative rule"),
    "custom_jvp": (with_own_jvp, "inside a custom_jvp function, whose own derivative rule"),
    "jit of custom_vjp": (jax.jit(with_own_vjp), "inside a custom_vjp function"),
    "shard_map": (in_shard_map, "inside a shard_map, where each device"),
    "solver": (
        lambda x: jax.lax.custom_linear_solve(lambda x: tap(2 * x, "sine"), x, lambda _, b: b / 2),
        "inside a custom_linear_solve, which cannot be opened",
    ),
    "own gradient": (jax.grad(lambda x: name_sine(x).sum()), "differentiates it itself"),
    "own jvp": (lambda x: jax.jvp(name_sine, (x,), (x,))[1], "differentiates it itself"),
    "jit of own gradient": (
        jax.jit(jax.grad(jax.jit(lambda x: jax.checkpoint(name_sine)(x).sum()))),
        "differentiates it itself",
    ),
    "scan of own gradient": (
        jax.grad(lambda x: jax.lax.scan(lambda c, _: (name_sine(c), None), x, None, 3)[0].sum()),
        "differentiates it itself",
    ),
}


@pytest.mark.parametrize(("fn", "message"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_edit_is_an_error_where_it_would_be_unsound(fn, message):
    with pytest.raises(TapError, match=f"cannot edit 'sine': .*{message}"):
        edit(fn, {"sine": lambda value, *steps: value})(X)


def test_edit_under_an_outer_gradient_is_no_error():
    edited = edit(name_sine, {"sine": lambda value: value**2})
    slope = jax.grad(lambda x: edited(x).sum())(X)
    np.testing.assert_allclose(slope, 4 * jnp.sin(X) * jnp.cos(X), rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (lambda value: value[:2], r"float32\[2\]"),
        (lambda value: value.astype(jnp.int32), r"int32\[6\]"),
        (lambda value: 0.0, r"float32\[\]"),
    ],
)
def test_edit_must_keep_shape_and_dtype(wrong, found):
    with pytest.raises(TapError, match=rf"'sine' must return float32\[6\], .* returned {found}"):
        edit(name_sine, {"sine": wrong})(X)


def test_unused_effects_still_happen():
    seen = []

    def fn(x):
        jax.debug.callback(lambda: seen.append("effect"))
        return name_sine(x)

    edit(fn, {"sine": jnp.zeros_like})(X)
    jax.effects_barrier()
    assert seen == ["effect"]
