"""Where captured values come from, and what is computed for them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.transform import TapError, TransformError, UnknownTapError, capture, tap, taps

X = jnp.linspace(-1.0, 2.0, 6)


def name_sine(x):
    """Names sin(x), and goes on with twice that."""
    return tap(jnp.sin(x), "sine") * 2


@jax.custom_vjp
def with_own_vjp(x):
    return name_sine(x)


with_own_vjp.defvjp(lambda x: (with_own_vjp(x), None), lambda _, g: (g * 7,))


@jax.custom_jvp
def with_own_jvp(x):
    return name_sine(x)


with_own_jvp.defjvp(lambda primals, tangents: (with_own_jvp(*primals), tangents[0] * 7))


def in_shard_map(fn):
    mesh = jax.make_mesh((1,), ("device",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("device")
    return jax.shard_map(fn, mesh=mesh, in_specs=spec, out_specs=spec)


def scanned(fn, *, reverse=False):
    """Applies fn to x * t for t = 1, 2, 3 and adds up."""

    def steps(x):
        def step(total, t):
            value = fn(x * t)
            return total + value, value.sum()

        times = jnp.arange(1.0, 4.0)
        return jax.lax.scan(step, jnp.zeros_like(x), times, reverse=reverse)[0]

    return steps


OPENED = {
    "nothing": lambda fn: fn,
    "jit": jax.jit,
    "nested jit": lambda fn: jax.jit(lambda x: jax.jit(fn)(x) + 1),
    "remat": jax.checkpoint,
    "jit of remat": lambda fn: jax.jit(jax.checkpoint(fn)),
    "vmap": jax.vmap,
    "closed over": lambda fn: lambda x: jax.jit(lambda: fn(x))(),
    "custom_vjp": lambda fn: with_own_vjp,
    "custom_jvp": lambda fn: with_own_jvp,
}


@pytest.mark.parametrize("wrap", OPENED.values(), ids=OPENED)
@pytest.mark.parametrize("outer", [lambda fn: fn, jax.jit], ids=["eager", "jit"])
def test_capture_opens(wrap, outer):
    fn = wrap(name_sine)
    output, values = outer(capture(fn, ["sine"], with_output=True))(X)
    np.testing.assert_allclose(values["sine"], jnp.sin(X), rtol=1e-6)
    np.testing.assert_allclose(output, fn(X), rtol=1e-6)


@pytest.mark.parametrize("wrap", OPENED.values(), ids=OPENED)
def test_captured_value_is_differentiable_and_vmappable(wrap):
    def energy(x):
        return capture(wrap(name_sine), ["sine"])(x)["sine"].sum()

    np.testing.assert_allclose(jax.grad(energy)(X), jnp.cos(X), rtol=1e-6)
    batch = jnp.stack([X, X + 1])
    np.testing.assert_allclose(jax.vmap(jax.grad(energy))(batch), jnp.cos(batch), rtol=1e-6)


@pytest.mark.parametrize("custom", [with_own_vjp, with_own_jvp])
def test_capture_keeps_a_custom_rule(custom):
    output = capture(custom, ["sine"], with_output=True)
    np.testing.assert_array_equal(jax.grad(lambda x: output(x)[0].sum())(X), jnp.full(6, 7.0))


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_stacks_by_position(reverse):
    fn = scanned(name_sine, reverse=reverse)
    expected = jnp.sin(X * jnp.arange(1.0, 4.0)[:, None])
    for transformed in (capture(fn, ["sine"]), jax.jit(capture(fn, ["sine"]))):
        np.testing.assert_allclose(transformed(X)["sine"], expected, rtol=1e-6)
    assert taps(fn, X)["sine"].shape == (3, 6)


def test_nested_scans_stack_twice():
    fn = scanned(scanned(jax.checkpoint(name_sine)))
    times = jnp.arange(1.0, 4.0)
    output, values = capture(fn, ["sine"], with_output=True)(X)
    expected = jnp.sin(X * (times[:, None] * times)[..., None])
    np.testing.assert_allclose(values["sine"], expected, rtol=1e-5)
    np.testing.assert_allclose(output, fn(X), rtol=1e-5)


def test_scan_is_sliced_to_what_the_name_needs():
    def fn(x):
        def step(carry, _):
            small, large = carry
            return (tap(small * 2, "small"), jnp.tanh(large) @ large), large

        return jax.lax.scan(step, (x, jnp.outer(x, x)), None, length=4)

    captured = capture(fn, ["small"])
    assert "tanh" not in str(jax.make_jaxpr(captured)(X))
    np.testing.assert_allclose(captured(X)["small"][-1], X * 16)


def while_loop(fn):
    return lambda x: jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: fn(x) + 3, x)


def cond(fn):
    return lambda x: jax.lax.cond(x.sum() > 0, fn, lambda x: x, x)


FORBIDDEN = {
    "while": (while_loop, "inside a while loop, whose number of steps is not known"),
    "cond": (cond, "inside a branch of a cond, which may not be taken"),
    "shard_map": (in_shard_map, "inside a shard_map, where each device holds its own part"),
    "scan of cond": (lambda fn: scanned(cond(fn)), "inside a branch of a cond"),
    "solver": (
        lambda fn: lambda x: jax.lax.custom_linear_solve(fn, x, lambda _, b: b),
        "inside a custom_linear_solve, which cannot be opened",
    ),
}


@pytest.mark.parametrize(("wrap", "message"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_capture_is_an_error_where_it_has_no_meaning(wrap, message):
    with pytest.raises(TapError, match=f"cannot capture 'sine': it lies {message}"):
        capture(wrap(lambda x: tap(x * 2.0, "sine")), ["sine"])(X)
    assert "sine" in taps(wrap(lambda x: tap(x * 2.0, "sine")), X)


def test_unknown_name_lists_the_nearest():
    def fn(x):
        return tap(x, "relu1") + tap(x, "relu2") + tap(x, "softmax")

    with pytest.raises(
        UnknownTapError, match=r"There is no tap 'rely1'; nearest: relu\d, relu\d\.$"
    ):
        capture(fn, ["relu1", "rely1"])(X)
    with pytest.raises(UnknownTapError, match="the function names no value"):
        capture(jnp.sin, ["relu1"])(X)


def test_repeated_name_is_numbered():
    def fn(x):
        return jax.jit(name_sine)(name_sine(x))

    first = jnp.sin(X)
    values = capture(fn, ["sine[1]", "sine[0]"])(X)
    np.testing.assert_allclose(values["sine[0]"], first, rtol=1e-6)
    np.testing.assert_allclose(values["sine[1]"], jnp.sin(first * 2), rtol=1e-6)
    with pytest.raises(
        UnknownTapError, match=r"tapped 2 times: ask for 'sine\[0\]' to 'sine\[1\]'"
    ):
        capture(fn, ["sine"])(X)


def test_numbered_name_must_not_clash():
    with pytest.raises(TapError, match=r"'a\[0\]' also stands for a repeated tap"):
        taps(lambda x: tap(tap(tap(x, "a"), "a"), "a[0]"), X)


def test_layers_above_are_not_computed(plain, images):
    def flops(fn):
        compiled = jax.jit(fn).lower(plain.params, images).compile()
        return compiled.cost_analysis()["flops"]

    def lower_part(params, images):
        kernel, bias = params["conv1"], params["conv1_bias"]
        numbers = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=numbers)
        return jnp.maximum(x + bias, 0)

    first = capture(plain.apply, ["relu1"])
    assert flops(first) == flops(lower_part) < 0.7 * flops(plain.apply)
    eager = str(jax.make_jaxpr(first)(plain.params, images))
    assert eager.count("conv_general_dilated[") == 1
    assert "dot_general" not in eager


def test_effects_before_the_last_value_happen_and_later_ones_do_not():
    seen = []

    def fn(x):
        jax.debug.callback(lambda: seen.append("below"))
        x = name_sine(x)
        jax.debug.callback(lambda: seen.append("above"))
        return x

    capture(fn, ["sine"])(X)
    jax.effects_barrier()
    assert seen == ["below"]
    capture(fn, ["sine"], with_output=True)(X)
    jax.effects_barrier()
    assert sorted(seen) == ["above", "below", "below"]


def test_arguments_of_every_kind():
    def fn(tree, scale, *, key, nothing):
        assert nothing is None
        noise = jax.random.normal(key, tree["x"][0].shape)
        return tap(tree["x"][0] * scale + noise, "mix"), {"half": scale / 2}

    key = jax.random.key(0)
    output, values = capture(fn, "mix", with_output=True)(
        {"x": (np.asarray(X),)}, 2, key=key, nothing=None
    )
    expected = X * 2 + jax.random.normal(key, X.shape)
    np.testing.assert_allclose(values["mix"], expected, rtol=1e-6)
    np.testing.assert_allclose(output[0], expected, rtol=1e-6)
    assert output[1]["half"] == 1.0


def test_static_arguments_must_be_bound():
    def fn(x, mode, flag=True):
        return tap(x if flag else -x, "x")

    with pytest.raises(TransformError, match="argument number 1 of fn is a str, not an array"):
        capture(fn, ["x"])(X, "fast")
    with pytest.raises(TransformError, match="keyword argument 'mode' of fn is a function, not"):
        capture(fn, ["x"])(X, mode=lambda x: x)
    with pytest.raises(TransformError, match=r"argument 'mode' of fn holds a str \(at \[0\]\)"):
        capture(fn, ["x"])(X, mode=["batch_stats"])
    with pytest.raises(TransformError, match=r"argument number 1 of fn holds a str \(at \['b'\]\)"):
        capture(fn, ["x"])(X, {"a": X, "b": "fast"})
    with pytest.raises(jax.errors.TracerBoolConversionError) as caught:
        capture(fn, ["x"])(X, 1, flag=True)
    assert "functools.partial" in "".join(caught.value.__notes__)
    bound = functools.partial(fn, mode="fast", flag=True)
    np.testing.assert_array_equal(capture(bound, ["x"])(X)["x"], X)


def test_closed_over_tracers_are_differentiated():
    def energy(scale):
        return capture(lambda x: name_sine(x * scale), ["sine"])(X)["sine"].sum()

    np.testing.assert_allclose(jax.grad(energy)(2.0), (X * jnp.cos(X * 2)).sum(), rtol=1e-5)


def test_capture_inside_the_functions_own_gradient_reads_the_forward_value():
    gradient = jax.grad(lambda x: jax.checkpoint(name_sine)(x).sum())
    output, values = capture(gradient, ["sine"], with_output=True)(X)
    np.testing.assert_allclose(values["sine"], jnp.sin(X), rtol=1e-6)
    np.testing.assert_allclose(output, 2 * jnp.cos(X), rtol=1e-6)


def test_remat_stays_remat_with_its_policy():
    policy = jax.checkpoint_policies.everything_saveable
    fn = jax.checkpoint(name_sine, policy=policy, prevent_cse=False)
    program = jax.make_jaxpr(capture(fn, ["sine"], with_output=True))(X)
    (remat,) = program.eqns
    assert remat.params["policy"] is policy
    assert remat.params["prevent_cse"] is False


def test_a_call_without_the_name_stays_a_call():
    def fn(x):
        return name_sine(jax.jit(jnp.tanh)(x))

    program = jax.make_jaxpr(capture(fn, ["sine"]))(X)
    assert [equation.primitive.name for equation in program.eqns] == ["jit", "sin", "name"]


def test_shardings_of_an_opened_jit_are_kept():
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    fn = jax.jit(name_sine, in_shardings=sharding, out_shardings=sharding)
    program = str(jax.make_jaxpr(capture(fn, ["sine"], with_output=True))(X))
    assert program.count("sharding_constraint") == 2
