"""`jaxinterp merge`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from jaxinterp.cli.arguments import Debug, loading

__all__ = ["Merge"]


@dataclasses.dataclass(frozen=True)
class Merge:
    """Puts parts of one run, made on machines without a common disk, into a new run folder.

    The parts must have the same config, weights, images and kernels, and stay as they are.

    Example: jaxinterp merge from-a/run from-b/run runs/whole
    """

    folders: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="RUN RUN [RUN...] OUT", help_behavior_hint=""),
    ]
    """Two run folders or more, then the new one, which must not be there."""
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.console.folders import FolderProgress, print_merged
            from jaxinterp.errors import UserError
            from jaxinterp.sweep.merge import merge_runs

        if len(self.folders) < 3:
            raise UserError(
                "`jaxinterp merge` takes two run folders or more, and then the new one."
            )
        with FolderProgress("merge") as progress:
            merged = merge_runs(self.folders[:-1], self.folders[-1], progress=progress)
        print_merged(merged)
