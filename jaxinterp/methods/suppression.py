"""Interpret a kernel by suppressing what is irrelevant to it.

Zhuang, Tao, Xing, Shi, Wang, Zheng: "Understanding of Kernels in CNN Models by Suppressing
Irrelevant Visual Features in Images". Given an image and a kernel, find an input that keeps this
kernel's feature map (Eq. 1), silences all other kernels of its layer (Eq. 2) and has a small L1
norm (Eq. 3): the minimum of Eq. 4 by gradient descent on the input. What is left in the optimised
input is what the kernel responds to.

The loss itself is `jaxinterp.losses.suppression`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.errors import UserError
from jaxinterp.losses.suppression import (
    ALPHA,
    BETA,
    Normalization,
    SuppressionReference,
    suppression_reference,
    suppression_terms,
)
from jaxinterp.methods.kernel_measures import kernel_measures
from jaxinterp.methods.lane_inputs import fill_lanes
from jaxinterp.metrics import similarity_name
from jaxinterp.models.network import Network
from jaxinterp.optimize import Lanes, LaneStatus, Objective, find_recipe, minimise
from jaxinterp.transform import capture

__all__ = [
    "TRACE_TERMS",
    "Suppression",
    "SuppressionSettings",
    "Suppressor",
    "interpret",
    "layer_maps",
    "suppression_objective",
]

TRACE_TERMS = ("loss", "preservation", "suppression", "regularization")


@dataclasses.dataclass(frozen=True)
class SuppressionSettings:
    """How the optimised input is sought.

    Attributes:
      alpha: weight of the suppression of all other kernels, Eq. 4.
      beta: weight of the input's L1 norm, Eq. 4.
      normalization: "relative" (default) or "paper", see `jaxinterp.losses.suppression`.
      optimizer: "adam" or "paper", see `jaxinterp.optimize.recipes`.
      rate: the first learning rate; None takes the optimiser's own default.
      steps: likewise.
      bounded: keep the input displayable (every pixel in [0, 1]). The paper does not.
      tolerance: a relative fall of the loss smaller than this is no improvement.
      patience: an optimisation without improvement for so many steps has converged; 0: never.
    """

    alpha: float = ALPHA
    beta: float = BETA
    normalization: Literal["relative", "paper"] = "relative"
    optimizer: Literal["adam", "paper"] = "adam"
    rate: float | None = None
    steps: int | None = None
    bounded: bool = True
    tolerance: float = 1e-4
    patience: int = 0

    def resolved(self) -> SuppressionSettings:
        """The same with the optimiser's own rate and steps where none are given.

        They decide the results, and another version may have others: a run that is resumed must
        notice.
        """
        recipe = find_recipe(self.optimizer, rate=self.rate, steps=self.steps)
        return dataclasses.replace(self, rate=recipe.rate, steps=recipe.steps)

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "tolerance"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a number from 0, got {getattr(self, name)}")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError(f"rate must be a number above 0, got {self.rate}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.patience < 0:
            raise ValueError(f"patience must not be negative, got {self.patience}")


def layer_maps(network: Network, layer: str) -> Callable[[Any, Array], Array]:
    """The feature maps of one layer, `(params, inputs [n, h, w, c]) -> maps [n, h', w', kernels]`.

    Layers above it are not computed. The channel axis comes last whatever the network's own is.

    Raises:
      UserError: an unknown layer (the nearest are named), or one whose values are no maps.
    """
    row = network.layers.find(layer)
    if not row.is_map:
        raise UserError(f"The layer {layer!r} has no feature maps [n, h, w, kernels].")
    captured = capture(network.apply, [row.name])

    def maps(params: Any, inputs: Array) -> Array:
        return jnp.moveaxis(captured(params, inputs)[row.name], row.channel_axis, -1)

    return maps


def suppression_objective(
    network: Network,
    layer: str,
    *,
    alpha: float = ALPHA,
    beta: float = BETA,
    normalization: Normalization = "relative",
) -> Objective:
    """Eq. 4 as an objective for `jaxinterp.optimize.Lanes`.

    Its `shared` are the network's parameters, its `data` a `SuppressionReference` with one entry a
    lane.
    """
    maps = layer_maps(network, layer)

    def objective(
        shared: Any, inputs: Array, data: SuppressionReference
    ) -> tuple[Array, Mapping[str, Array]]:
        terms = suppression_terms(maps(shared, inputs), inputs, data, normalization=normalization)
        loss = terms.preservation + alpha * terms.suppression + beta * terms.regularization
        return loss, terms._asdict()

    return objective


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


class Suppressor:
    """Interprets kernels of one layer, a fixed number of lanes at a time.

    Compiled functions are kept, so every call after the first costs no compilation.
    """

    def __init__(
        self,
        network: Network,
        layer: str,
        settings: SuppressionSettings = SuppressionSettings(),
        *,
        lanes: int = 32,
    ) -> None:
        """Prepares a layer.

        Args:
          network: whose kernels are interpreted.
          layer: a name or alias from its layer table.
          settings: how the inputs are sought.
          lanes: optimisations at once; fewer jobs are filled up.

        Raises:
          UserError: an unknown layer, or one without maps.
        """
        recipe = find_recipe(settings.optimizer, rate=settings.rate, steps=settings.steps)
        self.network, self.layer, self.settings = network, network.layers.find(layer), settings
        self.lanes, self.steps = lanes, recipe.steps
        maps = layer_maps(network, layer)
        self._maps = jax.jit(maps)
        self._reference = jax.jit(suppression_reference)
        self._measures = jax.jit(kernel_measures)
        self._search = Lanes(
            suppression_objective(
                network,
                layer,
                alpha=settings.alpha,
                beta=settings.beta,
                normalization=settings.normalization,
            ),
            recipe.optimizer(),
            recipe.steps,
            bounds=network.preprocess.bounds if settings.bounded else None,
            tolerance=settings.tolerance,
            patience=settings.patience,
        )
        self._compiled: dict[int, Any] = {}

    def maps(self, images: np.ndarray) -> np.ndarray:
        """The layer's maps of RGB images [n, h, w, 3] in [0, 1]: float32 [n, h', w', kernels]."""
        return np.asarray(self._maps(self.network.params, self.network.preprocess(images)))

    def __call__(
        self,
        images: np.ndarray,
        kernels: Sequence[int] | np.ndarray,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Suppression:
        """Runs up to `lanes` jobs together.

        Args:
          images: the original RGB image of each job, float [jobs, h, w, 3] in [0, 1].
          kernels: the kernel of each job, [jobs].
          progress: called with (lane steps done, lane steps planned) after each segment.

        Raises:
          UserError: a kernel that the layer does not have.
          ValueError: more jobs than lanes, or numbers of images and kernels that differ.
        """
        jobs, params = len(images), self.network.params
        originals, index = fill_lanes(self.network, self.layer, images, kernels, lanes=self.lanes)
        before = self._maps(params, originals)
        found = minimise(
            self._search,
            originals,
            self._reference(before, index),
            shared=params,
            progress=progress,
            compiled=self._compiled,
        )
        optimised = jnp.asarray(found.inputs)
        measures = self._measures(
            before,
            self._maps(params, optimised),
            self._maps(params, jnp.zeros_like(originals)),
            index,
        )
        values = {name: np.asarray(value)[:jobs] for name, value in measures.items()}
        silent = values.pop("peak") <= 0
        failed = (found.status[:jobs] == LaneStatus.FAILED) & ~silent
        values |= {"loss": found.loss[:jobs], "steps": found.steps[:jobs].astype(np.float32)}
        status = np.where(silent, "silent", np.where(failed, "failed", "done"))
        values = {k: np.where(status == "done", v, np.nan) for k, v in values.items()}
        trace = np.stack([found.trace[name] for name in TRACE_TERMS], axis=-1)
        return Suppression(
            images=np.asarray(self.network.preprocess.invert(optimised))[:jobs],
            status=tuple(map(str, status)),
            measures=values,
            similarity=similarity_name(*before.shape[1:3]),
            trace=trace.transpose(1, 0, 2)[:jobs],
        )


def interpret(
    network: Network,
    images: np.ndarray,
    layer: str,
    kernels: Sequence[int],
    settings: SuppressionSettings = SuppressionSettings(),
    *,
    lanes: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Suppression:
    """Interprets every given kernel on every given image.

    Args:
      network: from `jaxinterp.load`, or a `Network` of your own.
      images: RGB, float [n, h, w, 3] in [0, 1].
      layer: a name or alias from the layer table, such as "relu3_3".
      kernels: indices from 0.
      settings: weights of the loss, optimiser, bounds.
      lanes: optimisations at once.
      progress: called with (lane steps done, lane steps planned).

    Returns:
      The results; job `i * n + j` is kernel `kernels[i]` on `images[j]`.

    Raises:
      UserError: an unknown layer, a kernel that it does not have, images of another form, or no
        job at all.

    Example:
      >>> network = jaxinterp.load("vgg_cifar10")
      >>> result = interpret(network, images, "relu3_3", [3, 17])
      >>> result.images[0]  # what kernel 3 responds to in the first image
    """
    images = _checked_images(images)
    pairs = [(image, kernel) for kernel in kernels for image in range(len(images))]
    if not pairs:
        raise UserError("There is nothing to interpret: give at least one kernel and one image.")
    suppressor = Suppressor(network, layer, settings, lanes=min(lanes, len(pairs)))
    planned = len(pairs) * suppressor.steps
    parts = []
    for start in range(0, len(pairs), suppressor.lanes):
        batch = pairs[start : start + suppressor.lanes]
        report = _part_of(progress, start, len(batch), suppressor.steps, planned)
        parts.append(
            suppressor(images[[i for i, _ in batch]], [k for _, k in batch], progress=report)
        )
    return Suppression(
        images=np.concatenate([part.images for part in parts]),
        status=tuple(status for part in parts for status in part.status),
        measures={
            name: np.concatenate([part.measures[name] for part in parts])
            for name in parts[0].measures
        },
        similarity=parts[0].similarity,
        trace=np.concatenate([part.trace for part in parts]),
    )


def _checked_images(images: np.ndarray) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or not images.size:
        raise UserError(f"Images are [n, h, w, channels], got shape {images.shape}.")
    if not np.issubdtype(images.dtype, np.floating) or images.min() < -0.01 or images.max() > 1.01:
        raise UserError(
            f"Images are floating-point RGB in [0, 1], got {images.dtype} in "
            f"[{images.min():g}, {images.max():g}]: divide 8-bit pixels by 255."
        )
    return images.astype(np.float32)


def _part_of(
    progress: Callable[[int, int], None] | None, start: int, jobs: int, steps: int, planned: int
) -> Callable[[int, int], None] | None:
    """Turns a batch's progress into the whole call's."""
    if progress is None:
        return None
    return lambda done, total: progress(steps * start + steps * jobs * done // total, planned)
