"""Interpret a kernel by suppressing what is irrelevant to it.

Zhuang, Tao, Xing, Shi, Wang, Zheng: "Understanding of Kernels in CNN Models by Suppressing
Irrelevant Visual Features in Images". Given an image and a kernel, find an input that keeps this
kernel's feature map (Eq. 1), silences all other kernels of its layer (Eq. 2) and has a small L1
norm (Eq. 3): the minimum of Eq. 4 by gradient descent on the input. What is left in the optimised
input is what the kernel responds to.

The loss itself is `jaxinterp.losses.suppression`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from jaxinterp.methods.details import details
from jaxinterp.methods.kernel_measures import kernel_measures
from jaxinterp.methods.lane_inputs import check_jobs, checked_images
from jaxinterp.methods.layer_maps import (
    DEFAULT_COMPUTE,
    Compute,
    at_precision,
    frozen_maps,
    layer_maps,
)
from jaxinterp.methods.suppression_result import TRACE_TERMS, Suppression, suppression_of
from jaxinterp.methods.suppression_settings import SuppressionSettings
from jaxinterp.metrics import similarity_name
from jaxinterp.models.network import Network
from jaxinterp.optimize import Found, Lanes, LaneStatus, Objective, Start, Stream, Task, find_recipe

__all__ = [
    "TRACE_TERMS",
    "Suppression",
    "SuppressionSettings",
    "Suppressor",
    "followed_objective",
    "interpret",
    "layer_maps",
    "suppression_objective",
    "suppression_of",
    "suppression_task",
]

_DEFAULT_SETTINGS = SuppressionSettings()


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
    return followed_objective(
        layer_maps(network, layer), alpha=alpha, beta=beta, normalization=normalization
    )


def followed_objective(
    maps: Callable[[Any, Array], Array],
    *,
    alpha: float,
    beta: float,
    normalization: Normalization,
    smoothing: float = 0.0,
    proximal: bool = False,
) -> Objective:
    """Eq. 4 with the gradient that an optimiser wants.

    Args:
      maps: `(shared, inputs) -> maps`, as `layer_maps` gives them.
      alpha, beta, normalization, smoothing: as in `SuppressionSettings`.
      proximal: leave out the gradient of L_r, which the optimiser minimises itself.
    """

    def objective(
        shared: Any, inputs: Array, data: SuppressionReference
    ) -> tuple[Array, Mapping[str, Array]]:
        terms = suppression_terms(maps(shared, inputs), inputs, data, normalization=normalization)
        loss = terms.preservation + alpha * terms.suppression + beta * terms.regularization
        kept, plain = terms.preservation, beta * terms.regularization
        if smoothing:
            width = smoothing * jax.lax.stop_gradient(loss)
            # The tiny number keeps 0 / 0 away where the loss is 0.
            kept = jnp.sqrt(jnp.square(kept) + jnp.square(width) + 1e-20)
        followed = kept + alpha * terms.suppression + (0 if proximal else plain)
        if smoothing or proximal:
            loss = followed + jax.lax.stop_gradient(loss - followed)
        return loss, terms._asdict()

    return objective


def suppression_task(
    network: Network,
    layer: str,
    settings: SuppressionSettings,
    *,
    size: tuple[int, int],
    lanes: int,
    compute: Compute = DEFAULT_COMPUTE,
) -> tuple[Task, Any, Any]:
    """The method as a task for `jaxinterp.optimize.Stream`.

    Args:
      network: whose kernels are interpreted.
      layer: a name or alias from its layer table.
      settings: how the inputs are sought.
      size: height and width of the images, px.
      lanes: how many are differentiated together on one device.
      compute: how the network is computed.

    Returns:
      `(task, shared, example)`. A job is `{"image": RGB float32 [h, w, c] in [0, 1], "kernel":
      int32 []}`; its results are `{"image": as in `Suppression.images`, "peak", and the measures by
      name}`. A job whose kernel is silent takes no step.

    Raises:
      UserError: an unknown layer, or one without maps.
    """
    settings = settings.resolved()
    recipe = find_recipe(settings.optimizer, rate=settings.rate, steps=settings.steps)
    preprocess = network.preprocess
    shape = (*size, preprocess.channels)
    maps = at_precision(layer_maps(network, layer), compute)
    prepared, frozen = frozen_maps(network, layer, (lanes, *shape), compute)
    objective = followed_objective(
        lambda shared, inputs: frozen(shared["prepared"], inputs),
        alpha=settings.alpha,
        beta=settings.beta,
        normalization=settings.normalization,
        smoothing=settings.smoothing or 0.0,
        proximal=settings.proximal,
    )

    def begin(shared: Any, jobs: Any) -> Start:
        inputs = preprocess(jobs["image"])
        reference = suppression_reference(maps(shared["params"], inputs), jobs["kernel"])
        # Not by the norm, which is 0 for a map of NaN, too.
        silent = jnp.abs(reference.selected).max((-2, -1)) == 0
        start = inputs if settings.start == "image" else details(inputs)
        return Start(start, reference, ~silent)

    def end(shared: Any, jobs: Any, found: Found) -> Any:
        originals = preprocess(jobs["image"])
        silent = (found.status == LaneStatus.SKIPPED)[:, None, None, None]
        optimised = jnp.where(silent, 0, found.inputs)
        before = maps(shared["params"], originals)
        blank = maps(shared["params"], jnp.zeros_like(originals[:1]))
        measures = kernel_measures(
            before,
            maps(shared["params"], optimised),
            jnp.broadcast_to(blank, before.shape),
            jobs["kernel"],
        )
        return {
            "image": preprocess.invert(optimised),
            "loss": found.loss,
            "steps": found.steps.astype(jnp.float32),
            **measures,
        }

    task = Task(
        Lanes(
            objective,
            recipe.optimizer(l1=settings.beta / math.prod(size) if settings.proximal else 0.0),
            recipe.steps,
            bounds=preprocess.bounds if settings.bounded else None,
            tolerance=settings.tolerance,
            patience=settings.patience,
        ),
        begin,
        end,
    )
    example = {
        "image": jax.ShapeDtypeStruct(shape, np.float32),
        "kernel": jax.ShapeDtypeStruct((), np.int32),
    }
    return task, {"params": network.params, "prepared": prepared}, example


class Suppressor:
    """Interprets kernels of one layer, a fixed number of lanes at a time.

    Compiled programs are kept, so every call after the first with images of the same size costs no
    compilation.
    """

    def __init__(
        self,
        network: Network,
        layer: str,
        settings: SuppressionSettings = _DEFAULT_SETTINGS,
        *,
        lanes: int = 32,
        compute: Compute = DEFAULT_COMPUTE,
        devices: Sequence[Any] | None = None,
    ) -> None:
        """Prepares a layer.

        Args:
          network: whose kernels are interpreted.
          layer: a name or alias from its layer table.
          settings: how the inputs are sought.
          lanes: optimisations at once, on all devices together.
          compute: how the network is computed.
          devices: those that share the lanes; None takes the first one.

        Raises:
          UserError: an unknown layer, or one without maps.
        """
        recipe = find_recipe(settings.optimizer, rate=settings.rate, steps=settings.steps)
        self.network, self.layer, self.settings = network, network.layers.find(layer), settings
        self.lanes, self.steps, self.compute = lanes, recipe.steps, compute
        self._devices = devices
        self._maps = jax.jit(layer_maps(network, layer))
        self._streams: dict[tuple[int, int], Stream[int]] = {}

    def maps(self, images: np.ndarray) -> np.ndarray:
        """The layer's maps of RGB images [n, h, w, 3] in [0, 1]: float32 [n, h', w', kernels]."""
        return np.asarray(self._maps(self.network.params, self.network.preprocess(images)))

    def similarity(self, size: tuple[int, int]) -> str:
        """Which measure compares maps of images of so many pixels: "ssim" or "correlation"."""
        image = jax.ShapeDtypeStruct((1, *size, self.network.preprocess.channels), np.float32)
        return similarity_name(*self._maps.eval_shape(self.network.params, image).shape[1:3])

    def stream(self, size: tuple[int, int]) -> Stream[int]:
        """The stream for images of so many pixels (height, width); it is kept."""
        if size not in self._streams:
            devices = len(self._devices or (None,))
            task, shared, example = suppression_task(
                self.network,
                self.layer.name,
                self.settings,
                size=size,
                lanes=-(-self.lanes // devices),
                compute=self.compute,
            )
            self._streams[size] = Stream(
                task, shared, example, width=self.lanes, devices=self._devices
            )
        return self._streams[size]

    def __call__(
        self,
        images: np.ndarray,
        kernels: Sequence[int] | np.ndarray,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Suppression:
        """Runs jobs: kernel `kernels[i]` on `images[i]`.

        Args:
          images: the original RGB image of each job, float [jobs, h, w, 3] in [0, 1].
          kernels: the kernel of each job, [jobs].
          progress: called with (lane steps done, lane steps planned) after each segment.

        Raises:
          UserError: a kernel that the layer does not have.
          ValueError: no jobs, or numbers of images and kernels that differ.
        """
        check_jobs(self.layer, images, kernels)
        images, planned = np.asarray(images, np.float32), len(images) * self.steps
        stream = self.stream(images.shape[1:3])
        ended = []

        def job(index: int) -> Any:
            return {"image": images[index], "kernel": np.int32(kernels[index])}

        for events in stream.run(range(len(images)), job):
            ended += events
            done = sum(len(one.keys) for one in ended)
            if progress is not None:
                progress(round((done + stream.under_way) * self.steps), planned)
        found = suppression_of(ended, self.similarity(images.shape[1:3]))
        return found.take(np.argsort([key for one in ended for key in one.keys]))


def interpret(
    network: Network,
    images: np.ndarray,
    layer: str,
    kernels: Sequence[int],
    settings: SuppressionSettings = _DEFAULT_SETTINGS,
    *,
    lanes: int = 32,
    compute: Compute = DEFAULT_COMPUTE,
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
      compute: how the network is computed.
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
    images = checked_images(images)
    pairs = [(image, kernel) for kernel in kernels for image in range(len(images))]
    if not pairs:
        raise UserError("There is nothing to interpret: give at least one kernel and one image.")
    suppressor = Suppressor(network, layer, settings, lanes=min(lanes, len(pairs)), compute=compute)
    chosen = images[[image for image, _ in pairs]]
    return suppressor(chosen, [kernel for _, kernel in pairs], progress=progress)
