"""`jaxinterp run`."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import tyro

from jaxinterp.cli.arguments import Debug, Overrides, loading

__all__ = ["Run"]


@dataclasses.dataclass(frozen=True)
class Run:
    """Runs a config: interprets kernels, stores the results, writes the report.

    Running the same config again does only what is missing.

    Example: jaxinterp run configs/demo.toml --set images.size=64 --set output=runs/large
    """

    config: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CONFIG.toml")]
    """The config file (TOML)."""
    overrides: Overrides = ()
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.config import load_config
            from jaxinterp.console.run import RunConsole
            from jaxinterp.sweep.config import RunConfig
            from jaxinterp.sweep.run import run

        config = load_config(RunConfig, self.config, self.overrides)
        with RunConsole() as console:
            result = run(config, listener=console)
            console.close_with(result)
        if result.failed and not result.done:
            sys.exit(1)
