"""Who works on a run folder: a lock for each process, which the kernel frees when it ends.

`locks/P.lock` is held by process P as long as it lives, and says who that is. A process that was
killed, with SIGKILL too, holds nothing. Reading a folder needs no lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from jaxinterp.errors import UserError

__all__ = ["LiveProcess", "ProcessLock", "guard", "live_processes"]

_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


@dataclasses.dataclass(frozen=True)
class LiveProcess:
    """A process at work on a run folder.

    Attributes:
      process: its number, from 0.
      processes: how many it thinks there are.
      pid, host: where it runs.
      since: when it began, seconds of Unix time.
    """

    process: int
    processes: int
    pid: int
    host: str
    since: float

    def __str__(self) -> str:
        return f"process {self.process} of {self.processes} (pid {self.pid} on {self.host})"


class ProcessLock:
    """Held by a process that works on a folder."""

    def __init__(self, folder: Path, process: int, processes: int) -> None:
        """Takes the lock of a process; `guard` must be held.

        Raises:
          UserError: another process has it, or others are at work that count differently.
        """
        self._file = None
        own = LiveProcess(process, processes, os.getpid(), socket.gethostname(), time.time())
        for other in live_processes(folder):
            if other.process == process:
                raise UserError(
                    f"{folder} is in use by {other}: wait until it ends, or, where several "
                    "processes share a run, give each a number of its own."
                )
            if other.processes != processes:
                raise UserError(
                    f"{folder} is in use by {other}, which does not fit process {process} of "
                    f"{processes}: all must be told the same number of processes."
                )
        file = (folder / "locks" / f"{process}.lock").open("a+b")
        try:
            _take(file.fileno())
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            warnings.warn(
                f"The file system of {folder} has no locks: nothing keeps two processes with the "
                "same number apart.",
                stacklevel=2,
            )
        file.truncate(0)
        file.write(json.dumps(dataclasses.asdict(own)).encode())
        file.flush()
        self._file = file

    def release(self) -> None:
        """Lets others work as this process."""
        if self._file is not None:
            self._file.close()
            self._file = None


@contextlib.contextmanager
def guard(folder: Path) -> Iterator[None]:
    """While held, no other process enters the folder or is asked whether it lives."""
    (folder / "locks").mkdir(exist_ok=True)
    with (folder / "locks" / "guard").open("a+b") as file:
        with contextlib.suppress(OSError):  # no locks at all: said by `ProcessLock`
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def live_processes(folder: Path) -> list[LiveProcess]:
    """Those at work on a folder now, on this machine or on others that share its disk."""
    found = []
    for path in sorted((folder / "locks").glob("*.lock")):
        try:
            with path.open("rb") as file:
                if not _is_held(file.fileno()):
                    continue
                found.append(LiveProcess(**json.loads(file.read())))
        except (OSError, ValueError, TypeError):
            continue
    return found


def _take(descriptor: int) -> None:
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):  # someone asks at this moment who is alive
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.05)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
