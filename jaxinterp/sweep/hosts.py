"""Which share of a run this process does.

Processes need nothing from each other but the run folder: job i of a layer belongs to process
i modulo their number, each journal is one process's own, and no computation crosses from one to
another. A process that dies takes none of the others with it, unless `jax.distributed` connects
them, which TPU pods need: there JAX ends all when one is lost.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

import jax

from jaxinterp.errors import UserError

__all__ = ["ONE_PROCESS", "Hosts", "find_hosts"]

_SCHEDULERS = (
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
    ("RANK", "WORLD_SIZE"),
)
"""Variables of the process's number and of how many there are."""
_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")


@dataclasses.dataclass(frozen=True)
class Hosts:
    """This process among others.

    Attributes:
      process: its number, from 0.
      processes: how many there are.
    """

    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise UserError(f"There must be at least one process, not {self.processes}.")
        if not 0 <= self.process < self.processes:
            raise UserError(
                f"There is no process {self.process}: of {self.processes} processes the numbers "
                f"are 0 to {self.processes - 1}."
            )


ONE_PROCESS = Hosts()


def find_hosts(
    process: int | None = None,
    processes: int | None = None,
    *,
    scheduler: bool = False,
    distributed: bool = False,
    coordinator: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Hosts:
    """This process's number, from what was given, the scheduler, or `jax.distributed`.

    Args:
      process, processes: as given; both or neither, unless `distributed`.
      scheduler: read them from the variables of Slurm, Open MPI, Kubernetes, or RANK and
        WORLD_SIZE.
      distributed: call `jax.distributed.initialize`, which finds out by itself on TPU pods, under
        Slurm and on GKE, and must come before any other use of JAX.
      coordinator: for `distributed` elsewhere: "host:port" of process 0.
      environment: the process's.

    Raises:
      UserError: one number without the other, numbers that do not fit, or no scheduler.
    """
    if distributed:
        try:
            jax.distributed.initialize(coordinator, processes, process)
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(f"The processes could not be connected: {reason}.") from None
        return Hosts(jax.process_index(), jax.process_count())
    if coordinator is not None:
        raise UserError("A coordinator is for --distributed, which was not given.")
    if (process is None) != (processes is None):
        raise UserError("Give --process and --processes together: which one, and of how many.")
    if process is not None and processes is not None:
        return Hosts(process, processes)
    return _from_scheduler(environment) if scheduler else Hosts()


def _from_scheduler(environment: Mapping[str, str]) -> Hosts:
    if all(name in environment for name in _ARRAY):
        number, count, lowest, step = _numbers(
            environment, *_ARRAY, SLURM_ARRAY_TASK_MIN=0, SLURM_ARRAY_TASK_STEP=1
        )
        task, own = (number - lowest) // max(step, 1), Hosts()
        if all(name in environment for name in _SCHEDULERS[0]):  # a task of several processes
            own = Hosts(*_numbers(environment, *_SCHEDULERS[0]))
        return Hosts(task * own.processes + own.process, count * own.processes)
    for names in _SCHEDULERS:
        if all(name in environment for name in names):
            return Hosts(*_numbers(environment, *names))
    known = ", ".join("/".join(names) for names in (_ARRAY, *_SCHEDULERS))
    raise UserError(
        f"No scheduler is seen here (none of {known} is set): give --process and --processes."
    )


def _numbers(environment: Mapping[str, str], *names: str, **usual: int) -> list[int]:
    """Variables as whole numbers; those of `usual` may be missing."""
    found = []
    for name in (*names, *usual):
        try:
            found.append(int(environment[name]) if name in environment else usual[name])
        except ValueError:
            raise UserError(f"{name} is no whole number: {environment[name]!r}.") from None
    return found
