"""Operations are recognised in all their forms, and a rule is given what they read."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from framework_networks import MAKERS, make_weights

from jaxinterp.models.layers import LocalResponseNorm, adaptive_average_pool
from jaxinterp.models.pooling import max_pool
from jaxinterp.models.registry import ARCHITECTURES
from jaxinterp.transform import (
    OPERATIONS,
    Composite,
    RuleError,
    list_operations,
    stride_one,
    stride_one_centred,
    tap,
    with_rules,
    with_stride_one,
)
from jaxinterp.transform.rules import guided_relu

KEYS = jax.random.split(jax.random.key(0), 4)
MAPS = jax.random.normal(KEYS[0], (2, 8, 8, 4))
FLAT = jax.random.normal(KEYS[1], (2, 12))
KERNEL = jax.random.normal(KEYS[2], (3, 3, 4, 6))
MATRIX = jax.random.normal(KEYS[3], (12, 5))
BIAS = jnp.arange(1.0, 7.0)


def convolve(x, w, stride=1, **options):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, w, (stride, stride), "SAME", dimension_numbers=numbers, **options
    )


def vmapped(w, x):
    """One example at a time, channels first, as in Equinox."""

    def one(x):
        y = jax.lax.conv_general_dilated(
            x.transpose(2, 0, 1)[None], w.transpose(3, 2, 0, 1), (1, 1), "SAME"
        )
        return y[0] + BIAS[:, None, None]

    return jax.vmap(one)(x)


def mean_of_windows(x, stride=2):
    sums = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, stride, stride, 1), "VALID")
    return sums / 4


def batch_norm(w, x):
    return (x - w["mean"]) * (w["scale"] / jnp.sqrt(w["variance"] + 1e-5)) + w["shift"]


@jax.custom_vjp
def sine_and_cosine(x):
    return jnp.sin(x), jnp.cos(x)


sine_and_cosine.defvjp(
    lambda x: (sine_and_cosine(x), x),
    lambda x, g: (jnp.cos(x) * g[0] - jnp.sin(x) * g[1],),
)

STATISTICS = {
    "mean": jnp.arange(4.0),
    "variance": jnp.arange(1.0, 5.0),
    "scale": jnp.full(4, 2.0),
    "shift": jnp.ones(4),
}

NNX_CONV, NNX_CONV_STATE = nnx.split(nnx.Conv(4, 6, (3, 3), strides=2, rngs=nnx.Rngs(0)))
NNX_NORM, NNX_NORM_STATE = nnx.split(nnx.BatchNorm(4, rngs=nnx.Rngs(0)))

# The function of (weights, x), its weights, its input, and the kinds it consists of.
FORMS = {
    "conv": (lambda w, x: convolve(x, w), KERNEL, MAPS, ["conv"]),
    "conv, weights made of weights": (
        lambda w, x: convolve(x, w / jnp.linalg.norm(w)),
        KERNEL,
        MAPS,
        ["conv"],
    ),
    "conv with bias": (
        lambda w, x: convolve(x, w[0]) + w[1],
        (KERNEL, BIAS),
        MAPS,
        ["conv"],
    ),
    "conv with bias in two jits": (
        lambda w, x: jnp.add(jax.jit(convolve)(x, w[0]), jax.jit(jnp.negative)(w[1])),
        (KERNEL, BIAS),
        MAPS,
        ["conv"],
    ),
    "conv under vmap": (vmapped, KERNEL, MAPS, ["conv"]),
    "conv that is read twice": (
        lambda w, x: (lambda y: y + BIAS + y**3)(convolve(x, w)),
        KERNEL,
        MAPS,
        ["conv", "batch_norm", "integer_pow", "add"],
    ),
    "conv, tapped before its bias": (
        lambda w, x: tap(convolve(x, w), "conv") + BIAS,
        KERNEL,
        MAPS,
        ["conv", "batch_norm"],
    ),
    "nnx.Conv": (
        lambda w, x: nnx.merge(NNX_CONV, w)(x),
        NNX_CONV_STATE,
        MAPS,
        ["conv"],
    ),
    "dense": (lambda w, x: x @ w, MATRIX, FLAT, ["dense"]),
    "dense from the left": (lambda w, x: (w.T @ x.T).T, MATRIX, FLAT, ["dense"]),
    "dense with bias": (lambda w, x: x @ w + w[0], MATRIX, FLAT, ["dense"]),
    "dense with a number": (lambda w, x: x @ w + 1.5, MATRIX, FLAT, ["dense"]),
    "einsum with bias": (
        lambda w, x: jnp.einsum("fc,nf->cn", w, x).T + w[0],
        MATRIX,
        FLAT,
        ["dense"],
    ),
    "dense by a constant": (
        lambda w, x: x @ np.asarray(MATRIX) + w,
        jnp.ones(5),
        FLAT,
        ["dense"],
    ),
    "max pool": (
        lambda w, x: jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"
        ),
        None,
        MAPS,
        ["max_pool"],
    ),
    "own max pool": (lambda w, x: max_pool(x, 3, 2), None, MAPS, ["max_pool"]),
    "own max pool in jit": (lambda w, x: jax.jit(max_pool)(x), None, MAPS, ["max_pool"]),
    "nnx.max_pool": (lambda w, x: nnx.max_pool(x, (2, 2), (2, 2)), None, MAPS, ["max_pool"]),
    "mean": (lambda w, x: x.mean((1, 2)), None, MAPS, ["average_pool"]),
    "average pool": (lambda w, x: mean_of_windows(x), None, MAPS, ["average_pool"]),
    "nnx.avg_pool": (
        lambda w, x: nnx.avg_pool(x, (2, 2), (2, 2), "SAME", count_include_pad=False),
        None,
        MAPS,
        ["average_pool"],
    ),
    "adaptive average pool": (
        lambda w, x: adaptive_average_pool(x, 3),
        None,
        MAPS,
        ["average_pool", "average_pool"],
    ),
    "batch norm": (batch_norm, STATISTICS, MAPS, ["batch_norm"]),
    "nnx.BatchNorm": (
        lambda w, x: nnx.merge(NNX_NORM, w)(x, use_running_average=True),
        NNX_NORM_STATE,
        MAPS,
        ["batch_norm"],
    ),
    "conv and batch norm": (
        lambda w, x: batch_norm(w[1], convolve(x, w[0][..., :4])),
        (KERNEL, STATISTICS),
        MAPS,
        ["conv", "batch_norm"],
    ),
    "local response norm": (
        lambda w, x: LocalResponseNorm(k=2.0, alpha=0.3, beta=0.75)(x),
        None,
        MAPS,
        ["local_response_norm"],
    ),
    "local response norm as a quotient": (
        lambda w, x: (
            x
            / jnp.sqrt(
                1
                + jax.lax.reduce_window(x**2, 0.0, jax.lax.add, (1, 1, 1, 3), (1, 1, 1, 1), "SAME")
            )
        ),
        None,
        MAPS,
        ["local_response_norm"],
    ),
    "sum of squares outside its own window": (
        lambda w, x: (
            x
            / jnp.sqrt(
                1
                + jax.lax.reduce_window(
                    x**2, 0.0, jax.lax.add, (1, 1, 1, 3), (1,) * 4, ((0, 0),) * 3 + ((-1, 3),)
                )
            )
        ),
        None,
        MAPS,
        ["integer_pow", "average_pool", "batch_norm", "sqrt", "div"],
    ),
    "resizing": (
        lambda w, x: convolve(jax.image.resize(x, (2, 16, 16, 4), "bilinear"), w),
        KERNEL,
        MAPS,
        ["average_pool", "average_pool", "conv"],
    ),
    "dead code": (
        lambda w, x: (jnp.tanh(convolve(x, w)), convolve(x, w))[1],
        KERNEL,
        MAPS,
        ["conv"],
    ),
    "relu of weights": (
        lambda w, x: convolve(x, jax.nn.relu(w)) + jnp.maximum(w[0, 0, 0], 0),
        KERNEL,
        MAPS,
        ["conv"],
    ),
    "two outputs": (
        lambda w, x: sine_and_cosine(x)[0],
        None,
        MAPS,
        ["custom_vjp_call"],
    ),
    "sum": (lambda w, x: x[:, :4] + x[:, 4:], None, MAPS, ["add"]),
    "difference": (lambda w, x: x[:, :4] - x[:, 4:], None, MAPS, ["add"]),
    "sum with itself": (lambda w, x: x + x, None, MAPS, ["add"]),
    "movements": (
        lambda w, x: jnp.concatenate([jnp.pad(x.transpose(0, 3, 1, 2), 1)[:, ::-1]] * 2, 1),
        None,
        MAPS,
        [],
    ),
    "scanned": (
        lambda w, x: jax.lax.scan(lambda c, k: (convolve(c, k), None), x, w)[0],
        jnp.stack([KERNEL[..., :4]] * 2),
        MAPS,
        ["conv"],
    ),
    "remat": (
        lambda w, x: jax.checkpoint(lambda w, x: convolve(x, w) + BIAS)(w, x),
        KERNEL,
        MAPS,
        ["conv"],
    ),
    "tanh": (lambda w, x: jnp.tanh(x), None, MAPS, ["tanh"]),
    "product": (lambda w, x: x * jnp.flip(x, 1), None, MAPS, ["mul"]),
    "attention": (lambda w, x: x @ x.T, None, FLAT, ["dot_general"]),
}


def gradient_rule(operation, inputs, cotangent):
    """The plain gradient in the activations, by way of what a rule is given."""
    free, weights = inputs[: operation.activations], inputs[operation.activations :]
    _, pull = jax.vjp(lambda *free: operation(*free, *weights), *free)
    return (*pull(cotangent), *(None for _ in weights))


def everything(rule):
    kinds = dict.fromkeys(OPERATIONS, rule)
    return Composite(kinds, optional=frozenset(OPERATIONS), others=rule)


@pytest.mark.parametrize(("fn", "weights", "x", "kinds"), FORMS.values(), ids=FORMS)
def test_forms(fn, weights, x, kinds):
    listed = list_operations(fn, weights, x)
    assert [one.kind for one in listed] == kinds
    assert [one.known for one in listed] == [kind in OPERATIONS for kind in kinds]
    # A rule that is the gradient changes nothing, so that operations are what they should be.
    rules = everything(gradient_rule)
    if "custom_vjp_call" in kinds:
        with pytest.raises(RuleError, match="no rule for 'custom_vjp_call', which has several"):
            with_rules(fn, rules)(weights, x)
        rules = dataclasses.replace(rules, others=None)
    ruled = with_rules(fn, rules)
    signal = jax.random.normal(jax.random.key(9), jax.eval_shape(fn, weights, x).shape)
    out, pull = jax.vjp(lambda x: fn(weights, x), x)
    same, ruled_pull = jax.vjp(lambda x: ruled(weights, x), x)
    np.testing.assert_allclose(same, out, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ruled_pull(signal)[0], pull(signal)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_weights_and_bias_are_what_the_layer_has(kind):
    weight, x = (KERNEL, MAPS) if kind == "conv" else (MATRIX, FLAT)
    multiply = convolve if kind == "conv" else jnp.matmul
    bias = jnp.arange(float(weight.shape[-1]))
    seen = []

    def look(operation, inputs, cotangent):
        seen.extend(inputs)
        assert (operation.kind, operation.activations) == (kind, 1)
        np.testing.assert_allclose(
            operation(inputs[0], inputs[1], 0 * inputs[2]), multiply(x, weight), rtol=1e-5
        )
        return (inputs[0], None, None)

    ruled = with_rules(lambda w, x: multiply(x, w) + bias, Composite({kind: look}))
    relevance = jax.grad(lambda x: ruled(weight, x).sum())(x)
    for value, expected in zip(seen, (x, weight, bias), strict=True):
        np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(relevance, x)


@pytest.mark.parametrize("bias", [0.5, np.float32(0.5)], ids=["literal", "closed over"])
def test_a_number_may_be_a_bias(bias):
    seen = []

    def look(operation, inputs, cotangent):
        seen.extend(inputs)
        return gradient_rule(operation, inputs, cotangent)

    ruled = with_rules(lambda w, x: x @ w + bias, Composite({"dense": look}))
    jax.grad(lambda x: ruled(MATRIX, x).sum())(FLAT)
    np.testing.assert_array_equal(seen[2], 0.5)


def test_recognition_takes_no_exponential_time():
    def fn(w, x):
        for _ in range(60):
            x = x + x[:, ::-1]
        return convolve(x, w)

    assert len(list_operations(fn, KERNEL, MAPS)) == 61


def test_which_argument_is_a_weight():
    multiply = lambda a, b: a @ b  # noqa: E731
    negative = Composite({"dense": lambda _, inputs, g: tuple(-one for one in inputs)})
    for argnums, expected in ((None, 1), (1, 1), (0, 0), (-2, 0)):
        ruled = with_rules(multiply, negative, argnums=argnums)
        got = jax.grad(lambda *both, fn=ruled: fn(*both).sum(), argnums=expected)(FLAT, MATRIX)
        np.testing.assert_array_equal(got, -(FLAT, MATRIX)[expected])
    with pytest.raises(RuleError, match="has a rule for 'dense', but the function has none"):
        with_rules(multiply, negative, argnums=(0, 1))(FLAT, MATRIX)
    with pytest.raises(RuleError, match="argnums names argument 2, but 2 are given"):
        with_rules(multiply, negative, argnums=2)(FLAT, MATRIX)


def chain(w, x):
    x = tap(jax.nn.relu(convolve(x, w)), "relu1")
    x = tap(max_pool(x), "pool1")
    x = tap(jnp.tanh(convolve(x, w.swapaxes(2, 3))), "tanh2")
    return x.mean((1, 2)) @ w[0, 0, :, :2]


def test_first_layers_and_others():
    called = []

    def named(name):
        def rule(operation, inputs, cotangent):
            called.append((name, operation.kind))
            return gradient_rule(operation, inputs, cotangent)

        return rule

    composite = Composite(
        {"conv": named("conv"), "dense": named("dense"), "relu": named("relu")},
        layers={"relu1": None},
        first=(("dense", "conv"), named("first")),
        others=named("others"),
    )
    jax.grad(lambda x: with_rules(chain, composite)(KERNEL, x).sum())(MAPS)
    assert called == [
        ("dense", "dense"),
        ("others", "average_pool"),
        ("others", "tanh"),
        ("conv", "conv"),
        ("others", "max_pool"),
        ("first", "conv"),
    ]


def test_refusal_names_the_operation():
    rules = dict.fromkeys(OPERATIONS, gradient_rule)
    strict = Composite(rules, optional=frozenset(OPERATIONS), others="refuse")
    with pytest.raises(RuleError, match=r"no rule for the 'tanh' that is 'tanh2': .*`others`"):
        with_rules(chain, strict)(KERNEL, MAPS)
    with pytest.raises(RuleError, match=r"no rule for 'exp' \(after 'a'\)"):
        with_rules(lambda w, x: jnp.exp(tap(x, "a")) * w, strict)(1.0, MAPS)
    # None is a rule: the gradient.
    lenient = dataclasses.replace(strict, layers={"tanh2": None})
    np.testing.assert_allclose(
        jax.grad(lambda x: with_rules(chain, lenient)(KERNEL, x).sum())(MAPS),
        jax.grad(lambda x: chain(KERNEL, x).sum())(MAPS),
        rtol=1e-4,
        atol=1e-6,
    )


def test_known_to_be_nonnegative():
    seen = {}

    def look(operation, inputs, cotangent):
        seen[operation.kind, inputs[1].shape] = operation.nonnegative
        return gradient_rule(operation, inputs, cotangent)

    def fn(w, x):
        x = jax.nn.relu(convolve(x, w[0]))
        x = jnp.concatenate([max_pool(x), mean_of_windows(x)], -1)
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = convolve(LocalResponseNorm(k=1.0, alpha=0.1, beta=0.5)(x), w[1])
        return x.mean((1, 2)) @ w[2]

    weights = (KERNEL, jnp.ones((3, 3, 12, 5)), jnp.ones((5, 2)))
    ruled = with_rules(fn, Composite({"conv": look, "dense": look}))
    jax.grad(lambda x: ruled(weights, x).sum())(MAPS)
    assert seen == {
        ("conv", (3, 3, 4, 6)): False,
        ("conv", (3, 3, 12, 5)): True,
        ("dense", (5, 2)): False,
    }


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_every_framework_consists_of_the_same_operations(make):
    apply, params = make(make_weights())
    listed = list_operations(apply, params, jax.ShapeDtypeStruct((2, 8, 8, 2), "float32"))
    kinds = ["conv", "relu", "average_pool", "conv", "relu", "average_pool", "dense"]
    assert [one.kind for one in listed] == kinds


NAMES = ("alexnet", "vgg11", "vgg13_bn", "resnet34", "resnext50_32x4d", "vgg_f", "mnist")


@pytest.mark.parametrize("name", NAMES)
def test_networks_consist_of_known_operations(name):
    architecture = ARCHITECTURES[name]
    blueprint, preprocess = architecture.blueprint(architecture.classes), architecture.preprocess
    images = jax.ShapeDtypeStruct(
        (1, preprocess.size, preprocess.size, preprocess.channels), "float32"
    )
    listed = list_operations(blueprint.apply, blueprint.shapes, images)
    assert all(one.known for one in listed)
    weights = [shape for key, shape in blueprint.shapes.items() if key.endswith("weight")]
    linear = [one for one in listed if one.kind in ("conv", "dense")]
    assert len(linear) == sum(len(shape.shape) > 1 for shape in weights)


# The window, its stride, and the padding on either side of an input of 11 elements.
STRIDED = [(3, 2, 1), (5, 3, 0), (2, 2, 0), (7, 4, 3), (6, 6, 0), (3, 1, 1)]


def nearest_neighbour(signal, places, stride):
    return [signal[int((place + 0.5) * len(signal) / places)] for place in range(places)]


def nearest_units(signal, places, stride):
    values = []
    for place in range(places):
        distances = [abs(place - stride * unit) for unit in range(len(signal))]
        least = [s for s, d in zip(signal, distances, strict=True) if d == min(distances)]
        values.append(sum(least) / len(least))
    return values


@pytest.mark.parametrize(("size", "stride", "padding"), STRIDED)
@pytest.mark.parametrize("kind", ["conv", "max_pool", "average_pool"])
@pytest.mark.parametrize("rule", [stride_one, stride_one_centred])
def test_stride_one_against_loops(rule, kind, size, stride, padding):
    x = np.asarray(jax.random.normal(KEYS[0], (11,)))
    kernel = np.asarray(jax.random.normal(KEYS[1], (size,)))
    pads = ((0, 0), (padding, padding), (0, 0))
    options = (1, size, 1), (1, stride, 1), pads

    def fn(w, x):
        x = x[None, :, None]
        if kind == "conv":
            numbers = ("NHC", "HIO", "NHC")
            y = jax.lax.conv_general_dilated(
                x, w[:, None, None], (stride,), pads[1:2], dimension_numbers=numbers
            )
        elif kind == "max_pool":
            y = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *options)
        else:
            y = jax.lax.reduce_window(x, 0.0, jax.lax.add, *options) / size
        return y[0, :, 0]

    ruled = with_rules(fn, Composite({kind: rule}))
    signal = np.asarray(jax.random.normal(KEYS[2], jax.eval_shape(fn, kernel, x).shape))
    got = jax.jit(lambda w, x: jax.vjp(functools.partial(ruled, w), x)[1](signal)[0])(kernel, x)
    places = 11 + 2 * padding - size + 1  # A + 2 O - M + 1
    resize = nearest_neighbour if rule is stride_one else nearest_units
    padded = np.pad(x, padding, constant_values=-np.inf)  # never a maximum
    expected = np.zeros(11 + 2 * padding)
    for place, given in enumerate(resize(signal, places, stride)):
        if kind == "max_pool":
            expected[place + np.argmax(padded[place : place + size])] += given
        for offset in range(size if kind != "max_pool" else 0):
            weight = kernel[offset] if kind == "conv" else 1 / size
            expected[place + offset] += given * weight
    if stride == 1:
        plain = jax.vjp(functools.partial(fn, kernel), x)[1](signal)[0]
        np.testing.assert_allclose(got, plain, rtol=1e-6)
    np.testing.assert_allclose(got, expected[padding : padding + 11], rtol=1e-4, atol=1e-5)


def test_unstrided_holds_the_strided_output():
    functions = {
        "conv": lambda w, x: convolve(x[:, :7, :7], w, 2),  # odd, so that "SAME" pads alike
        "max_pool": lambda w, x: max_pool(x),
        "average_pool": lambda w, x: mean_of_windows(x),
    }
    for kind, fn in functions.items():
        seen = []

        def look(operation, inputs, cotangent, seen=seen):
            every = tuple(slice(None, None, stride) for stride in operation.strides)
            seen.append((operation(*inputs), operation.unstrided(*inputs)[every]))
            return gradient_rule(operation, inputs, cotangent)

        ruled = with_rules(fn, Composite({kind: look}))
        jax.grad(lambda x, fn=ruled: fn(KERNEL, x).sum())(MAPS)
        ((strided, picked),) = seen
        np.testing.assert_allclose(strided, picked, rtol=1e-5, atol=1e-5)


def squeezed(w, x):
    """A strided convolution whose output is moved before its bias is added, as in Equinox."""

    def one(x):
        y = jax.lax.conv_general_dilated(
            x.transpose(2, 0, 1)[None], w.transpose(3, 2, 0, 1), (2, 2), "SAME"
        )
        return y[0] + BIAS[:, None, None]

    return jax.vmap(one)(x)


def test_stride_one_reaches_a_convolution_behind_movements():
    composite = with_stride_one()
    for fn in (squeezed, lambda w, x: convolve(x, w, 2).astype("bfloat16") + BIAS):
        plain, smooth = (
            jax.grad(lambda x, fn=fn: (fn(KERNEL, x) ** 2).sum().astype("float32"))(MAPS)
            for fn in (fn, with_rules(fn, composite))
        )
        assert not np.allclose(plain, smooth)
    moved, direct = (
        jax.grad(lambda x, fn=fn: with_rules(fn, composite)(KERNEL, x).sum())(MAPS)
        for fn in (squeezed, lambda w, x: convolve(x, w, 2) + BIAS)
    )
    np.testing.assert_allclose(moved, direct, rtol=1e-4, atol=1e-5)
    flat = with_rules(lambda w, x: convolve(x, w, 2).reshape(2, 16, 6) + BIAS, composite)
    with pytest.raises(RuleError, match="cannot propagate a strided 'conv' with stride 1"):
        jax.grad(lambda x: flat(KERNEL, x).sum())(MAPS)


def test_stride_one_goes_with_other_rules():
    def fn(w, x):
        return max_pool(jax.nn.relu(convolve(x, w, stride=2)))

    guided = Composite({"relu": guided_relu})
    assert with_stride_one(guided).operations == {"relu": guided_relu, "conv": stride_one_centred}
    paper = with_stride_one(guided, variant="paper", pooling=True)
    pools = dict.fromkeys(("conv", "max_pool", "average_pool"), stride_one)
    assert paper.operations == {"relu": guided_relu, **pools}
    with pytest.raises(RuleError, match="There is no variant 'centered'; nearest: centred"):
        with_stride_one(variant="centered")
    composites = [
        guided,
        with_stride_one(guided),
        with_stride_one(guided, variant="paper"),
        with_stride_one(guided, pooling=True),
    ]
    signals = [
        jax.grad(lambda x, c=composite: with_rules(fn, c)(KERNEL, x).sum())(MAPS)
        for composite in composites
    ]
    for one, other in itertools.combinations(signals, 2):
        assert not np.allclose(one, other)
