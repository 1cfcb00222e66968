"""`jaxinterp models`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from jaxinterp.cli.arguments import Debug, loading, optional

__all__ = ["Models"]


@dataclasses.dataclass(frozen=True)
class Models:
    """Lists the networks, or prints the layer table of one.

    Example: jaxinterp models vgg16
    """

    name: Annotated[tyro.conf.Positional[str | None], optional("[NAME]")] = None
    """A network; without it, all are listed."""
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.console.models import print_layers, print_models

        if self.name is None:
            print_models()
        else:
            print_layers(self.name)
