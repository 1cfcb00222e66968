"""Peak memory and disk of a whole dissection, by the number of images.

    python benchmarks/dissection_memory.py [--counts 250 1000 1500 8000]

Rendered flowers and the network for them that comes with the package. The thresholds' buffers grow
with the images up to their limit (see docs/dissection.md), nothing else should. Each number runs in
a process of its own. Above 1,000 images the network's convolutions are staged, which takes memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
from pathlib import Path


def dissect(count: int, folder: str) -> tuple[float, float]:
    """Peak of the process's memory and the size of the run folder, MiB."""
    from jaxinterp.config import build
    from jaxinterp.dissect.config import DissectionConfig
    from jaxinterp.dissect.run import run_dissection

    config = {
        "output": folder,
        "method": "dissection",
        "batch_size": 32,
        "model": {"name": "flower_single"},
        "concepts": [{"source": f"an8flower:single-6c:{count}"}],
    }
    run_dissection(build(DissectionConfig, config))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return peak, size / 2**20


def main() -> None:
    """Prints a line for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[250, 1000, 1500, 8000])
    counts = parser.parse_args().counts
    print(f"{'images':>8} {'peak MiB':>9} {'disk MiB':>9}")
    for count in counts:
        with (
            tempfile.TemporaryDirectory() as folder,
            multiprocessing.get_context("spawn").Pool(1) as pool,
        ):
            peak, size = pool.apply(dissect, (count, f"{folder}/run"))
        print(f"{count:8} {peak:9.0f} {size:9.1f}", flush=True)


if __name__ == "__main__":
    main()
