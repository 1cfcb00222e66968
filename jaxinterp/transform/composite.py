"""Which backward rule goes to which operation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxinterp.transform.rules import Rule, deconvnet_relu, guided_relu

__all__ = ["Composite", "deconvnet", "guided_backprop"]


@dataclass(frozen=True)
class Composite:
    """An assignment of backward rules to operations.

    Attributes:
        operations: A rule for each kind of operation, such as `{"relu": guided_relu}`. The kinds
            are the keys of `jaxinterp.transform.operations.OPERATIONS`; a kind that is not listed
            keeps its gradient.
        layers: A rule for single operations, by the name under which their output is tapped, such
            as `{"relu1_1": None}`; it goes before the operation's kind. None keeps the gradient.

    Example:
        >>> composite = Composite({"relu": guided_relu}, layers={"relu1_1": None})
    """

    operations: Mapping[str, Rule] = field(default_factory=dict)
    layers: Mapping[str, Rule | None] = field(default_factory=dict)


guided_backprop = Composite({"relu": guided_relu})
deconvnet = Composite({"relu": deconvnet_relu})
