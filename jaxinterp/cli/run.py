"""`jaxinterp run`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

import tyro

from jaxinterp.cli.arguments import Debug, Overrides, loading, optional
from jaxinterp.cli.interruption import end_process
from jaxinterp.errors import UserError, nearest

__all__ = ["Run"]


@dataclasses.dataclass(frozen=True)
class Run:
    """Runs a config: interprets kernels, compares methods or dissects units; stores and reports.

    Running the same config again does only what is missing.

    Example: jaxinterp run configs/demo.toml --set images.size=64 --set output=runs/large
    Four processes on one folder: jaxinterp run CONFIG.toml --process I --processes 4, I = 0 to 3
    """

    config: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CONFIG.toml")]
    """The config file (TOML)."""
    overrides: Overrides = ()
    process: Annotated[int | None, optional("I")] = None
    """This process's number, from 0, where several share the run folder."""
    processes: Annotated[int | None, optional("N")] = None
    """How many share it."""
    scheduler: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Reads both from Slurm (steps and arrays), Open MPI, Kubernetes, or RANK and WORLD_SIZE."""
    distributed: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Connects the processes by jax.distributed, as TPU pods need it."""
    coordinator: Annotated[str | None, optional("HOST:PORT")] = None
    """Address of process 0, for --distributed where JAX cannot find it out."""
    debug: Debug = False

    def __call__(self) -> None:
        method = _method(self.config, self.overrides)
        if method not in _METHODS:
            raise UserError(nearest(method, _METHODS, kind="method"))
        result = _METHODS[method](self)
        if result.failed and not result.done:
            sys.exit(1)


class _Outcome(Protocol):
    """What every method's result tells."""

    @property
    def done(self) -> int: ...
    @property
    def failed(self) -> int: ...


def _suppression(command: Run) -> _Outcome:
    with loading():
        from jaxinterp.config import load_config
        from jaxinterp.console.run import RunConsole
        from jaxinterp.sweep.config import RunConfig
        from jaxinterp.sweep.hosts import find_hosts
        from jaxinterp.sweep.run import Stopped, run

    settings = load_config(RunConfig, command.config, command.overrides)
    hosts = find_hosts(
        command.process,
        command.processes,
        scheduler=command.scheduler,
        distributed=command.distributed,
        coordinator=command.coordinator,
    )
    try:
        with RunConsole() as console:
            result = run(settings, listener=console, hosts=hosts)
            console.close_with(result)
    except Stopped:
        print("Stopped; the same command goes on from here.", file=sys.stderr)
        end_process(143)  # not after the next layer is compiled: the machine may be gone by then
    return result


def _comparison(command: Run) -> _Outcome:
    with loading():
        from jaxinterp.config import load_config
        from jaxinterp.console.comparison import ComparisonConsole
        from jaxinterp.sweep.comparison.config import ComparisonConfig
        from jaxinterp.sweep.comparison.run import run_comparison

    _check_alone(command, "comparison")
    settings = load_config(ComparisonConfig, command.config, command.overrides)
    console = ComparisonConsole()
    with console:
        result = run_comparison(settings, listener=console)
        console.close_with_tables(result)
    return result


def _dissection(command: Run) -> _Outcome:
    with loading():
        from jaxinterp.config import load_config
        from jaxinterp.console.dissection import DissectionConsole
        from jaxinterp.dissect.config import DissectionConfig
        from jaxinterp.dissect.run import run_dissection

    _check_alone(command, "dissection")
    settings = load_config(DissectionConfig, command.config, command.overrides)
    with DissectionConsole() as console:
        result = run_dissection(settings, listener=console)
        console.close_with(result)
    return result


def _check_alone(command: Run, method: str) -> None:
    """Raises `UserError` if options for several processes are given."""
    given = (command.process, command.processes, command.coordinator)
    if command.scheduler or command.distributed or any(one is not None for one in given):
        raise UserError(f"A {method} runs in one process: leave out the options of several.")


_METHODS: dict[str, Callable[[Run], _Outcome]] = {
    "suppression": _suppression,
    "comparison": _comparison,
    "dissection": _dissection,
}


def _method(config: str, overrides: Sequence[str]) -> str:
    """The config's `method`, which decides what other keys there are."""
    with loading():
        from jaxinterp.config import read_content

    content = read_content(config, overrides)
    if "method" not in content and {"concepts", "relevance", "ablation"} & set(content):
        raise UserError(
            "The key 'method' is missing: [[concepts]], [relevance] and [ablation] belong to "
            'method = "dissection".'
        )
    return str(content.get("method", "suppression"))
