"""The settings of kernel suppression (`jaxinterp.methods.suppression`)."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from jaxinterp.losses.suppression import ALPHA, BETA
from jaxinterp.optimize import find_recipe

__all__ = ["SuppressionSettings"]

_SMOOTHING = 1.5
"""From docs/optimizers.md."""


@dataclasses.dataclass(frozen=True)
class SuppressionSettings:
    """How the optimised input is sought.

    Attributes:
      alpha: weight of the suppression of all other kernels, Eq. 4.
      beta: weight of the input's L1 norm, Eq. 4.
      normalization: "relative" (default) or "paper", see `jaxinterp.losses.suppression`.
      optimizer: "relative" (default), "adam" or "paper", see `jaxinterp.optimize.recipes`.
      rate: the first learning rate; None takes the optimiser's own default.
      steps: likewise.
      smoothing: the gradient followed is that of sqrt(L_p^2 + (smoothing L)^2) instead of L_p, with
        the present loss L held fixed: L_p has a kink at the original, where the search starts. The
        loss that is recorded and compared is Eq. 4's. 0 switches it off; None takes 1.5 for
        "relative" with the relative normalization and 0 otherwise.
      start: "image", or "details": half of what the image has beyond its Gaussian blur of 2 px,
        from which most kernels are reached sooner and those that answer to plain colour not at all.
      bounded: keep the input displayable (every pixel in [0, 1]). The paper does not.
      tolerance: a relative fall of the loss smaller than this is no improvement.
      patience: an optimisation without improvement for so many steps has converged; 0: never.
    """

    alpha: float = ALPHA
    beta: float = BETA
    normalization: Literal["relative", "paper"] = "relative"
    optimizer: Literal["relative", "adam", "paper"] = "relative"
    rate: float | None = None
    steps: int | None = None
    smoothing: float | None = None
    start: Literal["image", "details"] = "image"
    bounded: bool = True
    tolerance: float = 1e-4
    patience: int = 0

    @property
    def proximal(self) -> bool:
        """Whether the optimiser minimises L_r itself, by a proximal step."""
        return self.optimizer == "relative"

    def resolved(self) -> SuppressionSettings:
        """The same with the optimiser's own rate and steps where none are given.

        They decide the results, and another version may have others: a run that is resumed must
        notice.
        """
        recipe = find_recipe(self.optimizer, rate=self.rate, steps=self.steps)
        smoothed = self.optimizer == "relative" and self.normalization == "relative"
        smoothing = (_SMOOTHING if smoothed else 0.0) if self.smoothing is None else self.smoothing
        return dataclasses.replace(self, rate=recipe.rate, steps=recipe.steps, smoothing=smoothing)

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "tolerance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number from 0, got {getattr(self, name)}")
        if self.smoothing is not None and not 0 <= self.smoothing < math.inf:
            raise ValueError(f"smoothing must be a number from 0, got {self.smoothing}")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError(f"rate must be a number above 0, got {self.rate}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.patience < 0:
            raise ValueError(f"patience must not be negative, got {self.patience}")
