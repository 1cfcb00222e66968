"""Adam in a metric relative to the input, with an exact step for an L1 term, in PyTorch.

The same as `jaxinterp.optimize.relative.relative_adam`.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import functools
from typing import Any

import torch

__all__ = ["RelativeAdam"]

# As in `relative_adam`.
_B1, _B2, _OFFSET, _TINY = 0.9, 0.9, 0.2, 1e-12


class RelativeAdam:
    """The moments of a batch of inputs, and their steps."""

    def __init__(self, x: torch.Tensor, *, l1: float, compiled: bool = False) -> None:
        """Prepares.

        Args:
          x: the inputs, any shape; only their shape, type and memory order are used.
          l1: weight of their L1 norm, which the gradients must not include.
          compiled: the step goes through `torch.compile`, which makes one kernel of it.
        """
        self._first, self._second = torch.zeros_like(x.detach()), torch.zeros_like(x.detach())
        self._l1, self._steps = l1, 0
        self._move = _compiled() if compiled else _move

    def step(self, x: torch.Tensor, gradient: torch.Tensor, rate: float) -> None:
        """Moves x in place, by at most about `rate` (|x| + 0.2)."""
        self._steps += 1
        corrections = 1 - _B1**self._steps, 1 - _B2**self._steps
        # As a tensor: `torch.compile` would compile another program for each number.
        numbers = torch.tensor((rate, *corrections), dtype=x.dtype).to(x.device, non_blocking=True)
        self._move(x.detach(), gradient, self._first, self._second, numbers, self._l1)


@functools.cache
def _compiled() -> Any:
    return torch.compile(_move, dynamic=False)


def _move(
    x: torch.Tensor,
    gradient: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    numbers: torch.Tensor,
    l1: float,
) -> None:
    """One step; x and the moments change in place. `numbers`: rate, both bias corrections."""
    rate, correction1, correction2 = numbers.unbind()
    first.lerp_(gradient, 1 - _B1)
    second.mul_(_B2).addcmul_(gradient, gradient, value=1 - _B2)
    scale = (second / correction2).add_(l1 * l1).sqrt_().add_(_TINY)
    size = (x.abs() + _OFFSET).mul_(rate).div_(scale)
    x.sub_(size * (first / correction1))
    # Soft thresholding: what the threshold clips off is taken away.
    size.mul_(l1)
    x.sub_(x.clamp(-size, size))
