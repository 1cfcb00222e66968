"""The case `devices`: throughput by the number of devices, each number in a process of its own.

On a CPU they are made by XLA (`--xla_force_host_platform_device_count`) and share its cores: this
shows what sharding costs, not what more hardware gains.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np

from jaxinterp.bench.child import ChildSearch
from jaxinterp.bench.problems import DEVICES_PROBLEMS, ProblemPlan, choose
from jaxinterp.bench.settings import BenchSettings, Say
from jaxinterp.bench.table import BenchTable
from jaxinterp.bench.turns import Search, take_turns, warm
from jaxinterp.methods.suppression import SuppressionSettings

__all__ = ["DevicesRow", "devices_table", "measure_devices"]

_COUNTS, _QUICK_COUNTS, _QUICK_STEPS = (1, 2, 4, 8), (1, 2), 10
# Inputs are compared after so many steps: later, rounding has been amplified in all of them.
_COMPARED, _SEGMENT = 20, 5


@dataclasses.dataclass(frozen=True)
class DevicesRow:
    """One number of devices.

    Attributes:
      problem: network, layer, size and lanes, in words.
      devices: how many.
      lanes: of all devices together.
      lane_steps: done together.
      seconds: they took, without compilation, the median over the rounds.
      first: seconds of compilation.
      compared: steps after which the inputs were compared.
      pixels: the largest difference of a pixel from the problem's first row then, RGB in [0, 1].
      loss: the largest relative difference from it of a lane's least loss, after all steps.
    """

    problem: str
    devices: int
    lanes: int
    lane_steps: int
    seconds: float
    first: float
    compared: int
    pixels: float
    loss: float


def measure_devices(settings: BenchSettings, say: Say) -> list[DevicesRow]:
    """The same lanes on 1, 2, 4, ... devices, which take turns."""
    rows = []
    for plan in choose(DEVICES_PROBLEMS, settings):
        rows += _of_problem(plan, settings, say)
    return rows


def _of_problem(plan: ProblemPlan, settings: BenchSettings, say: Say) -> list[DevicesRow]:
    on_cpu = jax.default_backend() == "cpu"
    counts = _QUICK_COUNTS if settings.quick else _COUNTS
    if not on_cpu:
        counts = tuple(count for count in counts if count <= jax.device_count())
    steps = SuppressionSettings(steps=_QUICK_STEPS if settings.quick else None).resolved().steps
    assert steps is not None
    compared = min(_COMPARED, steps)
    plan = dataclasses.replace(plan, segment=_SEGMENT)
    first, ends = {}, {}
    with contextlib.ExitStack() as stack:
        searches: dict[str, ChildSearch] = {}
        for count in counts:
            say(f"{plan}: {_devices(count)}, {steps} steps")
            search = stack.enter_context(
                ChildSearch(plan, settings, devices=count, steps=steps, on_cpu=on_cpu)
            )
            searches[str(count)] = search
            first[count], _ = warm(search)
            ends[count] = _ends(search, steps, compared // _SEGMENT)
        children: dict[str, Search] = dict(searches)
        turns = dict.fromkeys(children, compared // _SEGMENT)
        rounds = min(settings.rounds, 2) if settings.quick else settings.rounds
        seconds = take_turns(children, turns, rounds=rounds, fresh=True)
    pixels, losses = ends[counts[0]]
    rows = []
    for count in counts:
        own_pixels, own_losses = ends[count]
        row = DevicesRow(
            problem=str(plan),
            devices=count,
            lanes=plan.lanes,
            lane_steps=plan.lanes * compared,
            seconds=float(np.median(seconds[str(count)])),
            first=first[count],
            compared=compared,
            pixels=float(np.abs(own_pixels - pixels).max()),
            loss=float((np.abs(own_losses - losses) / losses).max()),
        )
        rows.append(row)
        say(f"{plan}: {_devices(count)}, {row.lane_steps / row.seconds:.0f} lane steps/s")
    return rows


def _ends(search: ChildSearch, steps: int, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """The inputs after some segments, and each lane's least loss of all `steps`."""
    search.restart()
    search.advance(segments)
    pixels = search.pixels
    # One evaluation more judges the last step.
    search.advance(math.ceil((steps + 1) / search.segment) - segments)
    return pixels, np.nanmin(search.losses[: steps + 1], axis=0)


def _devices(count: int) -> str:
    return "1 device" if count == 1 else f"{count} devices"


def devices_table(rows: Sequence[DevicesRow]) -> BenchTable:
    """A line for each number of devices; rates against those of a problem's first line."""
    single: dict[str, float] = {}
    lines = []
    for row in rows:
        rate = row.lane_steps / row.seconds
        is_first = row.problem not in single
        lines.append(
            (
                row.problem,
                str(row.devices),
                str(row.lanes),
                f"{rate:,.0f}",
                f"{rate / single.setdefault(row.problem, rate):.2f}",
                f"{row.first:.1f}",
                "" if is_first else f"{row.pixels:.1e}",
                "" if is_first else f"{row.loss:.1e}",
            )
        )
    columns = (
        *("problem", "devices", "lanes", "lane steps/s", "over the first", "compiling, s"),
        *("pixels differ by", "losses differ by"),
    )
    steps = " or ".join(dict.fromkeys(str(row.compared) for row in rows))
    notes = (
        f"From the problem's first line: pixels (RGB in [0, 1]) at most, after the first {steps} "
        "steps; the least loss of each lane at most, relative, after all steps. Devices of a CPU "
        "share its cores.",
    )
    return BenchTable(columns, tuple(lines), notes)
