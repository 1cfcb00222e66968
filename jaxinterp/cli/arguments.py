"""What the commands have in common: kinds of arguments, and how they import."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Annotated

import tyro

__all__ = ["Debug", "Overrides", "loading", "optional"]


def optional(metavar: str, *, help: str | None = None) -> object:
    """An argument that may be left out; the help says what happens then, not `(default: None)`."""
    return tyro.conf.arg(metavar=metavar, help=help, help_behavior_hint="")


Overrides = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        name="set",
        metavar="KEY=VALUE",
        help="Overrides a key of the config, such as suppression.steps=100; may be repeated.",
    ),
    tyro.conf.UseAppendAction,
]
Debug = Annotated[
    bool, tyro.conf.arg(help_behavior_hint="", help="Shows the traceback of an error.")
]


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Ctrl-C while libraries are imported ends the process, with exit code 130.

    As an exception it can be lost in them, and the command goes on, or it ends as an ImportError.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not under nohup
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, b"\nInterrupted.\n")
        os._exit(130)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
