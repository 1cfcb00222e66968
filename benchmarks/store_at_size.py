"""The run folder at size: planning, resuming, reading and exporting 100,000 jobs, with peak memory.

    python benchmarks/store_at_size.py /tmp/store                    # everything
    python benchmarks/store_at_size.py /tmp/store --only resume      # one step on what is there

The optimisation is left out (random images and traces stand for its results); plan, journal,
arrays, tables and commands are the package's own. Each step runs in a process of its own: "memory"
is the growth of its largest resident size over that after the imports, MiB. Jobs done are added in
two halves, and the folder is resumed after each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxinterp.cli import main as command
from jaxinterp.data.images import ImagesConfig
from jaxinterp.sweep.config import LayerConfig, RunConfig
from jaxinterp.sweep.plan import Plan, plan_of
from jaxinterp.sweep.store import ArraySpec, Results, RunFolder
from jaxinterp.sweep.summary import summarise

LAYERS, IMAGES = 4, 100
SIDE, STEPS = 16, 20
TOGETHER = 64
SPECS = {"images": ArraySpec((SIDE, SIDE, 3), "uint8"), "traces": ArraySpec((STEPS, 4))}
MEASURES = (
    *("similarity", "similarity_blank", "mse_selected", "mse_rest", "mse_rest_original"),
    *("mse_rest_blank", "loss", "steps"),
)


def config(folder: Path) -> RunConfig:
    layers = tuple(LayerConfig(f"layer{number}") for number in range(LAYERS))
    return RunConfig(str(folder / "run"), layers, ImagesConfig(size=SIDE, all_colours=True))


def kernels(jobs: int) -> dict[str, list[int]]:
    return {f"layer{n}": list(range(jobs // LAYERS // IMAGES)) for n in range(LAYERS)}


def digests() -> list[str]:
    return [f"{number:064x}" for number in range(IMAGES)]


def make(folder: Path, jobs: int) -> Plan:
    return plan_of(config(folder), "tiny", "0" * 64, kernels(jobs), digests())


def opened(folder: Path, jobs: int) -> tuple[RunFolder, Results]:
    run = RunFolder(config(folder))
    images = dict(zip((f"image{n}" for n in range(IMAGES)), digests(), strict=True))
    run.write_manifest(
        {
            "model": "tiny",
            "weights_sha256": "0" * 64,
            "images": images,
            "kernels": kernels(jobs),
        }
    )
    return run, run.results(make(folder, jobs), SPECS)


def fill(folder: Path, jobs: int, stop: int) -> dict[str, Any]:
    run, results = opened(folder, jobs)
    random = np.random.default_rng(0)
    plan, started = make(folder, jobs), time.perf_counter()
    with run, results:
        missing = results.missing(range(stop))
        for start in range(0, len(missing), TOGETHER):
            batch = [plan[i] for i in missing[start : start + TOGETHER]]
            records = [
                {
                    "index": job.index,
                    "id": job.id,
                    "layer": job.layer,
                    "kernel": job.kernel,
                    "image": f"image{job.image}",
                    "status": "done",
                    "similarity_is": "ssim",
                    **dict(zip(MEASURES, random.random(8).tolist(), strict=True)),
                }
                for job in batch
            ]
            arrays = {
                name: random.random((len(batch), *spec.shape), np.float32)
                for name, spec in SPECS.items()
            }
            results.write([job.index for job in batch], arrays, records)
    return {"jobs/s": round(len(missing) / (time.perf_counter() - started))}


def plan_all(folder: Path, jobs: int) -> dict[str, Any]:
    started = time.perf_counter()
    plan = make(folder, jobs)
    made = time.perf_counter() - started
    ids = sum(int(job.id, 16) & 1 for job in plan)
    return {"construction, ms": round(1e3 * made, 2), "odd ids": ids}


def resume(folder: Path, jobs: int) -> dict[str, Any]:
    run, results = opened(folder, jobs)
    with run, results:
        return {"done": int(results.done.sum()), "missing": len(results.missing(range(jobs)))}


def tables(folder: Path, jobs: int) -> dict[str, Any]:
    run, results = opened(folder, jobs)
    with run, results:
        run.compact(results)
        found = summarise(results.records(), make(folder, jobs).layers)
    return {"rows": sum(len(summary.rows) for summary in found.values())}


def called(*arguments: str) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        command(arguments)
    return {}


def steps(folder: Path, jobs: int) -> dict[str, Any]:
    out = folder / "out"

    def export(kind: str) -> dict[str, Any]:
        shutil.rmtree(out, ignore_errors=True)
        return called("export", str(folder / "run"), str(out), "--format", kind)

    return {
        "plan": lambda: plan_all(folder, jobs),
        "fill-half": lambda: fill(folder, jobs, jobs // 2),
        "fill-all": lambda: fill(folder, jobs, jobs),
        "resume": lambda: resume(folder, jobs),
        "tables": lambda: tables(folder, jobs),
        "status": lambda: called("status", str(folder / "run")),
        "verify": lambda: called("status", str(folder / "run"), "--verify"),
        "export-csv": lambda: export("csv"),
        "export-parquet": lambda: export("parquet"),
        "size": lambda: {"files": sum(len(files) for _, _, files in os.walk(folder / "run"))},
    }


SEQUENCE = (
    *("plan", "resume", "fill-half", "resume", "fill-all", "resume", "tables"),
    *("status", "verify", "export-csv", "export-parquet", "size"),
)


def measure(folder: Path, jobs: int, step: str) -> None:
    """Does a step in this process and prints what it took, as JSON."""
    import tyro  # noqa: F401  (the command's imports are none of the step's)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    found = steps(folder, jobs)[step]()
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "memory": after - before, "imports": before, **found}))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--only", nargs="+", choices=sorted(set(SEQUENCE)))
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    chosen = arguments.only or SEQUENCE
    if arguments.in_this_process:
        return measure(arguments.folder, arguments.jobs, chosen[0])
    print(
        f"| step, {arguments.jobs:,} jobs | seconds | memory, MiB | |\n| --- | ---: | ---: | --- |"
    )
    for step in chosen:
        ended = subprocess.run(
            [
                *(sys.executable, __file__, str(arguments.folder), "--jobs", str(arguments.jobs)),
                *("--only", step, "--in-this-process"),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(ended.stdout.splitlines()[-1])
        rest = ", ".join(f"{k} {v}" for k, v in found.items() if k not in ("seconds", "memory"))
        print(f"| {step} | {found['seconds']:.2f} | {found['memory']:.0f} | {rest} |", flush=True)
    return None


if __name__ == "__main__":
    main()
