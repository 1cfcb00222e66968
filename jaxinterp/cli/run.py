"""`jaxinterp run`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

import tyro

from jaxinterp.cli.arguments import Debug, Overrides, loading
from jaxinterp.errors import UserError, nearest

__all__ = ["Run"]


@dataclasses.dataclass(frozen=True)
class Run:
    """Runs a config: interprets kernels or compares methods, stores the results, writes the report.

    Running the same config again does only what is missing.

    Example: jaxinterp run configs/demo.toml --set images.size=64 --set output=runs/large
    """

    config: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CONFIG.toml")]
    """The config file (TOML)."""
    overrides: Overrides = ()
    debug: Debug = False

    def __call__(self) -> None:
        method = _method(self.config, self.overrides)
        if method not in _METHODS:
            raise UserError(nearest(method, _METHODS, kind="method"))
        result = _METHODS[method](self.config, self.overrides)
        if result.failed and not result.done:
            sys.exit(1)


class _Outcome(Protocol):
    """What every method's result tells."""

    @property
    def done(self) -> int: ...
    @property
    def failed(self) -> int: ...


def _suppression(config: str, overrides: Sequence[str]) -> _Outcome:
    with loading():
        from jaxinterp.config import load_config
        from jaxinterp.console.run import RunConsole
        from jaxinterp.sweep.config import RunConfig
        from jaxinterp.sweep.run import run

    settings = load_config(RunConfig, config, overrides)
    with RunConsole() as console:
        result = run(settings, listener=console)
        console.close_with(result)
    return result


def _comparison(config: str, overrides: Sequence[str]) -> _Outcome:
    with loading():
        from jaxinterp.config import load_config
        from jaxinterp.console.comparison import ComparisonConsole
        from jaxinterp.sweep.comparison.config import ComparisonConfig
        from jaxinterp.sweep.comparison.run import run_comparison

    settings = load_config(ComparisonConfig, config, overrides)
    console = ComparisonConsole()
    with console:
        result = run_comparison(settings, listener=console)
        console.close_with_tables(result)
    return result


_METHODS: dict[str, Callable[[str, Sequence[str]], _Outcome]] = {
    "suppression": _suppression,
    "comparison": _comparison,
}


def _method(config: str, overrides: Sequence[str]) -> str:
    """The config's `method`, which decides what other keys there are."""
    with loading():
        from jaxinterp.config import read_content

    return str(read_content(config, overrides).get("method", "suppression"))
