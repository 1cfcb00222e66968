"""Every rule against a slow re-derivation: the matrix of the layer, and sums over its terms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.attribution.lrp import rules
from jaxinterp.errors import UserError
from jaxinterp.transform import RuleError
from jaxinterp.transform.operations import Operation

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


class Layer:
    """A small layer, and the same as a matrix over the flattened inputs and outputs of an image."""

    def __init__(self, kind, apply, x_shape, weight_shape, bias_size, matrix):
        self.kind, self.apply, self.x_shape = kind, apply, x_shape
        # Some weights are 0, and some outputs have weights of one sign only.
        self.weight = RANDOM.normal(size=weight_shape) * (RANDOM.uniform(size=weight_shape) > 0.2)
        self.bias = RANDOM.normal(size=bias_size) if bias_size else None
        self.matrix = matrix(self.weight)
        self.connected = matrix(np.ones(weight_shape))

    @property
    def weights(self):
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def columns_of_bias(self, outputs):
        """The bias of each column of the matrix."""
        if self.bias is None:
            return np.zeros(outputs[0].size)
        zeros = jnp.zeros((1, *self.x_shape))
        return np.asarray(self.apply(zeros, jnp.zeros_like(self.weight), self.bias)).ravel()


def conv(x, weight, bias=0, *, stride, padding, groups, numbers=("NHWC", "HWIO", "NHWC")):
    result = jax.lax.conv_general_dilated(
        x, weight, stride, padding, dimension_numbers=numbers, feature_group_count=groups
    )
    return result + bias


def strided(x, weight, bias):
    return conv(x, weight, bias, stride=(2, 2), padding=((1, 1), (1, 0)), groups=2)


def channels_first(x, weight):
    numbers = ("NCHW", "OIHW", "NCHW")
    return conv(x, weight, stride=(1, 1), padding="VALID", groups=1, numbers=numbers)


def strided_matrix(weight):
    """Of the convolution above, for images of 5 x 4 and 4 channels: 3 x 2 x 6 outputs."""
    matrix = np.zeros((5, 4, 4, 3, 2, 6))
    for row, column, kernel in np.ndindex(3, 2, 6):
        for i, j, within in np.ndindex(3, 3, 2):
            y, x, channel = 2 * row + i - 1, 2 * column + j - 1, within + 2 * (kernel // 3)
            if 0 <= y < 5 and 0 <= x < 4:
                matrix[y, x, channel, row, column, kernel] = weight[i, j, within, kernel]
    return matrix.reshape(5 * 4 * 4, 3 * 2 * 6)


def channels_first_matrix(weight):
    """Of the convolution above, for images of 2 channels and 4 x 3: 3 x 3 x 2 outputs."""
    matrix = np.zeros((2, 4, 3, 3, 3, 2))
    for kernel, row, column in np.ndindex(3, 3, 2):
        for channel, i, j in np.ndindex(2, 2, 2):
            matrix[channel, row + i, column + j, kernel, row, column] = weight[
                kernel, channel, i, j
            ]
    return matrix.reshape(2 * 4 * 3, 3 * 3 * 2)


LAYERS = {
    "strided": Layer("conv", strided, (5, 4, 4), (3, 3, 2, 6), 6, strided_matrix),
    "channels_first": Layer(
        "conv", channels_first, (2, 4, 3), (3, 2, 2, 2), None, channels_first_matrix
    ),
    "dense": Layer("dense", lambda x, w, b: x @ w + b, (7,), (7, 5), 5, lambda weight: weight),
    "transposed": Layer(
        "dense",
        lambda x, w: jnp.einsum("oi,ni->no", w, x),
        (7,),
        (5, 7),
        None,
        lambda weight: weight.T,
    ),
}


def share(terms, constants, relevance, epsilon=1e-6):
    """R_j = sum_k z_jk / (z_k + epsilon sign z_k) R_k, one output after the other."""
    result = np.zeros(terms.shape[0])
    for k in range(terms.shape[1]):
        total = sum(terms[:, k]) + constants[k]
        total += epsilon if total >= 0 else -epsilon
        result += terms[:, k] / total * relevance[k]
    return result


def slow_gamma(terms, bias, relevance, gamma):
    result = np.zeros(terms.shape[0])
    for k in range(terms.shape[1]):
        output = sum(terms[:, k]) + bias[k]
        if output != 0:
            kept = np.maximum if output > 0 else np.minimum
            raised = terms[:, [k]] + gamma * kept(terms[:, [k]], 0)
            constant = bias[[k]] + gamma * kept(bias[[k]], 0)
            result += share(raised, constant, relevance[[k]])
    return result


def slow_alpha_beta(terms, bias, relevance, alpha, beta):
    positive = share(np.maximum(terms, 0), np.maximum(bias, 0), relevance)
    negative = share(np.minimum(terms, 0), np.minimum(bias, 0), relevance)
    return alpha * positive - beta * negative


# Each rule, and a function of x [J], the matrix and where it connects [J, K], the bias and the
# relevance [K] that returns what arrives [J].
RULES = {
    "epsilon": (
        rules.epsilon(0.3),
        lambda x, w, c, b, r: share(x[:, None] * w, b, r, epsilon=0.3),
    ),
    "norm": (rules.norm(), lambda x, w, c, b, r: share(x[:, None] * w, b, r)),
    "gamma": (rules.gamma(0.25), lambda x, w, c, b, r: slow_gamma(x[:, None] * w, b, r, 0.25)),
    "alpha_beta": (
        rules.alpha_beta(2, 1),
        lambda x, w, c, b, r: slow_alpha_beta(x[:, None] * w, b, r, 2, 1),
    ),
    "z_plus": (
        rules.z_plus(),
        lambda x, w, c, b, r: slow_alpha_beta(x[:, None] * w, b, r, 1, 0),
    ),
    "flat": (rules.flat(), lambda x, w, c, b, r: share(c, 0 * b, r)),
    "w_square": (rules.w_square(), lambda x, w, c, b, r: share(w**2, b**2, r)),
    "z_box": (
        rules.z_box(-3, 4),
        lambda x, w, c, b, r: share(
            x[:, None] * w + 3 * np.maximum(w, 0) - 4 * np.minimum(w, 0), 0 * b, r
        ),
    ),
}


def apply_rule(rule, operation, inputs, relevance):
    inputs = tuple(map(jnp.asarray, inputs))
    given = jax.jit(functools.partial(rule, operation))(inputs, jnp.asarray(relevance))
    assert len(given) == len(inputs)
    assert all(one is None for one in given[operation.activations :])
    return [np.asarray(one) for one in given[: operation.activations]]


@pytest.mark.parametrize("inputs", ["both signs", "nonnegative", "known nonnegative"])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize(("rule", "slow"), RULES.values(), ids=RULES)
def test_rule_equals_the_sums_over_its_terms(rule, slow, layer, inputs):
    random = np.random.default_rng(1)
    x = random.normal(size=(2, *layer.x_shape))
    if inputs != "both signs":
        x = np.maximum(x, 0)
    operation = Operation(layer.kind, layer.apply, nonnegative=inputs == "known nonnegative")
    output = np.asarray(layer.apply(x, *layer.weights))
    relevance = random.normal(size=output.shape)
    (actual,) = apply_rule(rule, operation, (x, *layer.weights), relevance)

    bias = layer.columns_of_bias(output)
    np.testing.assert_allclose(
        x.reshape(2, -1) @ layer.matrix + bias, output.reshape(2, -1), atol=1e-12
    )
    for image in range(2):
        expected = slow(
            x[image].ravel(), layer.matrix, layer.connected, bias, relevance[image].ravel()
        )
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(actual[image].ravel(), expected, rtol=1e-8, atol=1e-10)


def test_an_output_without_positive_terms_passes_nothing_on_exactly():
    # In float32 sums of terms that cancel would leave noise, multiplied by 1 / epsilon.
    x = RANDOM.uniform(0, 100, (1, 200)).astype(np.float32)
    weight = -RANDOM.uniform(0, 1, (200, 3)).astype(np.float32)
    operation = Operation("dense", lambda x, w: x @ w)
    for nonnegative in (False, True):
        operation = Operation("dense", lambda x, w: x @ w, nonnegative=nonnegative)
        (given,) = apply_rule(rules.z_plus(), operation, (x, weight), np.ones((1, 3), np.float32))
        assert given.dtype == np.float32
        assert not given.any()


def test_an_output_of_nothing_passes_nothing_on_without_a_stabiliser():
    x = np.array([[0.0, 0, 0], [1, 2, 3]])
    weight, relevance = np.array([[1.0, 1], [1, 1], [1, -1]]), np.array([[1.0, 1], [1, 1]])
    operation = Operation("dense", lambda x, w: x @ w)
    (given,) = apply_rule(rules.epsilon(0), operation, (x, weight), relevance)
    # The first image is black, and the second output of the other is 1 + 2 - 3.
    np.testing.assert_allclose(given, [[0, 0, 0], [1 / 6, 2 / 6, 3 / 6]])


def test_norm_shares_sums_by_their_summands():
    first, second, relevance = RANDOM.normal(size=(3, 2, 4))
    first[0, 0], second[0, 0] = 1, -1  # a sum of exactly 0 has the sign +
    given = apply_rule(
        rules.norm(), Operation("add", jnp.add, activations=2), (first, second), relevance
    )
    for index in np.ndindex(first.shape):
        total = first[index] + second[index]
        total += 1e-6 if total >= 0 else -1e-6
        for summand, share in zip((first, second), given, strict=True):
            expected = summand[index] / total * relevance[index]
            assert share[index] == pytest.approx(expected, rel=1e-8)


def test_norm_shares_averages_by_their_summands():
    x, relevance = RANDOM.normal(size=(1, 4, 6, 2)), RANDOM.normal(size=(1, 2, 3, 2))
    pool = Operation("average_pool", lambda x: x.reshape(1, 2, 2, 3, 2, 2).mean((2, 4)))
    (given,) = apply_rule(rules.norm(), pool, (x,), relevance)
    for row, column, channel in np.ndindex(4, 6, 2):
        window = x[0, row // 2 * 2 :, column // 2 * 2 :, channel][:2, :2]
        here = relevance[0, row // 2, column // 2, channel]
        expected = x[0, row, column, channel] / window.sum() * here
        assert given[0, row, column, channel] == pytest.approx(expected, rel=1e-4)


def test_pass_on_is_the_identity():
    x, relevance = RANDOM.normal(size=(2, 3, 4))
    (given,) = apply_rule(rules.pass_on(), Operation("tanh", jnp.tanh), (x,), relevance)
    np.testing.assert_array_equal(given, relevance)


def windowed(values, size):
    """Sums over `size` neighbouring channels."""
    before = (size - 1) // 2
    padding = [(0, 0)] * (values.ndim - 1) + [(before, size - 1 - before)]
    window = (1,) * (values.ndim - 1) + (size,)
    ones = (1,) * values.ndim
    return jax.lax.reduce_window(values, 0.0, jax.lax.add, window, ones, padding)


@pytest.mark.parametrize("size", [5, 4])
def test_local_response_norm_is_binders_expansion(size):
    constant, scale, power = 2.0, 0.3, 0.75
    operation = Operation(
        "local_response_norm",
        lambda x: x * (constant + scale * windowed(x * x, size)) ** -power,
        energy=lambda x: windowed(x * x, size),
        multiplier=lambda energy: (constant + scale * energy) ** -power,
    )
    x, relevance = RANDOM.normal(size=(2, 1, 2, 2, 9))
    (given,) = apply_rule(rules.local_response_norm(), operation, (x,), relevance)
    before = (size - 1) // 2
    for position in np.ndindex(1, 2, 2):
        values, terms = x[position], np.zeros((9, 9))
        for k in range(9):
            near = range(max(0, k - before), min(9, k - before + size))
            energy = constant + scale * sum(values[near] ** 2)
            for j in near:
                terms[j, k] = (
                    -2 * power * scale * values[k] * values[j] ** 2 * energy ** (-power - 1)
                )
            terms[k, k] = values[k] * (constant + scale * values[k] ** 2) ** -power
        expected = share(terms, np.zeros(9), relevance[position])
        np.testing.assert_allclose(given[position], expected, rtol=1e-8, atol=1e-12)


def test_flat_relevance_may_be_summed_in_the_same_program():
    # XLA on CPUs returns uninitialised memory for the sum of a product with a broadcast scalar.
    operation = Operation("conv", functools.partial(conv, stride=(1, 1), padding="SAME", groups=1))
    with jax.enable_x64(False):
        x, weight = jnp.ones((1, 64, 64, 3)), jnp.ones((3, 3, 3, 64))
        relevance = jnp.asarray(RANDOM.uniform(size=(1, 64, 64, 64)), jnp.float32)
        for _ in range(3):
            total = jax.jit(lambda x: rules.flat()(operation, (x, weight), relevance)[0].sum())(x)
            assert total == pytest.approx(float(relevance.sum()), rel=1e-3)


def test_stabilised_counts_zero_as_positive():
    given = rules.stabilised(jnp.array([-2.0, -0.0, 0.0, 2.0]), 0.5)
    np.testing.assert_array_equal(given, [-2.5, 0.5, 0.5, 2.5])


DENSE = Operation("dense", lambda x, w: x @ w)
ADD = Operation("add", jnp.add, activations=2)
TANH = Operation("tanh", jnp.tanh)


@pytest.mark.parametrize(
    ("make", "operation", "shapes", "words"),
    [
        (rules.z_plus, TANH, [(2, 3)], "z_plus rule needs .* 'tanh' .* epsilon()"),
        (rules.gamma, TANH, [(2, 3)], "gamma rule needs .* 'tanh'"),
        (rules.w_square, ADD, [(2, 3), (2, 3)], "'add' of 2 activations"),
        (rules.flat, ADD, [(2, 3), (2, 3)], "'add' of 2 activations"),
        (rules.pass_on, ADD, [(2, 3), (2, 3)], "'add' of 2 activations"),
        (rules.pass_on, DENSE, [(2, 3), (3, 4)], r"shape \(2, 4\) .* \(2, 3\)"),
        (rules.local_response_norm, TANH, [(2, 3)], "does not apply to 'tanh'"),
        (lambda: rules.z_box(np.zeros(5), np.ones(5)), DENSE, [(2, 3), (3, 4)], r"low .* \(5,\)"),
    ],
)
def test_rules_refuse_operations_that_they_do_not_fit(make, operation, shapes, words):
    inputs = [np.ones(shape) for shape in shapes]
    with pytest.raises(RuleError, match=words):
        apply_rule(make(), operation, inputs, operation(*inputs))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rules.alpha_beta(2, 2), "alpha - beta must be 1, not 2 - 2"),
        (lambda: rules.alpha_beta(0, -1), "beta must not be negative, but is -1"),
        (lambda: rules.epsilon(-1), "epsilon must not be negative"),
        (lambda: rules.gamma(float("nan")), "gamma must not be negative, but is nan"),
        (lambda: rules.z_box([0, 0, 1], [1, 1, 0]), "low must nowhere be above its high"),
        (lambda: rules.z_box(np.zeros(2), np.ones(3)), "do not broadcast"),
    ],
)
def test_rules_refuse_their_arguments(make, words):
    with pytest.raises(UserError, match=words):
        make()
