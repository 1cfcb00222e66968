"""The cases by name: what each measures, and how its rows become a table."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from typing import Any

from jaxinterp.bench.settings import BenchSettings, Say
from jaxinterp.bench.table import BenchTable
from jaxinterp.errors import UserError, nearest

__all__ = ["CASES", "Case", "find_case"]


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
      name: as on the command line.
      title: of its section.
      module: of this room, which is imported when the case is measured.
      functions: its names in it: `measure(settings, say) -> rows` and `table(rows)`.
      compares: whether it needs PyTorch.
      by_default: whether `jaxinterp bench` without a name measures it.
    """

    name: str
    title: str
    module: str
    functions: tuple[str, str]
    compares: bool = True
    by_default: bool = False

    def check(self) -> None:
        """Imports PyTorch if the case needs it.

        Raises:
          UserError: it is not installed.
        """
        if self.compares:
            from jaxinterp.bench.variants import require_torch

            require_torch()

    def measure(self, settings: BenchSettings, say: Say) -> list[Any]:
        """Measures, and returns the case's rows.

        Raises:
          UserError: PyTorch is needed and not installed, or the settings name no problem of it.
        """
        self.check()
        return self._function(0)(settings, say)

    def table(self, rows: Sequence[Any]) -> BenchTable:
        """The rows as a table."""
        return self._function(1)(rows)

    def _function(self, number: int) -> Any:
        return getattr(importlib.import_module(self.module), self.functions[number])


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case(
            "step",
            "One step, the same algorithm in JAX and PyTorch",
            "jaxinterp.bench.step",
            ("measure_steps", "step_table"),
            by_default=True,
        ),
        Case(
            "equal-loss",
            "The time to an equal loss",
            "jaxinterp.bench.equal_loss",
            ("measure_equal_loss", "equal_loss_table"),
            by_default=True,
        ),
        Case(
            "sweep",
            "All kernels of VGG-16 on one image",
            "jaxinterp.bench.sweep",
            ("measure_sweep", "sweep_table"),
        ),
        Case(
            "refill",
            "Refilled lanes against fixed batches",
            "jaxinterp.bench.refill",
            ("measure_refill", "refill_table"),
            compares=False,
        ),
        Case(
            "devices",
            "Throughput by the number of devices",
            "jaxinterp.bench.devices",
            ("measure_devices", "devices_table"),
            compares=False,
        ),
    )
}
"""By name."""


def find_case(name: str) -> Case:
    """A case by name.

    Raises:
      UserError: an unknown name; the nearest are named.
    """
    if name not in CASES:
        raise UserError(nearest(name, CASES, kind="case"))
    return CASES[name]
