"""How long it takes until the weights of a VGG-16 can be used, beside `torch.load`.

    python benchmarks/weights_loading.py [--runs 5] [--model vgg16]

Writes random weights of the model as PyTorch does (zip and legacy) and as safetensors, then opens
each in processes of their own: `jaxinterp.load` with an empty cache (reads, converts, fills the
cache), again with the cache filled, and `torch.load`. Timed is the call, after the libraries are
imported, until every parameter has been touched; the files are in the system's page cache. Prints
the median and the range of the runs. Needs PyTorch, 3 GB of disk and 4 GB of memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KINDS = ("zip", "legacy", "safetensors")


def write_files(folder: Path, model: str) -> dict[str, Path]:
    """The model's random state dict in every format."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from jaxinterp.models.parameters import Blueprint, initial_parameters
    from jaxinterp.models.registry import find_architecture
    from jaxinterp.weights.layout import to_torch_layout

    blueprint = Blueprint(find_architecture(model).build)
    arrays = to_torch_layout(initial_parameters(blueprint, seed=0), flattened={})
    state = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    paths = {kind: folder / f"{kind}.bin" for kind in KINDS}
    torch.save(state, paths["zip"])
    torch.save(state, paths["legacy"], _use_new_zipfile_serialization=False)
    save_file(state, paths["safetensors"])
    return paths


def time_ours(model: str, path: str) -> float:
    import jax

    from jaxinterp.weights.load import load

    jax.numpy.zeros(3).block_until_ready()  # the backend has started
    start = time.perf_counter()
    network = load(model, weights=path)
    jax.block_until_ready(network.params)
    return time.perf_counter() - start


def time_torch(path: str, kind: str) -> float:
    import torch
    from safetensors.torch import load_file

    torch.zeros(3).sum()
    start = time.perf_counter()
    state = load_file(path) if kind == "safetensors" else torch.load(path, weights_only=True)
    for value in state.values():
        value.max()  # a mapped file is read only now
    return time.perf_counter() - start


def in_a_process(cache: Path, *arguments: str) -> float:
    environment = os.environ | {"JAXINTERP_CACHE": str(cache)}
    command = [sys.executable, __file__, *arguments]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(ended.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ours", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--torch", nargs=2, metavar=("FILE", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        print(time_ours(options.model, options.ours))
    elif options.torch:
        print(time_torch(*options.torch))
    else:
        compare(options.model, options.runs)


def compare(model: str, runs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_files(folder, model)
        time.sleep(3)  # a file younger than two seconds is hashed at every start
        size = paths["zip"].stat().st_size / 1e6
        print(f"{model}, {size:.0f} MB; seconds, median (range) of {runs} runs")
        for kind, path in paths.items():
            seconds: dict[str, list[float]] = {"first": [], "cached": [], "PyTorch": []}
            for run in range(runs):
                cache = folder / f"cache-{kind}-{run}"
                ours = "--model", model, "--ours", str(path)
                seconds["first"].append(in_a_process(cache, *ours))
                seconds["cached"].append(in_a_process(cache, *ours))
                seconds["PyTorch"].append(in_a_process(cache, "--torch", str(path), kind))
                shutil.rmtree(cache)
            shown = [
                f"{what} {statistics.median(s):.2f} ({min(s):.2f}-{max(s):.2f})"
                for what, s in seconds.items()
            ]
            print(f"{kind:12} {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
