"""Backward rules reach every ReLU, only ReLUs, and change nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxinterp.transform import (
    Composite,
    RuleError,
    UnknownTapError,
    deconvnet,
    guided_backprop,
    tap,
    with_rules,
)
from jaxinterp.transform.rules import guided_relu

X = jnp.asarray([-2.0, -1.0, 1.0, 2.0])
WEIGHTS = jnp.asarray([1.0, -1.0, 1.0, -1.0])

RELUS = {
    "jax.nn.relu": jax.nn.relu,
    "maximum(x, 0)": lambda x: jnp.maximum(x, 0),
    "maximum(0.0, x)": lambda x: jnp.maximum(0.0, x),
    "max with zeros": lambda x: jax.lax.max(x, jnp.zeros_like(x)),
    "max with a cast zero": lambda x: jnp.maximum(x, jnp.int32(0)),
    "max with an array": lambda x: jnp.maximum(x, np.zeros(x.shape, np.float32)),
    "clip": lambda x: jnp.clip(x, 0),
    "where": lambda x: jnp.where(x > 0, x, 0),
    "where, turned round": lambda x: jnp.where(jnp.zeros(4) < x, x, 0.0),
    "gated": lambda x: x * (x > 0),
    "of a difference": lambda x: jnp.maximum(x - (x - x) ** 2, 0),
    "jit": jax.jit(jax.nn.relu),
}

OTHERS = {
    "relu6": jax.nn.relu6,
    "relu6 by hand": lambda x: jnp.minimum(jnp.maximum(x, 0), 6),
    "relu6 turned round": lambda x: jnp.maximum(jnp.minimum(x, 6), 0),
    "clip": lambda x: jnp.clip(x, 0, 6),
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "celu": jax.nn.celu,
    "where with another value": lambda x: jnp.where(x > 0, x, 1),
    "where on another value": lambda x: jnp.where(x[::-1] > 0, x, 0),
    "relu6 over two jits": lambda x: jnp.minimum(jnp.clip(x, 0), 6),
    "prelu by hand": lambda x: jnp.maximum(x, 0) + 0.2 * jnp.minimum(x, 0),
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "maximum(x, y)": lambda x: jnp.maximum(x, x[::-1]),
    "maximum(x, 1)": lambda x: jnp.maximum(x, 1),
    "integers": lambda x: x * jnp.maximum(x.astype(jnp.int32), 0),
    "variance": lambda x: x * jnp.maximum((x**2).mean() - jnp.square(x.mean()), 0),
    "variance by clip": lambda x: x * jnp.clip((x**2).mean() - jnp.square(x.mean()), 0),
    "variance from calls": lambda x: (
        x * jnp.clip(jax.jit(lambda x: (x**2).mean() - jnp.square(x.mean()))(x), 0)
    ),
    "standardize": jax.nn.standardize,
    "maximum(x, nan)": lambda x: jnp.where(x > 9, jnp.maximum(x, jnp.nan), x),
    "clips": lambda x: jnp.clip(jnp.clip(x, max=1.5), 0),
    "log_softmax": jax.nn.log_softmax,
    "layer norm": lambda x: nnx.LayerNorm(4, rngs=nnx.Rngs(0))(x),
    "group norm": lambda x: nnx.GroupNorm(4, num_groups=2, rngs=nnx.Rngs(0))(x[None])[0],
}

WRAPS = {
    "nothing": lambda fn: fn,
    "nested jit": lambda fn: jax.jit(lambda x: jax.jit(fn)(x)),
    "remat": jax.checkpoint,
    "scan": lambda fn: lambda x: jax.lax.scan(lambda c, _: (fn(c), None), x, None, length=1)[0],
    "scan of remat": lambda fn: (
        lambda x: jax.lax.scan(lambda c, _: (jax.checkpoint(fn)(c), None), x, None, length=1)[0]
    ),
    "cond": lambda fn: lambda x: jax.lax.cond(x.sum() > -99, fn, lambda x: x, x),
    "vmap": lambda fn: lambda x: jax.vmap(fn)(x[None])[0],
    "shard_map": lambda fn: in_shard_map(fn),
}


def in_shard_map(fn):
    mesh = jax.make_mesh((1,), ("device",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("device")
    return jax.shard_map(fn, mesh=mesh, in_specs=spec, out_specs=spec)


def slope(fn):
    return jax.grad(lambda x: (fn(x) * WEIGHTS).sum())(X)


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_every_form_of_relu_is_recognised(relu):
    np.testing.assert_array_equal(with_rules(relu, guided_backprop)(X), relu(X))
    np.testing.assert_array_equal(slope(with_rules(relu, guided_backprop)), [0, 0, 1, 0])
    np.testing.assert_array_equal(slope(with_rules(relu, deconvnet)), [1, 0, 1, 0])
    np.testing.assert_array_equal(slope(relu), [0, 0, 1, -1])


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("relu", [jax.nn.relu, RELUS["maximum(x, 0)"]], ids=["nn", "maximum"])
def test_rules_reach_into(wrap, relu):
    fn = wrap(relu)
    for outer in (lambda fn: fn, jax.jit):
        ruled = outer(with_rules(fn, deconvnet))
        np.testing.assert_array_equal(ruled(X), fn(X))
        np.testing.assert_array_equal(slope(ruled), [1, 0, 1, 0])


def test_zero_may_come_from_outside_a_loop():
    def fn(x):
        zero = jnp.zeros(())
        return jax.lax.scan(lambda c, _: (jnp.maximum(c, zero), None), x, None, length=1)[0]

    np.testing.assert_array_equal(slope(with_rules(fn, deconvnet)), [1, 0, 1, 0])


def test_rules_in_a_while_loop():
    def fn(x):
        return jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: jax.nn.relu(x) + 1, x)

    np.testing.assert_array_equal(with_rules(fn, deconvnet)(X), fn(X))
    assert "custom_vjp_call" in str(jax.make_jaxpr(with_rules(fn, deconvnet))(X))


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_nothing_else_is_taken_for_a_relu(other):
    with pytest.raises(RuleError, match="has a rule for 'relu', but the function has none"):
        with_rules(other, deconvnet)(X)
    # Next to a ReLU it keeps its own gradient.
    ruled = with_rules(lambda x: other(x) + jax.nn.relu(x - 9), deconvnet)
    np.testing.assert_allclose(
        slope(ruled) - jnp.asarray([1.0, 0, 1, 0]), slope(other), rtol=1e-5, atol=1e-6
    )


@jax.custom_vjp
def own_vjp(x):
    return jax.nn.relu(x) * 2


own_vjp.defvjp(lambda x: (own_vjp(x), None), lambda _, g: (g,))


@jax.custom_jvp
def own_jvp(x):
    return jax.nn.relu(x) * 2


own_jvp.defjvp(lambda primals, tangents: (own_jvp(*primals), tangents[0]))

FORBIDDEN = {
    "custom_vjp": (own_vjp, "inside a custom_vjp function, whose own derivative rule"),
    "custom_jvp": (own_jvp, "inside a custom_jvp function, whose own derivative rule"),
    "own gradient": (
        jax.grad(lambda x: (jax.nn.relu(x) ** 2).sum()),
        "differentiates it itself",
    ),
    "own gradient of maximum": (
        jax.jit(jax.grad(lambda x: (jnp.maximum(x, 0) ** 2).sum())),
        "differentiates it itself",
    ),
    "solver": (
        lambda x: jax.lax.custom_linear_solve(jax.nn.relu, x, lambda _, b: b),
        "inside a custom_linear_solve, which cannot be opened",
    ),
}


@pytest.mark.parametrize(("fn", "message"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_a_rule_is_an_error_where_it_would_be_unsound(fn, message):
    with pytest.raises(RuleError, match=f"cannot give 'relu' a rule: .*{message}"):
        with_rules(fn, deconvnet)(X)


@jax.custom_vjp
def pool_pairs(x):
    return jnp.maximum(x[::2], x[1::2])


pool_pairs.defvjp(lambda x: (pool_pairs(x), None), lambda _, g: (jnp.repeat(g, 2) * 5,))


def test_a_custom_rule_without_relu_stays_bound():
    ruled = with_rules(lambda x: jnp.repeat(pool_pairs(jax.nn.relu(x)), 2), deconvnet)
    np.testing.assert_array_equal(slope(ruled), [0, 0, 0, 0])  # each pair's signals cancel
    signal = jax.grad(lambda x: ruled(x)[0])(X)
    np.testing.assert_array_equal(signal, [5, 5, 0, 0])


def test_layers_go_before_operations():
    def fn(x):
        x = tap(jax.nn.relu(x), "first")
        return tap(jax.nn.relu(x * -1 + 5), "second")

    both = slope(with_rules(fn, guided_backprop))
    only_first = Composite({"relu": guided_relu}, layers={"second": None})
    only_second = Composite(layers={"second": guided_relu})
    np.testing.assert_array_equal(both, [0, 0, 0, 0])
    np.testing.assert_array_equal(slope(with_rules(fn, only_first)), [0, 0, 0, 1])
    np.testing.assert_array_equal(slope(with_rules(fn, only_second)), [0, 0, -1, 0])


def test_wrong_composites_are_errors():
    def fn(x):
        return tap(tap(jax.nn.relu(x), "relu1")[::-1], "reversed")

    with pytest.raises(RuleError, match="There is no operation 'rleu'; nearest: relu"):
        with_rules(fn, Composite({"rleu": guided_relu}))
    with pytest.raises(UnknownTapError, match="There is no tap 'relu2'; nearest: relu1"):
        with_rules(fn, Composite(layers={"relu2": guided_relu}))(X)
    with pytest.raises(RuleError, match="'reversed' taps a value that no operation computes"):
        with_rules(fn, Composite(layers={"reversed": guided_relu}))(X)


def test_rules_can_use_the_operation_itself():
    def gradient_times_input(apply, inputs, cotangent):
        output, pull = jax.vjp(apply, *inputs)
        return (pull(cotangent)[0] * output,)

    ruled = with_rules(jax.nn.relu, Composite({"relu": gradient_times_input}))
    np.testing.assert_array_equal(slope(ruled), [0, 0, 1, -2])


@pytest.mark.parametrize("kind", ["guided", "deconvnet"])
def test_three_layers_against_numpy(kind):
    random = np.random.default_rng(3)
    kernels = [random.normal(size=(6, 6)) for _ in range(3)]
    x = random.normal(size=(4, 6))

    def network(x):
        for kernel in kernels:
            x = jax.nn.relu(x @ jnp.asarray(kernel, jnp.float32))
        return x

    below, value = [], x
    for kernel in kernels:
        below.append(value @ kernel)
        value = np.where(below[-1] > 0, below[-1], 0)
    expected = np.zeros_like(x)
    for example in range(4):
        signal = np.zeros(6)
        signal[2] = 1.0
        for kernel, active in zip(kernels[::-1], below[::-1], strict=True):
            passed = np.zeros(6)
            for unit in range(6):
                if signal[unit] > 0 and (kind == "deconvnet" or active[example, unit] > 0):
                    passed[unit] = signal[unit]
            signal = kernel @ passed
        expected[example] = signal
    composite = {"guided": guided_backprop, "deconvnet": deconvnet}[kind]
    ruled = with_rules(network, composite)
    actual = jax.grad(lambda x: ruled(x)[:, 2].sum())(jnp.asarray(x, jnp.float32))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
