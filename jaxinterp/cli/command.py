"""The command `jaxinterp`.

Parsing needs no JAX: each command imports what it uses when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from jaxinterp import __version__
from jaxinterp.cli.bench import Bench
from jaxinterp.cli.concepts import Concepts
from jaxinterp.cli.evaluate import Evaluate
from jaxinterp.cli.export import Export
from jaxinterp.cli.interruption import end_process, interrupts_kept
from jaxinterp.cli.merge import Merge
from jaxinterp.cli.models import Models
from jaxinterp.cli.run import Run
from jaxinterp.cli.status import Status
from jaxinterp.cli.train import Train
from jaxinterp.cli.weights import Weights
from jaxinterp.errors import UserError

__all__ = ["main"]

_Commands = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Status, tyro.conf.subcommand("status")]
    | Annotated[Export, tyro.conf.subcommand("export")]
    | Annotated[Merge, tyro.conf.subcommand("merge")]
    | Annotated[Models, tyro.conf.subcommand("models")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Weights, tyro.conf.subcommand("weights")]
    | Annotated[Concepts, tyro.conf.subcommand("concepts")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Exit codes: 0 done, 2 unusable input, 130 interrupted, 1 anything else.

    A run in which no job is done but some failed counts as "anything else".
    """
    is_program = arguments is None
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments == ["--version"]:
        print(f"jaxinterp {__version__}")
        return
    command = tyro.cli(
        _Commands,  # type: ignore[arg-type]
        prog="jaxinterp",
        description="Ask what the convolutional kernels of a trained network respond to.",
        args=arguments,
    )
    try:
        with warnings.catch_warnings(), interrupts_kept():
            if not command.debug:
                warnings.showwarning = _show_warning
            command()
    except KeyboardInterrupt:
        print("\nInterrupted; what was finished is kept.", file=sys.stderr)
        if is_program:
            end_process(130)
        sys.exit(130)
    except UserError as error:
        if command.debug:
            raise
        print(f"jaxinterp: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that may not be written
        if command.debug:
            raise
        print(f"jaxinterp: {error}", file=sys.stderr)
        sys.exit(1)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """A line for the user, without the place in our code that Python adds."""
    print(f"jaxinterp: warning: {message}", file=sys.stderr)
