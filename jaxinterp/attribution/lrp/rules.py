"""The rules of layer-wise relevance propagation (LRP).

A rule takes the relevance R_k of an operation's outputs and shares it out among the inputs in
proportion to the terms z_jk of which the output k is the sum,

    R_j = sum_k z_jk / stabilised(sum_j z_jk) * R_k
    stabilised(z) = z + epsilon * sign(z), with sign(0) = 1.

The rules differ in what they take for the terms. w+ and w- are the positive and negative parts of
the weights, x+ and x- those of the inputs; a bias is one more term, whose share is lost. Where the
papers leave a choice open (biases, inputs of both signs), the rules do what Zennit's do. Sources:
Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
Propagation" (2015); Montavon et al., "Explaining Nonlinear Classification Decisions with Deep
Taylor Decomposition" (2017), "Layer-Wise Relevance Propagation: An Overview" (2019); Andéol et al.,
"Learning Domain Invariant Representations by Joint Wasserstein Distance Minimization" (2021);
Lapuschkin et al., "Unmasking Clever Hans Predictors" (2019); Binder et al. (2016).

Every function here makes a `jaxinterp.transform.rules.Rule`, for a `Composite`. None looks at a
layer's layout, groups or stride: convolutions are what the operation computes and its transpose.
A comment gives the convolutions that a rule costs besides the forward pass's own, which XLA shares
in a jitted function; with several targets only the transposed ones are done for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from jaxinterp.errors import UserError
from jaxinterp.transform.errors import RuleError
from jaxinterp.transform.operations import Operation
from jaxinterp.transform.rules import Rule

__all__ = [
    "alpha_beta",
    "epsilon",
    "flat",
    "gamma",
    "local_response_norm",
    "norm",
    "pass_on",
    "stabilised",
    "w_square",
    "z_box",
    "z_plus",
]

EPSILON = 1e-6

# The kinds whose inputs are (x, weight) or (x, weight, bias), and which are linear in the weight.
WEIGHTED = frozenset({"conv", "dense"})

Inputs = tuple[Array, ...]
Pull = Callable[[Array], Array]


def stabilised(values: Array, epsilon: float = EPSILON) -> Array:
    """A denominator moved away from zero: `values + epsilon * sign(values)`, with sign(0) = 1.

    Args:
      values: float [...].
      epsilon: not negative.

    Returns:
      [...], of the same dtype.
    """
    return jnp.where(values < 0, values - epsilon, values + epsilon)


def epsilon(epsilon: float = EPSILON) -> Rule:
    """The epsilon rule: z_jk = x_j w_jk, the denominator moved by `epsilon`.

    Bach et al. (2015), Eq. 58; with an epsilon of 0 it is LRP-0. It needs no weights, so it applies
    to every operation; for one that is not linear the terms are x_j dy_k/dx_j. These need not add
    up to the output, and then relevance is not conserved: at a product of two activations each
    factor gets all of it, so that it doubles.

    Args:
      epsilon: in units of the layer's output, not negative. With 0, the relevance of an output of 0
        is lost.

    Raises:
      UserError: `epsilon` is negative.
    """
    _check_sign("epsilon", epsilon)

    # One transposed convolution.
    def rule(operation: Operation, inputs: Inputs, relevance: Array) -> tuple[Array | None, ...]:
        weights = inputs[operation.activations :]
        activations = inputs[: operation.activations]
        output, pull = jax.vjp(lambda *values: operation(*values, *weights), *activations)
        signal = relevance / stabilised(output, epsilon)
        shares = pull(signal if epsilon else jnp.where(output == 0, 0, signal))
        given = (value * share for value, share in zip(activations, shares, strict=True))
        return (*given, *[None] * len(weights))

    return rule


def norm() -> Rule:
    """The epsilon rule with an epsilon of 1e-6, for operations without weights: sums and averages.

    The share of each summand is its part of the sum, as in Zennit's `Norm`.
    """
    return epsilon(EPSILON)


def gamma(gamma: float = 0.25) -> Rule:
    """The gamma rule: positive contributions count 1 + `gamma` times.

    Montavon et al. (2019), section 10.2, in the form for inputs and outputs of both signs (Andéol
    et al., 2021, and Zennit): where the output is positive, the terms x_j w_jk that are positive
    are multiplied, and where it is negative, those that are negative. An output of exactly 0 passes
    no relevance on.

    Args:
      gamma: not negative; with 0 the rule is LRP-epsilon with an epsilon of 1e-6.

    Raises:
      UserError: `gamma` is negative.
    """
    _check_sign("gamma", gamma)

    # Inputs that are not negative: one convolution and two transposed. Other inputs: two and four.
    def shares(operation: Operation, inputs: Inputs, relevance: Array) -> Array:
        output = operation(*inputs)
        positive, pull_positive = _contributions(operation, inputs, positive=True)
        # Not the value of the negative terms: XLA then drops the convolution that computes it.
        _, pull_negative = _contributions(operation, inputs, positive=False)
        negative = output - positive
        up = jnp.where(output > 0, relevance / stabilised(output + gamma * positive), 0)
        down = jnp.where(output < 0, relevance / stabilised(output + gamma * negative), 0)
        factor = 1 + gamma
        return pull_positive(factor * up + down) + pull_negative(up + factor * down)

    return _weighted("gamma", shares)


def alpha_beta(alpha: float = 2.0, beta: float = 1.0) -> Rule:
    """The alpha-beta rule: positive and negative terms are shared out apart.

    Bach et al. (2015), Eq. 60: R_j = alpha * (share of the positive terms) - beta * (share of the
    negative ones); the terms are x+ w+, x- w- and x+ w-, x- w+. The bias belongs to the terms of
    its sign.

    Args:
      alpha, beta: not negative, and `alpha - beta` is 1, so that relevance is conserved.

    Raises:
      UserError: they are not so.
    """
    _check_sign("alpha", alpha)
    _check_sign("beta", beta)
    if abs(alpha - beta - 1) > 1e-9:
        raise UserError(f"alpha - beta must be 1, not {alpha:g} - {beta:g}; try alpha=2, beta=1.")

    # Inputs that are not negative: two convolutions and two transposed. Other inputs: twice these.
    def shares(operation: Operation, inputs: Inputs, relevance: Array) -> Array:
        positive, pull_positive = _contributions(operation, inputs, positive=True)
        up = pull_positive(alpha * relevance / stabilised(positive))
        if not beta:
            return up
        negative, pull_negative = _contributions(operation, inputs, positive=False)
        return up - pull_negative(beta * relevance / stabilised(negative))

    return _weighted("alpha_beta", shares)


def z_plus() -> Rule:
    """The z+ rule: the positive terms only, x+ w+ and x- w-.

    Montavon et al. (2017), extended to negative inputs: alpha-beta with alpha 1 and beta 0.
    """
    rule = alpha_beta(1, 0)

    # Inputs that are not negative: one convolution and one transposed. Other inputs: twice these.
    def named(operation: Operation, inputs: Inputs, relevance: Array) -> tuple[Array | None, ...]:
        _require_weights("z_plus", operation)
        return rule(operation, inputs, relevance)

    return named


def flat() -> Rule:
    """The flat rule: every input of an output gets the same share, z_jk = 1.

    Lapuschkin et al. (2019). What lies outside the image in a padded window gets nothing.
    """

    # One convolution and one transposed.
    def rule(operation: Operation, inputs: Inputs, relevance: Array) -> tuple[Array | None, ...]:
        x, *weights = inputs
        if weights:
            _require_weights("flat", operation)
        _require_one_activation("flat", operation)
        ones = [_ones_like(weight, x) for weight in weights[:1]]
        none = map(jnp.zeros_like, weights[1:])
        share = _share_of_ones(operation, x, (*ones, *none), relevance)
        return (share, *[None] * len(weights))

    return rule


def w_square() -> Rule:
    """The w^2 rule: z_jk = w_jk^2, whatever the input.

    Montavon et al. (2017), Eq. 12. A bias is squared too, as in Zennit.
    """

    # One convolution and one transposed.
    def shares(operation: Operation, inputs: Inputs, relevance: Array) -> Array:
        x, *weights = inputs
        return _share_of_ones(operation, x, tuple(map(jnp.square, weights)), relevance)

    return _weighted("w_square", shares)


def z_box(low: ArrayLike, high: ArrayLike) -> Rule:
    """The z^B rule, for a first layer whose inputs lie in a box.

    Montavon et al. (2017): z_jk = x_j w_jk - low_j w+_jk - high_j w-_jk.

    Args:
      low, high: the smallest and largest values that an image can have where it enters the layer
        (for a network of this library `preprocess` of a black and of a white image): floats that
        broadcast against the layer's input, such as [3] for images with channels last.

    Raises:
      UserError: `low` is above `high` somewhere, or they do not broadcast against each other.
    """
    lowest, highest = np.asarray(low), np.asarray(high)
    try:
        crossed = bool(np.any(lowest > highest))
    except ValueError:
        shapes = f"{lowest.shape} and {highest.shape}"
        raise UserError(f"The box's bounds have shapes {shapes}, which do not broadcast.") from None
    if crossed:
        raise UserError("The box's low must nowhere be above its high.")

    # x w - low w+ - high w- = (x - low) w+ + (x - high) w-: two convolutions and two transposed.
    def shares(operation: Operation, inputs: Inputs, relevance: Array) -> Array:
        x, weight, *bias = inputs
        none = [jnp.zeros_like(one) for one in bias]  # the three terms' biases cancel
        above, below = x - _fill("low", lowest, x), x - _fill("high", highest, x)
        first, pull_first = jax.vjp(lambda v: operation(v, jnp.maximum(weight, 0), *none), above)
        second, pull_second = jax.vjp(lambda v: operation(v, jnp.minimum(weight, 0), *none), below)
        signal = relevance / stabilised(first + second)
        return above * pull_first(signal)[0] + below * pull_second(signal)[0]

    return _weighted("z_box", shares)


def pass_on() -> Rule:
    """Passes the relevance on as it is: for activations and anything else of one input.

    Raises:
      RuleError: when applied to an operation of several activations, or one that changes the shape.
    """

    def rule(operation: Operation, inputs: Inputs, relevance: Array) -> tuple[Array | None, ...]:
        _require_one_activation("pass_on", operation)
        if inputs[0].shape != relevance.shape:
            raise RuleError(
                f"the pass_on rule cannot pass relevance through {operation.kind!r}, whose output "
                f"has shape {relevance.shape} and whose input {inputs[0].shape}"
            )
        return (relevance, *[None] * (len(inputs) - 1))

    return rule


def local_response_norm() -> Rule:
    """The rule for local response normalisation, y_k = x_k h(e_k) with e_k = sum_j x_j^2.

    Binder et al., "Layer-Wise Relevance Propagation for Neural Networks with Local Renormalization
    Layers" (2016): a Taylor expansion around the point where only x_k is not 0 gives the
    terms z_kk = x_k h(x_k^2) and, for j != k, z_jk = x_j dy_k/dx_j = 2 x_k x_j^2 h'(e_k).
    """

    def rule(operation: Operation, inputs: Inputs, relevance: Array) -> tuple[Array | None, ...]:
        if operation.energy is None or operation.multiplier is None:
            raise RuleError(
                f"the local_response_norm rule does not apply to {operation.kind!r}; "
                "try norm(), epsilon() or pass_on()"
            )
        x, *rest = inputs
        own = x * operation.multiplier(x * x)
        energy, pull = jax.vjp(operation.energy, x)
        _, slope = jax.jvp(operation.multiplier, (energy,), (jnp.ones_like(energy),))
        from_others = 2 * x * slope * (energy - x * x)
        signal = relevance / stabilised(own + from_others)
        # The pull multiplies by 2 x_j; the neighbourhood of j that it sums over includes j itself.
        sent = 2 * x * slope * signal
        (pulled,) = pull(sent)
        return (own * signal + x * pulled / 2 - x * x * sent, *[None] * len(rest))

    return rule


def _weighted(name: str, shares: Callable[[Operation, Inputs, Array], Array]) -> Rule:
    """A rule of an operation that has one activation and weights."""

    def rule(operation: Operation, inputs: Inputs, relevance: Array) -> tuple[Array | None, ...]:
        _require_weights(name, operation)
        return (shares(operation, inputs, relevance), *[None] * (len(inputs) - 1))

    return rule


def _contributions(operation: Operation, inputs: Inputs, *, positive: bool) -> tuple[Array, Pull]:
    """The sum of an operation's terms of one sign, and what pulls a signal back to the inputs.

    The sum has the bias of that sign, and `pull(signal)[j]` is the sum of z_jk signal_k over the
    terms z_jk of that sign.
    """
    x, weight, *bias = inputs
    part = jnp.maximum if positive else jnp.minimum
    other = jnp.minimum if positive else jnp.maximum
    biases = [part(one, 0) for one in bias]
    if operation.nonnegative:
        total, pull = jax.vjp(lambda values: operation(values, part(weight, 0), *biases), x)
        return total, lambda signal: x * pull(signal)[0]

    def both(above: Array, below: Array) -> Array:
        none = [jnp.zeros_like(one) for one in bias]
        first = operation(above, part(weight, 0), *biases)
        return first + operation(below, other(weight, 0), *none)

    above, below = jnp.maximum(x, 0), jnp.minimum(x, 0)
    total, pull_both = jax.vjp(both, above, below)

    def pull_back(signal: Array) -> Array:
        to_above, to_below = pull_both(signal)
        return above * to_above + below * to_below

    return total, pull_back


def _share_of_ones(operation: Operation, x: Array, weights: Inputs, relevance: Array) -> Array:
    """What arrives at inputs that are all taken for 1."""
    total, pull = jax.vjp(lambda values: operation(values, *weights), _ones_like(x, x))
    return pull(relevance / stabilised(total))[0]


def _ones_like(values: Array, x: Array) -> Array:
    """Ones of the shape of `values` that XLA does not know to be ones, made from numbers `x`.

    On CPUs, XLA (of jax 0.10.2 and 0.11.2) fuses the product or convolution with a broadcast scalar
    and a sum over the result into one kernel, which then returns uninitialised memory.
    """
    numbers = jnp.resize(x, values.shape)
    return jnp.where(jnp.isnan(numbers), numbers, 1).astype(values.dtype)


def _fill(name: str, bound: np.ndarray[Any, Any], x: Array) -> Array:
    try:
        return jnp.broadcast_to(jnp.asarray(bound, x.dtype), x.shape)
    except ValueError:
        raise RuleError(
            f"the z_box rule's {name} has shape {bound.shape}, which does not broadcast against "
            f"the layer's input of shape {x.shape}"
        ) from None


def _require_weights(name: str, operation: Operation) -> None:
    _require_one_activation(name, operation)
    if operation.kind not in WEIGHTED:
        raise RuleError(
            f"the {name} rule needs an operation with weights, which {operation.kind!r} is not; "
            "try epsilon(), norm() or pass_on()"
        )


def _require_one_activation(name: str, operation: Operation) -> None:
    if operation.activations != 1:
        raise RuleError(
            f"the {name} rule does not apply to {operation.kind!r} of {operation.activations} "
            "activations; try norm() or epsilon()"
        )


def _check_sign(name: str, value: float) -> None:
    if not value >= 0:
        raise UserError(f"{name} must not be negative, but is {value:g}.")
