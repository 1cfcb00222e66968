"""Assignments of LRP rules to the operations of a network.

The names are Zennit's. All of them pass relevance on through ReLUs and batch norm as it is, share
it out at sums and average pools in proportion to the summands (the norm rule), send it through max
pools to the maximum (the gradient), and use Binder's rule for local response normalisation; they
differ at convolutions and dense layers. Kinds of operations that a network lacks are no error.
"""

from __future__ import annotations

from typing import Literal

from numpy.typing import ArrayLike

from jaxinterp.attribution.lrp import rules
from jaxinterp.transform import Composite
from jaxinterp.transform.rules import Rule

__all__ = [
    "Others",
    "epsilon_alpha2_beta1_flat",
    "epsilon_everywhere",
    "epsilon_gamma_box",
    "epsilon_plus_flat",
]

Others = Rule | Literal["refuse"] | None
"""What to do at an operation of no known kind (a tanh, a product of two maps).

"refuse" makes it an error that names the operation; a rule is used there, such as
`rules.pass_on()` for activations; None takes the operation's gradient. `rules.epsilon()` applies to
all of them, but at a product of two activations each factor gets all of the relevance, which
doubles.
"""


def epsilon_everywhere(epsilon: float = 1e-6, *, others: Others = "refuse") -> Composite:
    """The epsilon rule at all convolutions and dense layers.

    Bach et al. (2015). Without biases and with a small epsilon this is gradient x input.

    Args:
      epsilon: the stabiliser, in units of the layers' outputs, not negative.
      others: what to do at other operations.

    Raises:
      UserError: `epsilon` is negative.
    """
    return _composite(conv=rules.epsilon(epsilon), epsilon=epsilon, others=others)


def epsilon_plus_flat(epsilon: float = 1e-6, *, others: Others = "refuse") -> Composite:
    """Flat at the first layer, z+ at convolutions, epsilon at dense layers.

    Args:
      epsilon: the stabiliser of the epsilon rule, not negative.
      others: what to do at other operations.

    Raises:
      UserError: `epsilon` is negative.

    Example:
      >>> result = lrp(apply, params, images, logit(), [281], composite=epsilon_plus_flat())
    """
    first = (("conv", "dense"), rules.flat())
    return _composite(conv=rules.z_plus(), epsilon=epsilon, first=first, others=others)


def epsilon_alpha2_beta1_flat(epsilon: float = 1e-6, *, others: Others = "refuse") -> Composite:
    """Flat at the first layer, alpha-beta (2, 1) at convolutions, epsilon at dense layers.

    Args:
      epsilon: the stabiliser of the epsilon rule, not negative.
      others: what to do at other operations.

    Raises:
      UserError: `epsilon` is negative.
    """
    first = (("conv", "dense"), rules.flat())
    return _composite(conv=rules.alpha_beta(2, 1), epsilon=epsilon, first=first, others=others)


def epsilon_gamma_box(
    low: ArrayLike,
    high: ArrayLike,
    *,
    epsilon: float = 1e-6,
    gamma: float = 0.25,
    others: Others = "refuse",
) -> Composite:
    """z^B at the first convolution, gamma at all others, epsilon at dense layers.

    Args:
      low, high: the smallest and largest values of the images that the network is given, that is,
        what normalisation makes of 0 and 1 (`Preprocess.bounds`): floats that broadcast against the
        images.
      epsilon: the stabiliser of the epsilon rule, not negative.
      gamma: how much more positive contributions count, not negative.
      others: what to do at other operations.

    Raises:
      UserError: `epsilon` or `gamma` is negative, or `low` is above `high` somewhere.

    Example:
      >>> composite = epsilon_gamma_box(*network.preprocess.bounds(images))
    """
    first = (("conv",), rules.z_box(low, high))
    return _composite(conv=rules.gamma(gamma), epsilon=epsilon, first=first, others=others)


def _composite(
    *,
    conv: Rule,
    epsilon: float,
    others: Others,
    first: tuple[tuple[str, ...], Rule] | None = None,
) -> Composite:
    operations: dict[str, Rule | None] = {
        "conv": conv,
        "dense": rules.epsilon(epsilon),
        "relu": rules.pass_on(),
        "batch_norm": rules.pass_on(),
        "max_pool": None,
        "average_pool": rules.norm(),
        "add": rules.norm(),
        "local_response_norm": rules.local_response_norm(),
    }
    return Composite(operations, first=first, optional=frozenset(operations), others=others)
