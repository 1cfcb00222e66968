"""Integrated gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from jaxinterp.attribution.backward import as_images
from jaxinterp.attribution.micro_batches import MEMORY
from jaxinterp.attribution.parts import values_below
from jaxinterp.attribution.paths import Forward, as_baselines, integrate
from jaxinterp.attribution.seeds import Seed, spread_targets

__all__ = ["IntegratedGradients", "integrated_gradients"]


class IntegratedGradients(NamedTuple):
    """Integrated gradients of n images, for t targets.

    Attributes:
        attributions: What each value of an image contributes to the change of the score, in
            units of the score, [t, n, h, w, c].
        delta: The error of completeness, the sum of the attributions less
            `score - baseline_score`, [t, n].
        score: The explained numbers at the images, [t, n].
        baseline_score: The same at the baselines, [t, n].
    """

    attributions: jax.Array
    delta: jax.Array
    score: jax.Array
    baseline_score: jax.Array


def integrated_gradients(
    fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: jax.Array,
    seed: Seed,
    targets: Any,
    *,
    baselines: Any = 0.0,
    n_steps: int = 50,
    method: str = "gauss_legendre",
    batch_size: int | None = None,
    memory: int = MEMORY,
) -> IntegratedGradients:
    """The gradient integrated along the straight line from a baseline to each image.

    (x - x') times the integral of the gradient at x' + a (x - x') over a from 0 to 1: equation 1 of
    Sundararajan et al., "Axiomatic Attribution for Deep Networks" (2017).

    The points of the lines go through the network in micro-batches, each point once for all
    targets, and only sums are kept: memory depends neither on the number of steps nor (but for the
    result) on that of images and targets.

    On CPUs it is faster called as it is than under `jax.jit`: see `loops.walk_paths`. What it
    compiles is kept for the next call with the same `fn` and seed, unless `fn` closes over arrays
    or objects that may change.

    Args:
        fn: The network, `fn(params, images) -> outputs`, for any number of images.
        params: Its parameters, a pytree of arrays.
        images: [n, h, w, c], floating point.
        seed: What is explained.
        targets: A pytree of int arrays, [t] (every target on every image) or [t, n] (each image its
            own).
        baselines: Where the lines begin: a number, or an array that broadcasts to the images.
        n_steps: The number of points on a line, at least 1.
        method: "gauss_legendre", "gauss_legendre_squared" (closer points near the baseline), or one
            of Captum's Riemann sums "riemann_left", "riemann_right", "riemann_middle",
            "riemann_trapezoid".
        batch_size: How many (image, step, target) are sent back at a time. Unless given, as many as
            fit into `memory` by an estimate: what reverse mode keeps for a point, and three
            values of the size of the largest for each target.
        memory: Bytes that these may take.

    Returns:
        The attributions, and how complete they are.

    Raises:
        UserError: A baseline of another shape, too few steps, an unknown method, a target out of
            range.
        UnknownTapError: The seed's layer is not tapped.

    Example:
        >>> result = integrated_gradients(apply, params, images, logit(), [3, 7])
        >>> error = abs(result.delta) / abs(result.score - result.baseline_score)
    """
    images = as_images(images)
    baselines = as_baselines(baselines, images)
    targets = spread_targets(targets, len(images))
    integrals = integrate(
        _LineOfImages(fn, seed.layer),
        params,
        images,
        baselines,
        seed,
        targets,
        n_steps=n_steps,
        method=method,
        batch_size=batch_size,
        memory=memory,
    )
    return IntegratedGradients(*integrals)


@dataclass(frozen=True)
class _LineOfImages:
    """From the baseline to the image, through the network below the seed's layer."""

    fn: Callable[[Any, jax.Array], jax.Array]
    layer: str | None

    def ends(
        self, params: Any, image: jax.Array, baseline: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return baseline, image

    def forward(self, params: Any, image: jax.Array) -> Forward:
        below = values_below(self.fn, self.layer, params, image[None])
        return lambda points: below(params, points)
