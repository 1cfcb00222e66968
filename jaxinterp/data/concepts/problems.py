"""Everything that is wrong with a set, not only the first thing."""

from __future__ import annotations

from jaxinterp.errors import UserError

__all__ = ["MOST_PROBLEMS", "ConceptProblems", "Problems"]

MOST_PROBLEMS = 10
"""So many are kept in words; the others are counted."""


class ConceptProblems(UserError):
    """A concept set cannot be used.

    Attributes:
      problems: a sentence each, at most `MOST_PROBLEMS`.
      count: how many there are.
    """

    def __init__(self, problems: tuple[str, ...], count: int) -> None:
        more = f" There are {count - 1} more such problems." if count > 2 else ""
        more = " There is 1 more such problem." if count == 2 else more
        super().__init__(problems[0] + more)
        self.problems = problems
        self.count = count


class Problems:
    """Collects problems, to raise them together."""

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._count = 0

    def add(self, sentence: str) -> None:
        """One more, in a sentence."""
        self._count += 1
        if len(self._sentences) < MOST_PROBLEMS:
            self._sentences.append(sentence)

    @property
    def full(self) -> bool:
        """Whether as many are kept as ever will be."""
        return self._count >= MOST_PROBLEMS

    def raise_any(self) -> None:
        """Raises `ConceptProblems` if there are any."""
        if self._count:
            raise ConceptProblems(tuple(self._sentences), self._count)
