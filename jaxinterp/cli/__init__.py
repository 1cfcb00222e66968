"""The command `jaxinterp`, a file for each subcommand."""

from jaxinterp.cli.command import main

__all__ = ["main"]
