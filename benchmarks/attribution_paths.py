"""Integrated gradients of many image x target paths: how many a second, in how much memory.

A ResNet-18 with random weights and small images. Every line of the table is a process of its own,
so that its peak memory is its own; what the process held before the first call is taken off.
`compiled` is the temporary memory that XLA plans for the same call as one jitted program.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["print_paths"]

NETWORK = "resnet18"


class Paths(NamedTuple):
    """What one process computes; `batch` is Captum's internal batch, None for this library."""

    images: int
    targets: int
    steps: int
    size: int
    threads: int
    batch: int | None = None
    memory: int = 2**28


def print_paths(size: int, steps: int, threads: int) -> None:
    """A table: paths a second, then memory as steps and paths grow."""
    several = Paths(32, 8, steps, size, threads)
    single = Paths(256, 1, steps, size, threads)
    lines = [
        several,
        single,
        several._replace(batch=64),
        several._replace(batch=256),
        Paths(2, 8, 20, size, threads),
        Paths(2, 8, 200, size, threads),
        Paths(32, 8, 20, size, threads),
    ]
    print(f"Integrated gradients, {NETWORK}, {size} px, {several.memory >> 20} MiB for a batch\n")
    print("| | images x targets | steps | s | processor, s | paths/s | peak, MB | compiled, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for line in dict.fromkeys(lines):
        command = [sys.executable, __file__, json.dumps(line)]
        finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(finished.stdout.splitlines()[-1])
        title = "jaxinterp" if line.batch is None else f"Captum, {line.batch} at a time"
        planned = "" if found["planned"] is None else f"{found['planned'] / 1e6:.0f}"
        print(
            f"| {title} | {line.images} x {line.targets} | {line.steps} | {found['wall']:.1f} "
            f"| {found['processor']:.1f} | {line.images * line.targets / found['wall']:.1f} "
            f"| {found['peak'] / 1e6:.0f} | {planned} |",
            flush=True,
        )


def measure(paths: Paths) -> dict[str, float | None]:
    """Runs one of the two libraries, in this process."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: paths.threads])
    prepare = _ours if paths.batch is None else _captum
    call, planned = prepare(paths)
    before = _peak()
    call()  # compiles
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return {
        "wall": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "peak": _peak() - before,
        "planned": planned(),
    }


def _peak() -> float:
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _ours(paths: Paths) -> tuple[Callable[[], Any], Callable[[], float | None]]:
    import jax
    import numpy as np
    from attribution_networks import make_twins

    from jaxinterp.attribution import integrated_gradients, logit

    twins = make_twins(NETWORK, images=paths.images, size=paths.size)
    targets = np.arange(paths.targets)
    images = jax.numpy.asarray(twins.images)

    def integrate(params: Any, images: Any) -> Any:
        return integrated_gradients(
            twins.ours.apply,
            params,
            images,
            logit(),
            targets,
            n_steps=paths.steps,
            memory=paths.memory,
        )

    def planned() -> float | None:
        analysis = jax.jit(integrate).lower(twins.ours.params, images).compile().memory_analysis()
        return None if analysis is None else float(analysis.temp_size_in_bytes)

    return lambda: jax.block_until_ready(integrate(twins.ours.params, images)), planned


def _captum(paths: Paths) -> tuple[Callable[[], Any], Callable[[], float | None]]:
    import captum.attr
    import numpy as np
    import torch
    from attribution_networks import make_twins

    torch.set_num_threads(paths.threads)
    torch.set_flush_denormal(True)
    twins = make_twins(NETWORK, images=paths.images, size=paths.size)
    pixels = torch.from_numpy(np.ascontiguousarray(twins.images.transpose(0, 3, 1, 2)))
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    network = twins.theirs.to(memory_format=torch.channels_last)
    method = captum.attr.IntegratedGradients(network)

    def call() -> Any:
        return [
            method.attribute(
                pixels, target=target, n_steps=paths.steps, internal_batch_size=paths.batch
            )
            for target in range(paths.targets)
        ]

    return call, lambda: None


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    print(json.dumps(measure(Paths(*json.loads(sys.argv[1])))))
