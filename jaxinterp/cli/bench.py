"""`jaxinterp bench`."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from typing import Annotated, Literal

import tyro

from jaxinterp.cli.arguments import Debug, loading, optional

__all__ = ["Bench"]


@dataclasses.dataclass(frozen=True)
class Bench:
    """Measures the suppression method against the same method in PyTorch, which must be installed.

    Cases: step (one step of all lanes, the same algorithm in both), equal-loss (the time to the
    same loss: with the same optimiser, and with the paper's recipe in PyTorch), sweep (all kernels
    of VGG-16 on one image), refill and devices. Without a name: step and equal-loss.

    Examples: jaxinterp bench --quick

    jaxinterp bench step --only resnet18:layer2.1 --weights resnet18.safetensors

    jaxinterp bench step equal-loss --write BENCHMARKS.md

    jaxinterp bench step sweep --precision bfloat16 --mode max-autotune
    """

    cases: Annotated[tyro.conf.Positional[tuple[str, ...]], optional("[CASE...]")] = ()
    """What to measure."""
    quick: bool = False
    """A few steps of small problems, under a minute: shows that everything runs."""
    only: Annotated[tuple[str, ...], optional("PROBLEM...")] = ()
    """Measure these problems alone: NETWORK, NETWORK:LAYER or NETWORK:LAYER:SIZE."""
    write: Annotated[str | None, optional("FILE")] = None
    """Replace each case's section for this machine in a Markdown file, or add it."""
    weights: Annotated[str | None, optional("FILE")] = None
    """ResNet-18's weights; without it they are random."""
    rounds: int = 7
    """How often all variants take their turn."""
    compiled: bool = True
    """Measure torch.compile too."""
    mode: Literal["default", "reduce-overhead", "max-autotune"] = "default"
    """Of torch.compile."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of the convolutions, in both."""
    rates: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    """First rates that the paper's recipe is tuned over."""
    paper_steps: int = 2000
    """Steps of the paper's recipe."""
    kernels: int = 256
    """Of sweep: measure so many kernels at least, and extrapolate to all."""
    debug: Debug = False

    def __call__(self) -> None:
        # Both libraries share the GPU: JAX would take three quarters of its memory at the start.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        with loading():
            from jaxinterp.bench.cases import CASES, find_case
            from jaxinterp.bench.console import BenchConsole
            from jaxinterp.bench.machine import this_machine
            from jaxinterp.bench.section import section, write_section
            from jaxinterp.bench.settings import BenchSettings
            from jaxinterp.sweep.allocator import keep_freed_memory

        settings = BenchSettings(
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(BenchSettings)}
        )
        names = dict.fromkeys(self.cases) or [c.name for c in CASES.values() if c.by_default]
        cases = [find_case(name) for name in names]  # before any of them is measured
        for case in cases:
            case.check()
        machine = this_machine()
        keep_freed_memory()  # as every run does on CPUs; here for PyTorch, too
        with BenchConsole() as console:
            console.note(str(machine))
            for case in cases:
                table = case.table(case.measure(settings, console.say))
                console.show(case.title, table)
                if self.write is not None:
                    body = section(case.title, table, command=_command(), machine=machine)
                    write_section(self.write, case.name, machine.key, body)
                    console.note(f"{case.name}: written to {self.write}")


def _command() -> str:
    """What was typed, without the folders of the program and of files."""
    given = [os.path.basename(one) if os.path.isfile(one) else one for one in sys.argv[1:]]
    return shlex.join(["jaxinterp", *given])
