"""Which pictures are for training and which for testing: those of different seeds."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["PREFIX", "SPLIT_COUNTS", "SPLIT_SEEDS"]

PREFIX = "an8flower:"
"""Before a variant, where a user names data."""

SPLIT_SEEDS: Mapping[str, int] = {"train": 1_000_000, "test": 2_000_000}
"""Apart from each other, and from the small seeds that pictures for other uses have."""

SPLIT_COUNTS: dict[str, int] = {"train": 3000, "test": 600}
"""How many pictures are rendered unless told."""
