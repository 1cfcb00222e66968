"""`jaxinterp train`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from jaxinterp.cli.arguments import Debug, Overrides, loading

__all__ = ["Train"]


@dataclasses.dataclass(frozen=True)
class Train:
    """Trains a small network; a stopped run resumes after its last finished epoch.

    Example: jaxinterp train configs/train_vgg_cifar10.toml --set data=cifar-10-binary.tar.gz
    """

    config: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CONFIG.toml")]
    """The config file (TOML)."""
    overrides: Overrides = ()
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.config import load_config
            from jaxinterp.train.config import TrainConfig
            from jaxinterp.train.loop import train

        weights = train(load_config(TrainConfig, self.config, self.overrides))
        print(f"weights: {weights}")
