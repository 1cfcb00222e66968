"""The suppression method in PyTorch: the loss, the optimisers, the best input so far.

The same algorithm as `jaxinterp.methods.suppression` with `jaxinterp.optimize`. Left out, in
PyTorch's favour: lanes that stop on their own, and the search of each gradient for values that are
not finite.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from jaxinterp.bench.pytorch.device import set_precision, synchronise
from jaxinterp.bench.pytorch.relative import RelativeAdam
from jaxinterp.bench.settings import RECIPES_IN_BOTH, Precision
from jaxinterp.losses.suppression import ROUNDING
from jaxinterp.methods.suppression import SuppressionSettings
from jaxinterp.models.network import Network
from jaxinterp.optimize import find_recipe

__all__ = ["PlateauRate", "TorchSearch", "Variant"]

# Of the paper's recipe, as in `jaxinterp.optimize.recipes`.
_FACTOR, _PATIENCE, _TOLERANCE = 0.5, 50, 1e-4


@dataclasses.dataclass(frozen=True)
class Variant:
    """How PyTorch runs.

    Attributes:
      channels_last: the memory order of images, maps and weights: NHWC; else NCHW.
      compiled: network and loss, forward and backward, through `torch.compile`.
      mode: of `torch.compile`.
      precision: of the convolutions.
    """

    channels_last: bool = True
    compiled: bool = False
    mode: str = "default"
    precision: Precision = "float32"

    def __str__(self) -> str:
        compiled = ", compiled" if self.compiled else ""
        mode = f" ({self.mode})" if self.compiled and self.mode != "default" else ""
        return f"torch {'channels_last' if self.channels_last else 'NCHW'}{compiled}{mode}"


class PlateauRate:
    """The paper's schedule: a lane's rate is halved when its loss has not fallen for 50 steps.

    `torch.optim.lr_scheduler.ReduceLROnPlateau` for every lane, without leaving the device.

    Attributes:
      rates: of the lanes now, [lanes].
    """

    def __init__(self, rate: float, worst: torch.Tensor) -> None:
        """`rate` is the first of all lanes; `worst` infinity for each, on the device."""
        self.rates = torch.full_like(worst, rate)
        self._mark = worst.clone()
        self._stale = torch.zeros_like(worst, dtype=torch.int32)

    def see(self, losses: torch.Tensor) -> None:
        """Halves the rates of lanes that have waited too long. `losses` are [lanes]."""
        improved = losses < (1 - _TOLERANCE) * self._mark
        self._mark = torch.where(improved, losses, self._mark)
        self._stale = torch.where(improved, 0, self._stale + 1)
        plateau = self._stale == _PATIENCE
        self._stale = torch.where(plateau, 0, self._stale)
        self.rates = torch.where(plateau, _FACTOR * self.rates, self.rates)


class TorchSearch:
    """A batch of optimisations in PyTorch: a `jaxinterp.bench.turns.Search`."""

    def __init__(
        self,
        features: nn.Module,
        network: Network,
        images: np.ndarray,
        kernels: np.ndarray,
        settings: SuppressionSettings,
        *,
        device: torch.device | None = None,
        variant: Variant = Variant(),
        segment: int = 1,
        start: np.ndarray | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Prepares the lanes.

        Args:
          features: from `torch_features`; moved to the device and into the variant's memory order.
          network: whose preprocessing and bounds hold.
          images: RGB in [0, 1], float [lanes, h, w, c].
          kernels: one for each lane, int [lanes].
          settings: recipe and weights of the loss.
          device: the CPU if not given.
          variant: how to run.
          segment: steps that count as one segment.
          start: where the lanes start, as the network takes it, float [lanes, h, w, c]; None: at
            the images.
          dtype: of everything.
        """
        self.segment, self.preparing = segment, 0.0
        self._settings, self._variant, self._dtype = settings, variant, dtype
        self._device = torch.device("cpu") if device is None else device
        set_precision(self._device, variant.precision)
        self._layout = torch.channels_last if variant.channels_last else torch.contiguous_format
        features = features.to(self._device, dtype)
        self._features = features.to(memory_format=self._layout)  # pyright: ignore[reportCallIssue]
        inputs = np.array(network.preprocess(images))
        originals = self._place(inputs)
        self._bounds = None
        if settings.bounded:
            self._bounds = [self._place(bound) for bound in network.preprocess.bounds(inputs)]
        self._kernels = torch.tensor(kernels, dtype=torch.int64, device=self._device)
        self._lanes = torch.arange(len(kernels), device=self._device)
        with torch.no_grad():
            before = self._maps(originals)
            self._selected = before[self._lanes, self._kernels].clone()
            norm, rest = self._norm(self._selected), self._rest(before, self._selected)
        self._scale = self._selected[0].numel() if settings.normalization == "paper" else 1
        self._kept = torch.where(norm > 0, norm, 1)
        self._others = self._scale * torch.where(rest > 0, rest, 1)
        self._start = originals if start is None else self._place(start)
        if self._bounds is not None:
            self._start = self._start.clamp(*self._bounds)
        self.objective: Callable[[torch.Tensor], Any] = self._objective
        if variant.compiled:
            # Every search compiles the same method; PyTorch gives up after eight.
            torch._dynamo.config.recompile_limit = 1000
            # Not for any shape: the next problem would be computed by a more general program.
            self.objective = torch.compile(self._objective, mode=variant.mode, dynamic=False)
        self.use(settings)

    def use(self, settings: SuppressionSettings) -> None:
        """Takes another recipe, with its smoothing, and restarts; all else of the loss stays.

        Raises:
          ValueError: a recipe that is not written here.
        """
        if settings.optimizer not in RECIPES_IN_BOTH:
            known = ", ".join(RECIPES_IN_BOTH)
            raise ValueError(f"in PyTorch there are {known}, not {settings.optimizer!r}")
        self._recipe = find_recipe(settings.optimizer, rate=settings.rate, steps=settings.steps)
        # The gradient that is followed, as in `jaxinterp.methods.suppression`.
        self._smoothing = settings.resolved().smoothing or 0.0
        self._proximal = self._recipe.name == "relative"
        self.restart()

    def restart(self) -> None:
        """Puts every lane back to its first step."""
        self._x = self._start.clone(memory_format=torch.preserve_format).requires_grad_()
        self._step = 0
        lanes = len(self._lanes)
        self._trace: list[torch.Tensor] = []
        self._best = torch.full((lanes,), torch.inf, dtype=self._x.dtype, device=self._device)
        self._best_inputs = self._start.clone(memory_format=torch.preserve_format)
        if self._recipe.name == "adam":
            self._adam = torch.optim.Adam(
                [self._x], lr=self._recipe.rate, betas=(0.95, 0.95), fused=True
            )
        elif self._recipe.name == "relative":
            pixels = self._x.shape[2] * self._x.shape[3]
            self._relative = RelativeAdam(
                self._x, l1=self._settings.beta / pixels, compiled=self._variant.compiled
            )
        else:
            self._plateaus = PlateauRate(self._recipe.rate, self._best)

    def advance(self, segments: int) -> None:
        """Takes `segments * segment` steps; returns when the device has done them."""
        for _ in range(segments * self.segment):
            self._advance()
        synchronise(self._device)

    @property
    def losses(self) -> np.ndarray:
        """The loss before each step since the restart, [steps, lanes]."""
        return torch.stack(self._trace)[..., 0].cpu().numpy()

    @property
    def inputs(self) -> np.ndarray:
        """Where the lanes stand, [lanes, h, w, c]."""
        return self._x.detach().permute(0, 2, 3, 1).cpu().numpy()

    @property
    def best_inputs(self) -> np.ndarray:
        """The input of each lane that had the least loss, [lanes, h, w, c]."""
        return self._best_inputs.permute(0, 2, 3, 1).cpu().numpy()

    def gradient(self) -> tuple[np.ndarray, np.ndarray]:
        """Losses [lanes] and their gradient [lanes, h, w, c] where the lanes stand."""
        self._x.grad = None
        total, terms = self.objective(self._x)
        total.backward()
        assert self._x.grad is not None
        return (
            terms[:, 0].detach().cpu().numpy(),
            self._x.grad.permute(0, 2, 3, 1).cpu().numpy(),
        )

    def _advance(self) -> None:
        x = self._x
        if self._variant.mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        x.grad = None
        total, terms = self.objective(x)
        total.backward()
        with torch.no_grad():
            # A CUDA graph writes its next results where these stand.
            terms = terms.detach().clone()
            self._trace.append(terms)
            losses = terms[:, 0]
            better = losses < self._best
            self._best = torch.where(better, losses, self._best)
            torch.where(better[:, None, None, None], x, self._best_inputs, out=self._best_inputs)
            self._move(x, losses)
            if self._bounds is not None:
                x.clamp_(*self._bounds)
        self._step += 1

    def _move(self, x: torch.Tensor, losses: torch.Tensor) -> None:
        assert x.grad is not None
        rate = self._recipe.rate * max(0.0, 1 - self._step / self._recipe.steps)
        if self._recipe.name == "adam":
            self._adam.param_groups[0]["lr"] = rate
            self._adam.step()
            return
        if self._recipe.name == "relative":
            self._relative.step(x, x.grad, rate)
            return
        self._plateaus.see(losses)
        x.addcmul_(self._plateaus.rates[:, None, None, None], x.grad, value=-1)

    def _objective(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(what is differentiated, all lanes' sum; losses and unweighted terms [lanes, 4])."""
        maps = self._maps(x)
        own = maps[self._lanes, self._kernels]
        difference = self._norm(own - self._selected) / self._kept
        preservation = torch.where(difference > ROUNDING, difference, 0) / self._scale
        suppression = self._rest(maps, own) / self._others
        pixels = x.shape[2] * x.shape[3]
        regularization = x.abs().sum((1, 2, 3)) / pixels
        settings = self._settings
        silenced, plain = settings.alpha * suppression, settings.beta * regularization
        losses = preservation + silenced + plain
        terms = torch.stack((losses, preservation, suppression, regularization), dim=1)
        kept = preservation
        if self._smoothing:
            width = self._smoothing * losses.detach()
            kept = torch.sqrt(preservation.square() + width.square() + 1e-20)
        followed = kept + silenced if self._proximal else kept + silenced + plain
        return followed.sum(), terms

    def _maps(self, x: torch.Tensor) -> torch.Tensor:
        if self._variant.precision != "bfloat16":
            return self._features(x)
        with torch.autocast(self._device.type, torch.bfloat16):
            return self._features(x).float()

    def _place(self, values: np.ndarray) -> torch.Tensor:
        """[..., h, w, c] or [c] -> [n, c, h, w] or what broadcasts to it, on the device."""
        values = values.reshape((1,) * (4 - values.ndim) + values.shape)
        placed = torch.tensor(values.transpose(0, 3, 1, 2), dtype=self._dtype, device=self._device)
        return placed.contiguous(memory_format=self._layout)

    @staticmethod
    def _norm(x: torch.Tensor) -> torch.Tensor:
        """L2 norm over the last two axes; its gradient is 0 at 0, as ours."""
        return torch.linalg.vector_norm(x, dim=(1, 2))

    @staticmethod
    def _rest(maps: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """The other kernels' L1 norm: [n, k, h, w], the own map [n, h, w] -> [n]."""
        return maps.abs().sum((1, 2, 3)) - own.abs().sum((1, 2))
