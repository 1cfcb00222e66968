"""Which backward rule goes to which operation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from jaxinterp.errors import nearest
from jaxinterp.transform.errors import RuleError
from jaxinterp.transform.rules import (
    Rule,
    deconvnet_relu,
    guided_relu,
    stride_one,
    stride_one_centred,
)

__all__ = ["Composite", "deconvnet", "guided_backprop", "with_stride_one"]


@dataclass(frozen=True)
class Composite:
    """An assignment of backward rules to operations.

    Attributes:
        operations: A rule for each kind of operation, such as `{"relu": guided_relu}`. The kinds
            are the keys of `jaxinterp.transform.operations.OPERATIONS`; a kind that is not listed
            keeps its gradient.
        layers: A rule for single operations, by the name under which their output is tapped, such
            as `{"relu1_1": None}`; it goes before everything else. None keeps the gradient.
        first: Kinds and a rule for the first operation, in the program's order, that is of one of
            these kinds; it goes before the kind's own rule.
        optional: Kinds that need not occur in the function; any other kind of `operations` that
            does not occur is an error.
        others: What to do at an operation that is of no listed kind and does more than move
            elements: None keeps its gradient, "refuse" makes it an error that names the operation,
            and a rule is applied (with the primitive's name as the operation's kind).

    Example:
        >>> composite = Composite({"relu": guided_relu}, layers={"relu1_1": None})
    """

    operations: Mapping[str, Rule | None] = field(default_factory=dict)
    layers: Mapping[str, Rule | None] = field(default_factory=dict)
    first: tuple[tuple[str, ...], Rule] | None = None
    optional: frozenset[str] = frozenset()
    others: Rule | Literal["refuse"] | None = None


guided_backprop = Composite({"relu": guided_relu})
deconvnet = Composite({"relu": deconvnet_relu})


def with_stride_one(
    composite: Composite = Composite(),
    *,
    pooling: bool = False,
    variant: Literal["centred", "paper"] = "centred",
) -> Composite:
    """A composite that also sends signals through strided convolutions with stride 1.

    This takes the grid out of deconvnet's and guided backprop's images (Oramas et al. 2019, section
    3.3; see docs/stride.md). The composite's own rules stay, but for "conv".

    Args:
        composite: What else applies, such as `guided_backprop`; nothing, unless given.
        pooling: Whether max and average pooling are propagated with stride 1 too. The paper's
            authors do not.
        variant: "paper" resizes signals by nearest neighbour, which moves them by half a stride at
            every strided layer; "centred" leaves them in their place, and points better.

    Raises:
        RuleError: An unknown variant.

    Example:
        >>> smooth = with_rules(apply, with_stride_one(guided_backprop))
    """
    variants = {"centred": stride_one_centred, "paper": stride_one}
    if variant not in variants:
        raise RuleError(nearest(variant, variants, kind="variant"))
    pools = ("max_pool", "average_pool") if pooling else ()
    rules = dict.fromkeys(("conv", *pools), variants[variant])
    return replace(
        composite,
        operations={**composite.operations, **rules},
        optional=composite.optional | frozenset(pools),
    )
