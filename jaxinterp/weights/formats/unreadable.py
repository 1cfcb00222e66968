"""Why a weights file is not read, before its path is known to the one who finds out."""

from __future__ import annotations

__all__ = ["Unreadable", "printable", "quoted"]


class Unreadable(Exception):
    """A file holds no weights that can be read.

    The message is what follows the path in a sentence and has no full stop: "is damaged: ...",
    "holds a call of os.system ...". `read_weights` makes it a `UserError`.
    """


def printable(text: object, most: int = 200) -> str:
    """A message of another library's, which may repeat a file's control characters."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(text)[:most])


def quoted(text: object, most: int = 80) -> str:
    """Text out of a file, fit for a message: one short line without control characters.

    Of other objects only the kind is said: a file can build lists whose text never ends.

    >>> quoted("conv1.weight")
    "'conv1.weight'"
    """
    if type(text) not in (str, bytes, bool, int, float, type(None)):
        return f"a {type(text).__name__}"
    text = str(text[: most + 1] if isinstance(text, str | bytes) else text)
    return repr(text if len(text) <= most else f"{text[:most]}...")
