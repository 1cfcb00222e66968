"""How much memory the arrays of a file may take, settled before any of it is taken."""

from __future__ import annotations

from jaxinterp.weights.formats.unreadable import Unreadable, quoted

__all__ = ["MOST_COPIES", "SMALLEST_ALLOWANCE", "Allowance"]

SMALLEST_ALLOWANCE = 64 * 2**20
"""Bytes that any file may take, however small it is: small networks compress well."""

MOST_COPIES = 8
"""How many times its own size a file may take besides: for compressed files, shared storages and
views that repeat their elements. Trained weights compress by less than a tenth."""


class Allowance:
    """64 MiB and 8 times the file: what its arrays may take together, views of it included.

    A view of the mapped file takes nothing at first, but whoever converts it takes its size: a
    kilobyte that claims a tensor of 10^12 elements is refused here, as is a zip bomb.
    """

    def __init__(self, file_size: int) -> None:
        self._left = SMALLEST_ALLOWANCE + MOST_COPIES * file_size

    def take(self, amount: int, name: str) -> None:
        """Accounts for `amount` bytes, asked for by what `name` is.

        Raises:
          Unreadable: they are more than what is left.
        """
        if amount > self._left:
            raise Unreadable(
                f"claims {amount:,} bytes for {quoted(name)}: with that its arrays would take more "
                f"than {SMALLEST_ALLOWANCE // 2**20} MiB and {MOST_COPIES} times the file, which "
                "no weights do"
            )
        self._left -= amount
