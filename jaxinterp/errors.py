"""The one exception that the command turns into a sentence and exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "nearest"]


class UserError(ValueError):
    """Something the user gave cannot be used; the message says what, and what could be."""


def nearest(name: str, choices: Iterable[str], *, kind: str, most: int = 4) -> str:
    """A sentence naming what is not known and the valid choices nearest to it.

    >>> nearest("relu4_4", ["relu4_2", "relu4_3", "pool1"], kind="layer")
    "There is no layer 'relu4_4'; nearest: relu4_3, relu4_2."
    """
    known = list(choices)
    if not known:
        return f"There is no {kind} {name!r}."
    folded = {choice.casefold(): choice for choice in known}
    matches = difflib.get_close_matches(name.casefold(), folded, n=most, cutoff=0.5)
    close = [folded[match] for match in matches]
    if close:
        return f"There is no {kind} {name!r}; nearest: {', '.join(close)}."
    listed = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return f"There is no {kind} {name!r}; choose from: {listed}."
