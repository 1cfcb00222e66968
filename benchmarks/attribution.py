"""Attribution beside Captum, Zennit and plain PyTorch: times, ratios, and whether results agree.

    python benchmarks/attribution.py [--only kernels lrp] [--size 224] [--steps 10] [--repeats 5]
    python benchmarks/attribution.py --parity       # float64, against Zennit
    python benchmarks/attribution.py --paths        # integrated gradients of 256 paths, memory

The same random weights and images on all sides, float32, CPU. All calls of a row are repeated in
turn in one process, so that a machine that slows down does so for all; PyTorch runs NCHW and
channels_last, with several internal batches where Captum has such, and the better counts. The
ratio is PyTorch's least time over ours (above 1: ours is quicker), then that of the medians, and
that of the least processor time, which other programs on the machine disturb less (with one
thread: `--threads 1`). The error is the largest difference as a share of the largest value; in
float32 a single ReLU that switched otherwise makes it large. Compilation is in no time but "first
call". Needs PyTorch and Captum (`make parity` installs them); Zennit's rows need Zennit.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
import warnings
from collections.abc import Sequence

import jax
import numpy as np
import torch
from attribution_cases import CASES, Call, Case, Options, Results, Rival
from attribution_parity import print_parity
from attribution_paths import print_paths

HEADER = """\
| task | ms | first call, s | against | ms | ratio | medians | processor | goal | error |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


def relative_error(actual: Results, expected: Results) -> float:
    """The largest difference in any array as a share of that array's largest value."""
    errors = [0.0]
    for one, other in zip(actual, expected, strict=True):
        if one.shape != other.shape:
            raise ValueError(f"results of shapes {one.shape} and {other.shape}")
        errors.append(float(np.abs(one - other).max() / np.abs(other).max()))
    return max(errors)


class Timing:
    """The times of one call, in seconds, and its last result."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.wall: list[float] = []
        self.processor: list[float] = []
        self.repeat()
        self.first = self.wall.pop()
        self.processor.clear()

    def repeat(self) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        self.result = self._call()
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)


def measure(case: Case, repeats: int, budget: float) -> list[str]:
    """Rows of the table.

    Args:
        case: What is measured.
        repeats: How often, at most.
        budget: Seconds after which nothing is repeated once more; everything is done twice.
    """
    ours = Timing(case.ours)
    theirs = {
        rival.title: {name: Timing(call) for name, call in rival.variants.items()}
        for rival in case.rivals
    }
    timings = [ours]
    for variants in theirs.values():
        # A variant that is far behind is not worth repeating.
        least = min((one.first for one in variants.values()), default=0)
        timings += [one for one in variants.values() if one.first < 2 * least]
    started = time.perf_counter()
    for number in range(repeats):
        if number > 1 and time.perf_counter() - started > budget:
            break
        for timing in timings:
            timing.repeat()
    return [_row(case, rival, ours, theirs[rival.title]) for rival in case.rivals]


def _row(case: Case, rival: Rival, ours: Timing, variants: dict[str, Timing]) -> str:
    own = f"| {case.title} | {1e3 * min(ours.wall):.0f} | {ours.first:.1f} | {rival.title}"
    goal = "" if rival.goal is None else f"{rival.goal:.1f}x"
    if not variants:
        return f"{own}: not installed | | | | | {goal} | |"
    measured = {name: one for name, one in variants.items() if one.wall}
    name, best = min(measured.items(), key=lambda item: min(item[1].wall))
    ratios = [
        min(best.wall) / min(ours.wall),
        np.median(best.wall) / np.median(ours.wall),
        min(min(one.processor) for one in measured.values()) / min(ours.processor),
    ]
    error = f"{relative_error(ours.result, best.result):.0e}" if rival.comparable else "other noise"
    figures = " | ".join(f"{ratio:.2f}x" for ratio in ratios)
    return f"{own}, {name} | {1e3 * min(best.wall):.0f} | {figures} | {goal} | {error} |"


def print_cases(names: Sequence[str], options: Options, repeats: int, budget: float) -> None:
    print(HEADER, flush=True)
    for name, make in CASES.items():
        if names and not any(name.startswith(start) for start in names):
            continue
        for row in measure(make(options), repeats, budget):
            print(row, flush=True)
        jax.clear_caches()
        gc.collect()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=(), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--size", type=int, default=Options().size, help="of the images")
    parser.add_argument("--steps", type=int, default=Options().steps, help="on the layers' paths")
    parser.add_argument("--images", type=int, default=Options().images, help="of one pass")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--budget", type=float, default=60, help="seconds of repeats for a row")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="channels_last, large batches only")
    parser.add_argument("--parity", action="store_true", help="against Zennit, float64")
    parser.add_argument("--paths", action="store_true", help="paths a second, and memory")
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore", module="captum|torch")
    cores = sorted(os.sched_getaffinity(0))[: chosen.threads]
    os.sched_setaffinity(0, cores)  # before XLA makes its threads
    torch.set_num_threads(len(cores))
    torch.set_flush_denormal(True)  # as XLA does; without it Zennit takes twice as long
    versions = f"jax {jax.__version__}, torch {torch.__version__}"
    print(f"{len(cores)} threads, load {os.getloadavg()[0]:.1f}; {versions}\n", flush=True)
    if chosen.parity:
        print_parity()
    elif chosen.paths:
        print_paths(chosen.size, chosen.steps, chosen.threads)
    else:
        options = Options(chosen.size, chosen.steps, chosen.images, chosen.quick)
        print_cases(chosen.only, options, chosen.repeats, chosen.budget)


if __name__ == "__main__":
    main()
