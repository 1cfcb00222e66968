"""What the suppression method finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxinterp.optimize import Ended, LaneStatus

__all__ = ["TRACE_TERMS", "Suppression", "suppression_of"]

TRACE_TERMS = ("loss", "preservation", "suppression", "regularization")


@dataclasses.dataclass(frozen=True)
class Suppression:
    """Results, one entry a job (a kernel and an image). NumPy arrays.

    Attributes:
      images: the optimised inputs as RGB, float32 [jobs, h, w, 3]; in [0, 1] where bounded.
      status: "done", "silent" (the kernel does not respond to the image at all, so there is nothing
        to keep) or "failed" (the loss was not finite).
      measures: by name, float32 [jobs]; NaN where the job is not done. `similarity` is SSIM, or
        the correlation for maps under 7 px, of the selected map with the original's
        (`similarity_blank`: of the map of a blank image); `mse_selected` its mean squared error;
        `mse_rest` the mean squared activation of all other kernels, `mse_rest_original` and
        `mse_rest_blank` for the original and a blank image; `loss` the least one; `steps` how many
        were taken.
      similarity: which of "ssim" and "correlation" it is.
      trace: loss and its unweighted terms at every step, float32 [jobs, steps, 4], in the order of
        `TRACE_TERMS`; NaN after the last step.
    """

    images: np.ndarray
    status: tuple[str, ...]
    measures: dict[str, np.ndarray]
    similarity: str
    trace: np.ndarray

    def take(self, jobs: np.ndarray | Sequence[int]) -> Suppression:
        """Those of some jobs, in their order."""
        return Suppression(
            images=self.images[jobs],
            status=tuple(self.status[job] for job in jobs),
            measures={name: values[jobs] for name, values in self.measures.items()},
            similarity=self.similarity,
            trace=self.trace[jobs],
        )


def suppression_of(ended: Sequence[Ended[Any]], similarity: str) -> Suppression:
    """What a stream of `suppression_task` found, in the order of `ended`."""
    results = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[e.results for e in ended])
    status = np.concatenate([one.status for one in ended])
    silent = (status == LaneStatus.SKIPPED) | (results.pop("peak") <= 0)
    failed = (status == LaneStatus.FAILED) & ~silent
    words = np.where(silent, "silent", np.where(failed, "failed", "done"))
    images = results.pop("image")
    traces = [np.stack([one.trace[name] for name in TRACE_TERMS], axis=-1) for one in ended]
    return Suppression(
        images=images,
        status=tuple(map(str, words)),
        measures={k: np.where(words == "done", v, np.nan) for k, v in results.items()},
        similarity=similarity,
        trace=np.concatenate(traces),
    )
