"""Ten thousand broken weights files: each must end in a clean refusal or a correct load.

    python benchmarks/fuzz_checkpoints.py [--count 10000] [--seed 0] [--workers 2] [--torch]

The files are a few kilobytes, of every format that is read, broken in every way that
`tests/checkpoint_mutations.py` knows. They are read in other processes whose address space is
limited, so that memory beyond the limit is a failure and a crash is seen, and watched by an audit
hook, so that any code that ran is. With `--torch` what is loaded from PyTorch's formats is compared
with what `torch.load` makes of the same file (with `weights_only`).
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from checkpoint_examination import Watch, assert_equal, examine
from checkpoint_mutations import mutate
from checkpoint_seeds import SEEDS

from jaxinterp.weights.contents import WeightsContents

HEADROOM = 256 * 2**20
"""Bytes of address space beyond what the process has before it reads the first broken file."""


def address_space() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmSize:")[1].split()[0])


def compare_with_torch(path: Path, found: WeightsContents) -> str:
    """How `torch.load` sees a file that was loaded: the same, refused, or otherwise."""
    import torch

    numpy_names = ["numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"]
    scalar = np._core.multiarray.scalar
    torch.serialization.add_safe_globals(
        [np.dtype, np.dtypes.Float64DType, *((scalar, name) for name in numpy_names)]
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # it raises nearly anything
        return "torch refuses"
    tensors: dict[str, list[torch.Tensor]] = collections.defaultdict(list)
    parts, seen = [value], set()
    while parts:
        part = parts.pop()
        if isinstance(part, dict) and id(part) not in seen:
            seen.add(id(part))
            for name, inner in part.items():
                if isinstance(inner, torch.Tensor):
                    tensors[str(name).removeprefix("module.")].append(inner)
                parts.append(inner)
    for name, array in found.arrays.items():
        same = (
            tuple(tensor.shape) == array.shape
            and tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            == array.tobytes()
            for tensor in tensors[name.removeprefix("module.")]
        )
        if not any(same):
            return f"torch differs in {name}"
    return "torch agrees"


def read_share(first: int, step: int, count: int, seed: int, folder: Path, torch: bool) -> None:
    """One worker: reads every `step`-th file and prints what became of them as JSON."""
    watch, names = Watch(), list(SEEDS)
    path, sentinel, progress = folder / f"broken{first}", folder / "ran", folder / f"at{first}"
    whole = {}
    for name in names:  # also imports what is imported on first use
        path.write_bytes(SEEDS[name].join(SEEDS[name].parts))
        whole[name] = examine(path)
        if torch and name.startswith("torch"):
            assert compare_with_torch(path, whole[name]) == "torch agrees"
        path.unlink()  # its arrays are views of it, which writing to it would change
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = address_space() + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    outcomes: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    slowest = 0.0
    for number in range(first, count, step):
        name = names[number % len(names)]
        mutation = mutate(name, random.Random(f"{seed} {number}"), sentinel)
        path.write_bytes(mutation.content)
        progress.write_text(str(number))
        start = time.perf_counter()
        try:
            found = examine(path, watch)
            if isinstance(found, WeightsContents):
                outcome = "loaded"
                if mutation.must_equal_seed:
                    assert_equal(found, whole[name])
                    outcome = "loaded, equal to the whole file"
                elif torch and name.startswith("torch"):
                    outcome = f"loaded, {compare_with_torch(path, found)}"
            else:
                outcome = "refused"
            assert not sentinel.exists(), "code ran"
        except BaseException:
            outcome = "FAILED"
            failures.append(f"{number} ({name}, {mutation.kind}):\n{traceback.format_exc()}")
        slowest = max(slowest, time.perf_counter() - start)
        outcomes[f"{name}|{mutation.kind.partition(':')[0]}|{outcome}"] += 1
        path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {"outcomes": outcomes, "failures": failures, "slowest": slowest}
    print(json.dumps(result | {"before": before, "peak": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--torch", action="store_true", help="compare loads with torch.load")
    parser.add_argument("--share", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.share:
        first, folder = int(options.share[0]), Path(options.share[1])
        read_share(first, options.workers, options.count, options.seed, folder, options.torch)
        return
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        workers = [
            subprocess.Popen(
                [sys.executable, *sys.argv, "--share", str(first), name], stdout=subprocess.PIPE
            )
            for first in range(options.workers)
        ]
        texts = [worker.communicate()[0] for worker in workers]
        for first, worker in enumerate(workers):
            if worker.returncode:
                at = Path(name, f"at{first}").read_text()
                sys.exit(f"Worker {first} died with {worker.returncode} at file {at}.")
        ran = Path(name, "ran").exists()
    report([json.loads(text) for text in texts], time.perf_counter() - start, ran=ran)


def report(results: list[dict[str, Any]], seconds: float, *, ran: bool) -> None:
    """Prints the table; a failure ends the program with an error."""
    outcomes: collections.Counter[str] = collections.Counter()
    for result in results:
        outcomes.update(result["outcomes"])
    kinds = sorted({key.split("|")[2] for key in outcomes})
    print(f"{'':26}" + "".join(f"{kind:>34}" for kind in kinds))
    for row in [*SEEDS, "all"]:
        counts = [
            sum(n for key, n in outcomes.items() if key.split("|")[2] == kind
                and row in (key.split("|")[0], "all"))
            for kind in kinds
        ]  # fmt: skip
        print(f"{row:26}" + "".join(f"{count:34,}" for count in counts))
    for result in results:
        print(f"peak memory of a worker: {result['peak'] / 1024:.0f} MiB, "
              f"{result['before'] / 1024:.0f} MiB before the first broken file; "
              f"slowest file {result['slowest']:.2f} s")  # fmt: skip
    print(
        f"{sum(outcomes.values()):,} files in {seconds:.0f} s; code ran: {'YES' if ran else 'no'}"
    )
    failures = [failure for result in results for failure in result["failures"]]
    print(*failures[:10], sep="\n")
    if failures or ran:
        sys.exit(f"{len(failures)} failures.")


if __name__ == "__main__":
    main()
