"""Where a measurement was made: processor, cores, accelerator, versions."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["Machine", "this_machine"]

_LIBRARIES = ("jax", "jaxlib", "torch")


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where a measurement was made.

    Attributes:
      processor: the CPU's model name.
      cores: how many this process may use.
      accelerator: the GPU's or TPU's name; None on a CPU.
      versions: of Python, JAX and, where it is installed, PyTorch.
    """

    processor: str
    cores: int
    accelerator: str | None
    versions: dict[str, str]

    @property
    def key(self) -> str:
        """What its sections are marked with: the device in lower case, digits and hyphens."""
        name = self.accelerator or f"{self.processor} {self.cores} cores"
        return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")

    def __str__(self) -> str:
        parts = [] if self.accelerator is None else [self.accelerator]
        parts.append(f"{self.processor} ({self.cores} cores)")
        parts += [f"{name} {number}" for name, number in self.versions.items()]
        return ", ".join(parts)


def this_machine() -> Machine:
    """The machine and the device that JAX uses on it."""
    import jax

    device = jax.devices()[0]
    versions = {"Python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        accelerator=None if device.platform == "cpu" else device.device_kind,
        versions=versions,
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
