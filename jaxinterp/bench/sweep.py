"""The case `sweep`: all 4,224 kernels of VGG-16 on one image.

One batch of lanes of each layer is measured, or as many as it takes for the kernels asked for; the
others are extrapolated within their layer, and the table says how many were measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxinterp.bench.problems import Problem, ProblemPlan, make_problem
from jaxinterp.bench.settings import BenchSettings, Say
from jaxinterp.bench.table import BenchTable
from jaxinterp.bench.turns import Search, seconds_of, warm
from jaxinterp.bench.variants import OURS, contestants
from jaxinterp.methods.suppression import SuppressionSettings
from jaxinterp.models.registry import find_architecture

__all__ = ["SweepRow", "measure_sweep", "sweep_plan", "sweep_table"]

_LANES, _QUICK_LANES = 32, 2


@dataclasses.dataclass(frozen=True)
class SweepRow:
    """One variant.

    Attributes:
      variant: `OURS`, or PyTorch's best on each layer.
      kernels: of all layers.
      measured: so many of them ran.
      seconds: for all, without compilation; extrapolated unless all were measured.
      first: seconds of compilation.
      lanes: kernels at once.
      steps: evaluations for each kernel.
    """

    variant: str
    kernels: int
    measured: int
    seconds: float
    first: float
    lanes: int
    steps: int


def sweep_plan(kernels: dict[str, int], lanes: int, least: int) -> dict[str, int]:
    """How many batches of each layer are measured: one, or more in equal shares.

    Args:
      kernels: of each layer.
      lanes: kernels in a batch.
      least: kernels that are measured altogether, at least (as far as there are so many).
    """
    whole = {layer: math.ceil(count / lanes) for layer, count in kernels.items()}
    share = min(1.0, least / sum(kernels.values()))
    return {layer: max(1, math.ceil(share * batches)) for layer, batches in whole.items()}


def measure_sweep(settings: BenchSettings, say: Say) -> list[SweepRow]:
    """Every layer of VGG-16, default recipe, in JAX and in PyTorch's best variant for the layer."""
    name, size, lanes = "vgg16", 224, _LANES
    if settings.quick:
        name, size, lanes = "vgg_cifar10", 32, _QUICK_LANES
    layers = _layers(name)
    if settings.quick:
        layers = dict(list(layers.items())[:2])
    ours = SuppressionSettings(steps=2 if settings.quick else None)
    recipe = ours.resolved()
    assert recipe.steps is not None
    steps = recipe.steps + 1
    batches = sweep_plan(layers, lanes, 1 if settings.quick else settings.kernels)
    totals = {OURS: [0.0, 0.0], "torch": [0.0, 0.0]}
    measured = 0
    for layer, kernels in layers.items():
        problem = make_problem(ProblemPlan(name, layer, size, lanes, 1), settings)
        problem = dataclasses.replace(problem, kernels=np.arange(lanes, dtype=np.int32) % kernels)
        found = contestants(problem, ours, settings, say)
        best = min((one for one in found.step if one != OURS), key=found.step.__getitem__)
        ran = min(batches[layer] * lanes, kernels)
        measured += ran
        for total, variant in ((totals[OURS], OURS), (totals["torch"], best)):
            seconds = _batches(problem, found.searches[variant], batches[layer], steps)
            total[0] += seconds * kernels / ran
            total[1] += found.first[variant]
            say(f"{layer}: {variant} {ran} of {kernels} kernels in {seconds:.2f} s")
    return [
        SweepRow(title, sum(layers.values()), measured, seconds, first, lanes, steps)
        for title, (seconds, first) in totals.items()
    ]


def _layers(name: str) -> dict[str, int]:
    """Kernels of each convolution's map after its ReLU."""
    from jaxinterp.models.describe import describe_classifier

    architecture = find_architecture(name)
    table = describe_classifier(architecture.blueprint(), architecture.preprocess)
    return {row.name: row.channels for row in table if row.kind == "relu" and row.is_map}


def _batches(problem: Problem, search: Search, batches: int, steps: int) -> float:
    """Seconds of so many whole batches.

    Which kernels are in a batch makes no difference to its time: the same ones run again.
    """
    seconds = 0.0
    warm(search)
    for _ in range(batches):
        search.restart()
        seconds += seconds_of(search, math.ceil(steps / problem.segment))
    return seconds


def sweep_table(rows: Sequence[SweepRow]) -> BenchTable:
    """A line for each variant."""
    columns = (
        *("variant", "kernels", "measured", "lanes", "evaluations each", "time for all"),
        *("kernels/s", "compiling, s"),
    )
    lines = [
        (
            row.variant,
            f"{row.kernels:,}",
            f"{row.measured:,}" if row.measured < row.kernels else "all",
            str(row.lanes),
            str(row.steps),
            f"{row.seconds:.0f} s" if row.seconds < 600 else f"{row.seconds / 60:.0f} min",
            f"{row.kernels / row.seconds:.1f}",
            f"{row.first:.1f}",
        )
        for row in rows
    ]
    extrapolated = any(row.measured < row.kernels for row in rows)
    notes = (
        "The time for all is extrapolated within each layer from the kernels measured."
        if extrapolated
        else "Every kernel was measured.",
    )
    return BenchTable(columns, tuple(lines), notes)
