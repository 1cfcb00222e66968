"""The case `step`: one step of the method, the same algorithm in JAX and in PyTorch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxinterp.bench.ceiling import measure_ceiling
from jaxinterp.bench.problems import STEP_PROBLEMS, choose, make_problem
from jaxinterp.bench.settings import BenchSettings, Say
from jaxinterp.bench.table import BenchTable
from jaxinterp.bench.turns import median_ratio, take_turns
from jaxinterp.bench.variants import OURS, contestants, problem_flops
from jaxinterp.methods.suppression import SuppressionSettings

__all__ = ["StepRow", "measure_steps", "step_table"]

# More than any measurement takes: no lane is spent, and the rate stays what it is.
_ENDLESS = 10**6
# A turn lasts so long, and takes at most so many segments.
_TURN_SECONDS, _MOST_SEGMENTS = 0.5, 40


@dataclasses.dataclass(frozen=True)
class StepRow:
    """One variant on one problem.

    Attributes:
      problem: network, layer, size and lanes, in words.
      variant: `OURS` or one of PyTorch.
      seconds: of a step of all lanes, the median over the turns.
      lanes: how many.
      flops: operations of a step.
      ceiling: the device's most operations a second.
      first: seconds of compilation, as in `Contestants.first`.
      ratio: (median, least, greatest) of this variant's time over ours, turn by turn; above 1 we
        are faster.
      notes: what could not be measured.
    """

    problem: str
    variant: str
    seconds: float
    lanes: int
    flops: int
    ceiling: float
    first: float
    ratio: tuple[float, float, float]
    notes: tuple[str, ...] = ()


def measure_steps(settings: BenchSettings, say: Say) -> list[StepRow]:
    """Loss, input gradient, one step of our default recipe and the best input so far, all lanes."""
    ceiling = measure_ceiling(settings)
    say(str(ceiling))
    rows: list[StepRow] = []
    for plan in choose(STEP_PROBLEMS, settings):
        problem = make_problem(plan, settings)
        found = contestants(problem, SuppressionSettings(steps=_ENDLESS), settings, say)
        longest = max(found.step.values()) * problem.segment
        turns = 1 if settings.quick else math.ceil(_TURN_SECONDS / longest)
        segments = min(turns, _MOST_SEGMENTS)
        rounds = min(settings.rounds, 2) if settings.quick else settings.rounds
        say(f"{plan}: {rounds} rounds of {segments * problem.segment} steps")
        seconds = take_turns(found.searches, dict.fromkeys(found.searches, segments), rounds=rounds)
        flops, steps = problem_flops(problem), segments * problem.segment
        for name, values in seconds.items():
            rows.append(
                StepRow(
                    problem=str(plan),
                    variant=name,
                    seconds=float(np.median(values)) / steps,
                    lanes=problem.lanes,
                    flops=flops,
                    ceiling=ceiling.most,
                    first=found.first[name],
                    ratio=median_ratio(values, seconds[OURS]),
                    notes=(str(ceiling), *found.notes),
                )
            )
            say(f"{plan}: {name} {1e3 * rows[-1].seconds:.1f} ms, {rows[-1].ratio[0]:.2f}")
    return rows


def step_table(rows: Sequence[StepRow]) -> BenchTable:
    """A line for each variant; the best of PyTorch's for a problem is printed bold."""
    best: dict[str, float] = {}
    for row in rows:
        if row.variant != OURS:
            best[row.problem] = min(best.get(row.problem, math.inf), row.ratio[0])
    lines = []
    for row in rows:
        middle, low, high = row.ratio
        ratio = "" if row.variant == OURS else f"{middle:.2f} ({low:.2f} to {high:.2f})"
        is_best = row.variant != OURS and middle == best[row.problem]
        rate = row.flops / row.seconds
        lines.append(
            (
                row.problem,
                f"**{row.variant}**" if is_best else row.variant,
                f"{1e3 * row.seconds:.2f}",
                f"{row.lanes / row.seconds:,.0f}",
                f"{rate / 1e9:,.0f}",
                f"{rate / row.ceiling:.0%}",
                f"{row.first:.1f}",
                f"**{ratio}**" if is_best else ratio,
            )
        )
    columns = (
        *("problem", "variant", "ms a step", "lane steps/s", "GFLOP/s", "of the ceiling"),
        *("compiling, s", "time over JAX's"),
    )
    notes = [
        "Time over JAX's: the median, least and greatest ratio of turns in the same round; above 1 "
        "JAX is faster. Bold: PyTorch's best. GFLOP/s count the convolutions, forward and input "
        "gradient, alike for all variants. Compiling: what the first segment took longer.",
        *dict.fromkeys(note for row in rows for note in row.notes),
    ]
    return BenchTable(columns, tuple(lines), tuple(notes))
