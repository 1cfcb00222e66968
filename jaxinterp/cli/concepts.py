"""`jaxinterp concepts`: check concept data, render flowers."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from jaxinterp.cli.concepts_check import Check
from jaxinterp.cli.concepts_render import Render

__all__ = ["Concepts"]


_Actions = (
    Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Render, tyro.conf.subcommand("render")]
)


@dataclasses.dataclass(frozen=True)
class Concepts:
    """Images whose pixels are labelled with concepts: checks a set, renders flowers.

    Example: jaxinterp concepts check broden1_224
    """

    action: Annotated[_Actions, tyro.conf.arg(name="")]

    @property
    def debug(self) -> bool:
        """Whether the traceback of an error is shown."""
        return self.action.debug

    def __call__(self) -> None:
        self.action()
