"""Kills a run with SIGKILL at random moments, resumes it, and compares it with an undisturbed one.

    python benchmarks/kills.py --kills 20

Told are: jobs that were lost or done twice (none may be), segments that were done again, and how
far the results are from the undisturbed run's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxinterp.config import load_config, to_toml
from jaxinterp.data.images import ImagesConfig
from jaxinterp.methods.suppression import SuppressionSettings
from jaxinterp.sweep.config import LayerConfig, ReportConfig, RunConfig, StoreConfig
from jaxinterp.sweep.run import Listener, run


class Counting(Listener):
    """Appends a byte to a file after every segment: it survives a kill."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def advanced(self, jobs: float) -> None:
        os.write(self._file, b".")


def made_config(folder: Path, checkpoint: int) -> RunConfig:
    """Two layers of the built-in network, 128 jobs, 16 lanes."""
    return RunConfig(
        output=str(folder),
        layers=(LayerConfig("relu2_2", "0-31"), LayerConfig("relu3_3", "0-31")),
        images=ImagesConfig(size=40, pictures=("astronaut", "coffee")),
        lanes=16,
        suppression=SuppressionSettings(steps=100),
        store=StoreConfig(checkpoint=checkpoint),
        report=ReportConfig(figures=0),
    )


def child(config: Path, log: Path) -> subprocess.Popen[bytes]:
    """The run in a process of its own."""
    command = [sys.executable, __file__, "--config", str(config), "--log", str(log)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def segments(log: Path) -> int:
    """Segments done by all processes so far."""
    return log.stat().st_size if log.exists() else 0


def lines(folder: Path) -> list[dict[str, object]]:
    """All whole lines of the journals."""
    found = []
    for path in sorted((folder / "journal").glob("*.jsonl")):
        for line in path.read_text(errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                print(f"a line was cut off: {line[:40]!r}")
    return found


def main() -> None:
    """Kills, resumes, compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--checkpoint", type=int, default=2, help="segments between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--config", help=argparse.SUPPRESS)
    parser.add_argument("--log", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.config:
        run(load_config(RunConfig, options.config, ()), listener=Counting(options.log))
        return

    draw = random.Random(options.seed)
    root = Path(tempfile.mkdtemp())
    try:
        logs: dict[str, Path] = {}
        folders: dict[str, Path] = {}
        folders["undisturbed"], logs["undisturbed"] = root / "undisturbed", root / "log"
        file = root / "undisturbed.toml"
        file.write_text(to_toml(made_config(folders["undisturbed"], options.checkpoint)))
        started = time.perf_counter()
        child(file, logs["undisturbed"]).wait()
        seconds = time.perf_counter() - started
        print(f"undisturbed: {segments(logs['undisturbed'])} segments in {seconds:.0f} s")
        kills = rounds = 0
        while kills < options.kills:  # a run that reaches its end makes room for another
            rounds += 1
            name = f"killed {rounds}"
            folders[name], logs[name] = root / name, root / f"{name}.log"
            file = root / f"{name}.toml"
            file.write_text(to_toml(made_config(folders[name], options.checkpoint)))
            kept: dict[object, object] = {}
            own = 0
            while kills < options.kills:
                process = child(file, logs[name])
                moment = time.perf_counter() + draw.uniform(0.2, 0.8) * seconds
                while process.poll() is None and time.perf_counter() < moment:
                    time.sleep(0.01)
                if process.poll() is not None:
                    break
                process.kill()
                process.wait()
                kills, own = kills + 1, own + 1
                now = {line["index"]: line["finished"] for line in lines(folders[name])}
                assert kept.items() <= now.items(), "a finished job was lost or done again"
                kept = now
                done = segments(logs[name])
                print(f"kill {kills}: {len(kept)} of 128 jobs, {done} segments", flush=True)
            child(file, logs[name]).wait()
            compare(folders, logs, name, own, options.checkpoint)
    finally:
        shutil.rmtree(root)


def compare(
    folders: dict[str, Path], logs: dict[str, Path], name: str, kills: int, every: int
) -> None:
    """Prints what the kills of a run cost."""
    killed, whole = (
        sorted(lines(folders[one]), key=lambda row: int(str(row["index"])))
        for one in (name, "undisturbed")
    )
    indices = [row["index"] for row in killed]
    print(f"{name}: {len(set(indices))} of 128 jobs, {len(indices) - len(set(indices))} done twice")
    more = segments(logs[name]) - segments(logs["undisturbed"])
    print(f"  segments more than undisturbed: {more} ({kills} kills, a checkpoint each {every})")
    ours, theirs = (np.array([row["loss"] for row in rows], float) for rows in (killed, whole))
    difference = np.abs(ours / theirs - 1)
    print(f"  relative difference of the losses: at most {difference.max():.1e}", flush=True)


if __name__ == "__main__":
    main()
