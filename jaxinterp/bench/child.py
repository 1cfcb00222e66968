"""A search in a process of its own, on a number of devices that JAX makes when it starts.

The parent writes one line of JSON for each request and reads one line back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from jaxinterp.bench.problems import ProblemPlan
from jaxinterp.bench.settings import BenchSettings
from jaxinterp.errors import UserError

__all__ = ["ChildSearch", "serve"]


class ChildSearch:
    """Our search in a child process: a `jaxinterp.bench.turns.Search`. A context manager.

    Attributes:
      segment: steps of a segment.
      preparing: seconds of compilation before the first segment.
    """

    def __init__(
        self, plan: ProblemPlan, settings: BenchSettings, *, devices: int, steps: int, on_cpu: bool
    ) -> None:
        """Starts the process and compiles.

        Args:
          plan: the problem; its lanes are a multiple of `devices`.
          settings: weights and precision.
          devices: how many share the lanes.
          steps: of our default recipe.
          on_cpu: make the devices out of the CPU; else they must be there.

        Raises:
          UserError: the process ended instead.
        """
        environment = dict(os.environ)
        if on_cpu:
            flag = f"--xla_force_host_platform_device_count={devices}"
            environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flag}".strip()
            environment["JAX_PLATFORMS"] = "cpu"
        self._devices = devices
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from jaxinterp.bench.child import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        self.segment = plan.segment
        wanted = {
            "plan": dataclasses.asdict(plan),
            "settings": dataclasses.asdict(settings),
            "devices": devices,
            "steps": steps,
        }
        try:
            self.preparing: float = self._ask(wanted)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ChildSearch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def restart(self) -> None:
        """Puts every lane back to its first step."""
        self._ask({"restart": True})

    def advance(self, segments: int) -> None:
        """Takes `segments * segment` steps; returns when the devices have done them."""
        self._ask({"advance": segments})

    @property
    def losses(self) -> np.ndarray:
        """The loss before each step since the restart, float32 [steps, lanes]."""
        return self._read("losses")

    @property
    def pixels(self) -> np.ndarray:
        """Where the lanes stand, RGB in [0, 1], float32 [lanes, h, w, 3]."""
        return self._read("pixels")

    def _read(self, name: str) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "values.npy"
            self._ask({"save": name, "path": str(path)})
            return np.load(path)

    def _ask(self, request: dict[str, Any]) -> Any:
        """Sends a request; returns the answer when it is there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer:
            return json.loads(answer)
        self._process.wait()
        self._errors.seek(0)
        last = (self._errors.read().strip() or "it said nothing").splitlines()[-1]
        raise UserError(f"The process with {self._devices} devices ended: {last}")


def serve() -> None:
    """What the child runs: the first line says what to prepare, each other one what to do."""
    # Whatever else is printed must not be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    sys.stdout = sys.stderr

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    import jax

    from jaxinterp.sweep.allocator import keep_freed_memory

    keep_freed_memory()
    from jaxinterp.bench.ours import JaxSearch
    from jaxinterp.bench.problems import make_problem
    from jaxinterp.methods.suppression import SuppressionSettings

    wanted = json.loads(sys.stdin.readline())
    settings = BenchSettings(**wanted["settings"])
    plan = ProblemPlan(**wanted["plan"])
    # The same segments on every device: what is compared is where they end.
    problem = dataclasses.replace(make_problem(plan, settings), segment=plan.segment)
    devices = jax.devices()[: wanted["devices"]]
    if len(devices) < wanted["devices"]:
        raise SystemExit(f"JAX found only {len(devices)}.")
    ours = SuppressionSettings(steps=wanted["steps"])
    search = JaxSearch(problem, ours, precision=settings.precision, devices=devices)
    answer(search.preparing)
    for line in sys.stdin:
        request = json.loads(line)
        if "advance" in request:
            search.advance(request["advance"])
        elif "restart" in request:
            search.restart()
        elif request["save"] == "losses":
            np.save(request["path"], search.losses)
        else:
            np.save(request["path"], problem.network.preprocess.invert(search.inputs))
        answer(None)
