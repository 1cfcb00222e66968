"""The case `equal-loss`: how long both need to the same mean loss.

Same optimiser: our defaults in JAX and in PyTorch. The paper's recipe: gradient descent whose rate
is halved on plateaus, in PyTorch, its first rate tuned, against our defaults in JAX. Every figure
is the time of a loop that ran to that step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxinterp.bench.problems import EQUAL_LOSS_PROBLEMS, Problem, choose, make_problem
from jaxinterp.bench.settings import BenchSettings, Say
from jaxinterp.bench.table import BenchTable
from jaxinterp.bench.turns import Search, median_ratio, take_turns, warm
from jaxinterp.bench.variants import OURS, Contestants, contestants
from jaxinterp.methods.suppression import SuppressionSettings

__all__ = ["EqualLossRow", "equal_loss_table", "measure_equal_loss", "steps_to"]

_SAME, _PAPER = "same optimiser", "paper's recipe"
# A loop lasts minutes, and a round has two.
_MOST_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class EqualLossRow:
    """Both to the same mean loss.

    Attributes:
      problem: network, layer, size and lanes, in words.
      against: what PyTorch ran: "same optimiser" with its name, or "paper's recipe" with its rate.
      variant: how PyTorch ran.
      goal: the mean over the lanes of each lane's least loss so far that both reach.
      our_steps: evaluations until our loop reached the goal, in whole segments; None if it did not.
      our_seconds: the median time of that loop; NaN if it did not.
      our_first: seconds of our compilation.
      our_end: our mean loss after all steps.
      their_steps, their_seconds, their_first, their_end: the same of PyTorch.
      ratio: (median, least, greatest) of PyTorch's time over ours; NaN if a goal was not reached.
      ratio_compiled: the median with both compilations added.
    """

    problem: str
    against: str
    variant: str
    goal: float
    our_steps: int | None
    our_seconds: float
    our_first: float
    our_end: float
    their_steps: int | None
    their_seconds: float
    their_first: float
    their_end: float
    ratio: tuple[float, float, float]
    ratio_compiled: float


def measure_equal_loss(settings: BenchSettings, say: Say) -> list[EqualLossRow]:
    """Both comparisons on every problem asked for."""
    rows = []
    for plan in choose(EQUAL_LOSS_PROBLEMS, settings):
        problem = make_problem(plan, settings)
        ours = SuppressionSettings(steps=10) if settings.quick else SuppressionSettings()
        found = contestants(problem, ours, settings, say)
        their = min((name for name in found.step if name != OURS), key=found.step.__getitem__)
        rows.append(_same_optimiser(problem, ours, found, their, settings, say))
        say(_sentence(rows[-1]))
        rows.append(_paper(problem, ours, found, their, settings, say))
        say(_sentence(rows[-1]))
    return rows


def steps_to(losses: np.ndarray, goal: float) -> int | None:
    """Evaluations until the mean of the lanes' least losses so far is at most `goal`; or None.

    Args:
      losses: before each step, [steps, lanes]; NaN where a lane did not run.
    """
    reached = np.flatnonzero(_mean_best(losses) <= goal)
    return int(reached[0]) + 1 if len(reached) else None


def _mean_best(losses: np.ndarray) -> np.ndarray:
    return np.fmin.accumulate(losses, axis=0).mean(1)


def _whole(search: Search, steps: int) -> np.ndarray:
    """The losses of the whole recipe and of one evaluation more, which judges the last step."""
    search.restart()
    search.advance(math.ceil((steps + 1) / search.segment))
    return search.losses[: steps + 1]


def _end(losses: np.ndarray) -> float:
    return float(_mean_best(losses)[-1])


def _same_optimiser(
    problem: Problem,
    ours: SuppressionSettings,
    found: Contestants,
    their: str,
    settings: BenchSettings,
    say: Say,
) -> EqualLossRow:
    say(f"{problem.plan}: the same optimiser in both")
    steps = ours.resolved().steps
    assert steps is not None
    pair = {name: found.searches[name] for name in (OURS, their)}
    losses = {name: _whole(search, steps) for name, search in pair.items()}
    # The worse of the two: rounding leads them to ends that are not quite the same.
    goal = max(_end(trace) for trace in losses.values())
    return _row(problem, f"{_SAME} ({ours.optimizer})", goal, pair, losses, found, settings)


def _paper(
    problem: Problem,
    ours: SuppressionSettings,
    found: Contestants,
    their: str,
    settings: BenchSettings,
    say: Say,
) -> EqualLossRow:
    """The tuning is not counted: only the loop with the best rate is timed."""
    from jaxinterp.bench.pytorch import TorchSearch

    steps, rates = settings.paper_steps, settings.rates
    if settings.quick:
        steps, rates = min(steps, 30), rates[:2]
    search = found.searches[their]
    assert isinstance(search, TorchSearch)
    recipes = {
        rate: dataclasses.replace(ours, optimizer="paper", rate=rate, steps=steps) for rate in rates
    }
    search.use(recipes[rates[0]])
    # The gradient that the paper's recipe follows is another program.
    again, _ = warm(search)
    found = dataclasses.replace(found, first=found.first | {their: again})
    traces = {}
    for rate, recipe in recipes.items():
        search.use(recipe)
        traces[rate] = _whole(search, steps)
        say(f"{problem.plan}: rate {rate:g}, {steps} steps: loss {_end(traces[rate]):.4f}")
    best = min(rates, key=lambda rate: np.nan_to_num(_end(traces[rate]), nan=np.inf))
    search.use(recipes[best])
    our_steps = ours.resolved().steps
    assert our_steps is not None
    pair = {OURS: found.searches[OURS], their: search}
    losses = {OURS: _whole(pair[OURS], our_steps), their: traces[best]}
    against = f"{_PAPER}, rate {best:g}, {steps} steps"
    return _row(problem, against, _end(traces[best]), pair, losses, found, settings)


def _row(
    problem: Problem,
    against: str,
    goal: float,
    pair: dict[str, Search],
    losses: dict[str, np.ndarray],
    found: Contestants,
    settings: BenchSettings,
) -> EqualLossRow:
    """Times both loops to the goal; `losses` are those of their whole runs."""
    length, (their,) = problem.segment, [name for name in pair if name != OURS]
    needed = {name: steps_to(trace, goal) for name, trace in losses.items()}
    segments = {name: math.ceil(n / length) for name, n in needed.items() if n is not None}
    searches = {name: pair[name] for name in segments}
    rounds = 1 if settings.quick else min(settings.rounds, _MOST_ROUNDS)
    seconds = take_turns(searches, segments, rounds=rounds, fresh=True)
    middle = {name: float(np.median(values)) for name, values in seconds.items()}
    ratio, compiled = (math.nan, math.nan, math.nan), math.nan
    if len(searches) == len(pair):
        ratio = median_ratio(seconds[their], seconds[OURS])
        whole = {name: middle[name] + found.first[name] for name in pair}
        compiled = whole[their] / whole[OURS]
    return EqualLossRow(
        problem=str(problem.plan),
        against=against,
        variant=their,
        goal=goal,
        our_steps=segments[OURS] * length if OURS in segments else None,
        our_seconds=middle.get(OURS, math.nan),
        our_first=found.first[OURS],
        our_end=_end(losses[OURS]),
        their_steps=segments[their] * length if their in segments else None,
        their_seconds=middle.get(their, math.nan),
        their_first=found.first[their],
        their_end=_end(losses[their]),
        ratio=ratio,
        ratio_compiled=compiled,
    )


def equal_loss_table(rows: Sequence[EqualLossRow]) -> BenchTable:
    """A line for each comparison."""
    columns = (
        *("problem", "PyTorch runs", "variant", "mean loss", "JAX", "PyTorch"),
        *("PyTorch's time over JAX's", "with compilation", "compiling, s: JAX, PyTorch"),
        "loss at the end: JAX, PyTorch",
    )
    lines = [
        (
            row.problem,
            row.against,
            row.variant,
            f"{row.goal:.4f}",
            _loop(row.our_steps, row.our_seconds),
            _loop(row.their_steps, row.their_seconds),
            _ratio(row.ratio),
            "" if math.isnan(row.ratio_compiled) else f"{row.ratio_compiled:.2f}",
            f"{row.our_first:.1f}, {row.their_first:.1f}",
            f"{row.our_end:.4f}, {row.their_end:.4f}",
        )
        for row in rows
    ]
    notes = (
        "Mean loss: the mean over the lanes of each one's least loss so far. JAX, PyTorch: "
        "evaluations and seconds of the loop that ran to it, the median over the rounds, in which "
        "both take turns. The ratio's median, least and greatest; above 1 JAX is faster. JAX runs "
        "this library's defaults; the time of tuning the paper's rate is not counted.",
    )
    return BenchTable(columns, tuple(lines), notes)


def _loop(steps: int | None, seconds: float) -> str:
    return "not reached" if steps is None else f"{steps} in {seconds:.2f} s"


def _ratio(ratio: tuple[float, float, float]) -> str:
    middle, low, high = ratio
    return "" if math.isnan(middle) else f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _sentence(row: EqualLossRow) -> str:
    ours = _loop(row.our_steps, row.our_seconds)
    theirs = _loop(row.their_steps, row.their_seconds)
    return f"{row.problem}, {row.against}: to {row.goal:.4f} JAX {ours}, PyTorch {theirs}"
