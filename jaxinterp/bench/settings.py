"""What is measured, and how often."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

from jaxinterp.errors import UserError, nearest

__all__ = ["RECIPES_IN_BOTH", "BenchSettings", "Device", "Precision", "Say"]

Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["float32", "tf32", "bfloat16"]

RECIPES_IN_BOTH = ("adam", "relative", "paper")
"""Recipes of `jaxinterp.optimize` that are written in PyTorch too."""

Say = Callable[[str], None]
"""Called with a line of text before and after each part of a measurement."""


@dataclasses.dataclass(frozen=True)
class BenchSettings:
    """What is measured, and how often.

    Attributes:
      quick: a few steps of small problems: shows that everything runs. Its figures mean little.
      only: measure these problems alone, each NETWORK, NETWORK:LAYER or NETWORK:LAYER:SIZE.
      weights: a file of ResNet-18's weights; None for random ones.
      rounds: how often all variants take their turn; at least 1.
      compiled: measure `torch.compile` too.
      mode: the mode of `torch.compile`.
      precision: of convolutions, in both: "float32"; "tf32" (GPUs); "bfloat16" maps and weights,
        the loss and the optimiser in float32.
      rates: first learning rates that the paper's recipe is tuned over.
      paper_steps: its steps.
      kernels: of the case `sweep`, how many kernels are measured at least; the rest is
        extrapolated, layer by layer.

    Raises:
      UserError: a number out of its range, or an unknown word.
    """

    quick: bool = False
    only: tuple[str, ...] = ()
    weights: str | None = None
    rounds: int = 7
    compiled: bool = True
    mode: Literal["default", "reduce-overhead", "max-autotune"] = "default"
    precision: Precision = "float32"
    rates: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
    paper_steps: int = 2000
    kernels: int = 256

    def __post_init__(self) -> None:
        for name in ("rounds", "paper_steps", "kernels"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.rates or min(self.rates) <= 0:
            raise UserError(f"rates are numbers above 0, got {self.rates}.")
        if self.precision not in get_args(Precision):
            raise UserError(nearest(self.precision, get_args(Precision), kind="precision"))
