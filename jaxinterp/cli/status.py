"""`jaxinterp status`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from jaxinterp.cli.arguments import Debug, loading

__all__ = ["Status"]


@dataclasses.dataclass(frozen=True)
class Status:
    """Says how a run stands: jobs by layer, processes at work, rate, size on disk.

    Needs neither the weights nor the images, and may be asked while the run goes on.

    Example: jaxinterp status runs/demo

    Example: jaxinterp status gs://bucket/runs/demo --verify
    """

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run folder, or its address in an object store."""
    verify: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Reads every result and compares checksums. Damaged ones are removed: running again does their
    jobs again."""
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.console.folders import print_status
            from jaxinterp.sweep.status import run_status

        print_status(run_status(self.run, verify=self.verify))
