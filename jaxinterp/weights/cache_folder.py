"""The folder that keeps what can be had again: fetched files and converted weights.

    fetched/      files as they were published
    converted/    a folder for each conversion (see `cache`)
    hashes/       what a file's sha256 was when it was last read (see `identity`)

All of it may be deleted at any time.
"""

from __future__ import annotations

import os
from pathlib import Path

from jaxinterp.errors import UserError

__all__ = ["cache_folder", "fetched_folder"]


def cache_folder() -> Path:
    """`JAXINTERP_CACHE`, or else `jaxinterp` in `XDG_CACHE_HOME` or in `~/.cache`; may not exist.

    Raises:
      UserError: the user has no home folder and neither variable is set.
    """
    chosen = os.environ.get("JAXINTERP_CACHE", "")
    shared = os.environ.get("XDG_CACHE_HOME", "")
    try:
        if chosen:
            return Path(chosen).expanduser().absolute()
        if Path(shared).is_absolute():  # the XDG specification has relative ones ignored
            return Path(shared) / "jaxinterp"
        return Path.home() / ".cache" / "jaxinterp"
    except RuntimeError:  # `~` stands for nothing
        raise UserError(
            "There is no home folder: name a cache folder in JAXINTERP_CACHE."
        ) from None


def fetched_folder() -> Path:
    """Where fetched files lie."""
    return cache_folder() / "fetched"
