"""The case `refill`: refilled lanes against fixed batches, on jobs of mixed difficulty.

A fixed batch waits for its slowest lane; a refilled lane takes the next job at once.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxinterp.bench.problems import REFILL_PROBLEMS, Problem, choose, make_problem
from jaxinterp.bench.settings import BenchSettings, Say
from jaxinterp.bench.table import BenchTable
from jaxinterp.bench.turns import median_ratio
from jaxinterp.methods.layer_maps import Compute
from jaxinterp.methods.suppression import SuppressionSettings, suppression_task
from jaxinterp.optimize import Stream

__all__ = ["RefillRow", "measure_refill", "refill_table"]

_REFILLED, _FIXED = "refilled lanes", "fixed batches"
_JOBS, _QUICK_JOBS, _QUICK_STEPS = 96, 6, 10
# When a job counts as finished: its loss has not fallen by this share for so many steps.
_PATIENCE, _TOLERANCE = 15, 1e-3
# One way through all jobs lasts up to a minute.
_MOST_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class RefillRow:
    """One way to fill the lanes.

    Attributes:
      problem: network, layer, size and lanes, in words.
      way: "refilled lanes" or "fixed batches".
      jobs: how many.
      seconds: for all, the median over the rounds.
      steps: the jobs' own steps together.
      spread: (least, median, greatest) of a job's steps.
      occupancy: evaluations that advanced a job, as a share of all that the device computed, 0 to
        1.
      ratio: (median, least, greatest) of this way's time over that of refilled lanes.
    """

    problem: str
    way: str
    jobs: int
    seconds: float
    steps: int
    spread: tuple[int, int, int]
    occupancy: float
    ratio: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class _Pass:
    """All jobs once: seconds, each job's steps [jobs], and the occupancy."""

    seconds: float
    steps: np.ndarray
    occupancy: float


def measure_refill(settings: BenchSettings, say: Say) -> list[RefillRow]:
    """The same jobs in both ways, in turns; ResNet-18 if there are weights or it is asked for."""
    rows = []
    for plan in choose(REFILL_PROBLEMS, settings):
        if plan.network == "resnet18" and not (settings.weights or settings.only):
            continue
        rows += _of_problem(make_problem(plan, settings), settings, say)
    return rows


def _of_problem(problem: Problem, settings: BenchSettings, say: Say) -> list[RefillRow]:
    """Every kernel in turn on both pictures, as they come."""
    plan = problem.plan
    count = _QUICK_JOBS if settings.quick else _JOBS
    stream, job = _stream(problem, quick=settings.quick), _job_of(problem)
    say(f"{plan}: compiling")
    stream.compile()
    _run(stream, job, [range(problem.lanes)])
    batches = {
        _REFILLED: [range(count)],
        _FIXED: [
            range(first, min(first + problem.lanes, count))
            for first in range(0, count, problem.lanes)
        ],
    }
    rounds = 1 if settings.quick else min(settings.rounds, _MOST_ROUNDS)
    passes: dict[str, list[_Pass]] = {way: [] for way in batches}
    for _ in range(rounds):
        for way, keys in batches.items():
            passes[way].append(_run(stream, job, keys))
            say(f"{plan}: {way}, {count} jobs in {passes[way][-1].seconds:.1f} s")
    seconds = {way: [one.seconds for one in several] for way, several in passes.items()}
    words = f"{plan}, patience {_PATIENCE} at {_TOLERANCE:g}"
    rows = []
    for way, several in passes.items():
        steps = several[0].steps
        rows.append(
            RefillRow(
                problem=words,
                way=way,
                jobs=count,
                seconds=float(np.median(seconds[way])),
                steps=int(steps.sum()),
                spread=(int(steps.min()), int(np.median(steps)), int(steps.max())),
                occupancy=several[0].occupancy,
                ratio=median_ratio(seconds[way], seconds[_REFILLED]),
            )
        )
    return rows


def _stream(problem: Problem, *, quick: bool) -> Stream[int]:
    """The default recipe in the library's own segments, with jobs that end when they may."""
    ours = SuppressionSettings(
        steps=_QUICK_STEPS if quick else None, patience=_PATIENCE, tolerance=_TOLERANCE
    )
    size: Any = problem.images.shape[1:3]
    task, shared, example = suppression_task(
        problem.network,
        problem.plan.layer,
        ours,
        size=size,
        lanes=problem.lanes,
        compute=Compute(),
    )
    return Stream(task, shared, example, width=problem.lanes, devices=jax.devices()[:1])


def _job_of(problem: Problem) -> Callable[[int], Any]:
    kernels = problem.network.layers.find(problem.plan.layer).channels
    pictures = problem.images[:2]

    def job(number: int) -> Any:
        kernel = np.int32(number // len(pictures) % kernels)
        return {"image": pictures[number % len(pictures)], "kernel": kernel}

    return job


def _run(stream: Stream[int], job: Callable[[int], Any], batches: Sequence[range]) -> _Pass:
    """Runs batches one after another, each to its end."""
    before = dataclasses.replace(stream.counts)
    started = time.perf_counter()
    ended = [one for keys in batches for events in stream.run(keys, job) for one in events]
    seconds = time.perf_counter() - started
    computed = stream.counts.evaluations - before.evaluations
    steps = np.zeros(sum(map(len, batches)), np.int64)
    for one in ended:
        steps[one.keys] = one.results["steps"]
    return _Pass(seconds, steps, (stream.counts.used - before.used) / computed)


def refill_table(rows: Sequence[RefillRow]) -> BenchTable:
    """A line for each way."""
    columns = (
        *("problem", "way", "jobs", "s", "jobs/min", "steps", "steps of a job", "lanes busy"),
        "time over refilled lanes'",
    )
    lines = [
        (
            row.problem,
            row.way,
            str(row.jobs),
            f"{row.seconds:.1f}",
            f"{60 * row.jobs / row.seconds:.0f}",
            f"{row.steps:,}",
            f"{row.spread[0]} to {row.spread[2]}, median {row.spread[1]}",
            f"{row.occupancy:.0%}",
            "{:.2f} ({:.2f} to {:.2f})".format(*row.ratio),
        )
        for row in rows
    ]
    notes = (
        "Jobs: the layer's kernels from the first on two pictures, in this order; one whose kernel "
        "is silent takes no step. Lanes busy: the share of the evaluations computed that advanced "
        "a job. Compilation is not counted; both ways take turns.",
    )
    return BenchTable(columns, tuple(lines), notes)
