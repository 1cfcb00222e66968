"""Every network at its published width against PyTorch: each tap, and the gradient of a logit.

    python benchmarks/zoo_parity.py [--names resnet50 vgg_f] [--format safetensors]

Random weights and random batch-norm statistics, saved by PyTorch and read by `jaxinterp.load`; one
random image of the size that the network was trained with; PyTorch's definitions are those of the
tests. A line a network: the largest difference at any tap as a share of the largest value there,
with its tap, in single and in double precision; the same for the input gradient of one logit in
double precision; how many modules of PyTorch's network no tap was compared with (none may be left;
dropout and containers, which only pass values on, do not count). A quarter of an hour and 7 GB for
all networks on two cores. Needs PyTorch (`make parity` installs it).
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from torch import nn

import jaxinterp
from jaxinterp.models.registry import ARCHITECTURES

# The comparison and PyTorch's definitions are shared with the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from torch_comparison import Comparison, compare, randomise, save_state
from torch_networks import torch_network

TARGET = 3
PASSES_ON = (nn.Dropout, nn.Sequential)


def compare_published(name: str, suffix: str) -> tuple[dict[type, Comparison], int, int]:
    """Comparisons by precision; the number of parameters; how many modules were left."""
    theirs = randomise(torch_network(name))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.{suffix}"
        save_state(theirs, path)
        os.environ["JAXINTERP_CACHE"] = folder  # not the user's
        ours = jaxinterp.load(name, weights=path)
    side, channels = ours.preprocess.size, len(ours.preprocess.mean)
    pixels = np.random.default_rng(1).uniform(size=(1, side, side, channels))
    images = np.asarray(ours.preprocess(pixels))
    found = {
        dtype: compare(theirs, ours, images, target=TARGET, dtype=dtype)
        for dtype in (np.float32, np.float64)
    }
    left = [
        path
        for path in found[np.float64].unseen
        if not isinstance(theirs.get_submodule(path), PASSES_ON)
    ]
    return found, sum(value.numel() for value in theirs.parameters()), len(left)


def worst(found: Comparison) -> str:
    """The largest difference and its tap."""
    return f"{found.taps[found.worst]:.1e} (`{found.worst}`)"


def main() -> None:
    """Compares, and prints a table line by line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", nargs="+", choices=list(ARCHITECTURES), metavar="NAME")
    parser.add_argument("--format", choices=["safetensors", "pth", "th"], default="safetensors")
    options = parser.parse_args()

    print("| network | parameters | taps | float32 | float64 | gradient, float64 | left | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name in options.names or ARCHITECTURES:
        started = time.perf_counter()
        found, parameters, left = compare_published(name, options.format)
        single, double = found[np.float32], found[np.float64]
        print(
            f"| {name} | {parameters:,} | {len(double.taps)} | {worst(single)} | {worst(double)} "
            f"| {double.gradient:.1e} | {left} | {time.perf_counter() - started:.0f} |",
            flush=True,
        )
        del found, single, double
        jax.clear_caches()
        gc.collect()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\nLargest memory: {peak:.1f} GB")


if __name__ == "__main__":
    main()
