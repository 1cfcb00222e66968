"""What a dissection tells whoever watches it."""

from __future__ import annotations

__all__ = ["DissectionListener"]


class DissectionListener:
    """Hears nothing; a console overrides what it shows."""

    def note(self, text: str) -> None:
        """A sentence for the user."""

    def begins(self, title: str, total: int, done: int = 0, unit: str = "images") -> None:
        """A pass begins, or goes on after `done` of `total`."""

    def advanced(self, done: int) -> None:
        """So many of the pass are done."""
