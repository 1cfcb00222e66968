"""What is to change in a program, and what is to be read from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from jaxinterp.transform.program import Atom
from jaxinterp.transform.walk import Path

__all__ = ["Replacement", "Rewrite", "Steps"]

# The step indices of the scans around an equation, outermost first.
Steps = tuple[Any, ...]


class Replacement(NamedTuple):
    """What stands in for an equation.

    Attributes:
        inputs: The atoms it reads, of the equation's own body and computed before the equation.
            They need not be the equation's own inputs: equations nobody reads any more are not
            evaluated, so a replacement can stand in for several equations that end in this one.
        apply: Called with their values and the step indices; returns the equation's outputs.
    """

    inputs: tuple[Atom, ...]
    apply: Callable[[list[Any], Steps], list[Any]]


@dataclass(frozen=True)
class Rewrite:
    """What to change in a program.

    Attributes:
        replaced: Equations to replace.
        collected: Equations whose (first) output to collect under a label.
        opened: Equations to evaluate through their bodies even if nothing in them changes.
    """

    replaced: Mapping[Path, Replacement] = field(default_factory=dict)
    collected: Mapping[Path, str] = field(default_factory=dict)
    opened: frozenset[Path] = frozenset()

    @cached_property
    def _with_collected(self) -> frozenset[Path]:
        return frozenset(path[:end] for path in self.collected for end in range(1, len(path) + 1))

    @cached_property
    def _opened(self) -> frozenset[Path]:
        paths = [*self.collected, *self.replaced]
        around = frozenset(path[:end] for path in paths for end in range(1, len(path)))
        return around | self.opened

    def collects(self, path: Path) -> bool:
        """Whether the equation at `path`, or one inside it, is collected."""
        return path in self._with_collected

    def opens(self, path: Path) -> bool:
        """Whether the equation at `path` is evaluated through its bodies."""
        return path in self._opened
