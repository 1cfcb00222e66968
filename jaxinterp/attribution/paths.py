"""Integrals of a gradient along a straight line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp.attribution.loops import walk_paths
from jaxinterp.attribution.micro_batches import choose_micro_batch, in_chunks, memory_of
from jaxinterp.attribution.plans import remember
from jaxinterp.attribution.quadrature import quadrature
from jaxinterp.attribution.seeds import Seed, check_targets
from jaxinterp.errors import UserError

__all__ = [
    "Integrals",
    "Line",
    "accumulator",
    "as_baselines",
    "integrate",
    "line_points",
    "sum_of",
    "weighted_gradient",
]

Forward = Callable[[jax.Array], jax.Array]
"""A function of points [p, ...] to the values of the seed's layer, [p, ...]."""


class Line(Protocol):
    """A straight line for each image, and a function along it."""

    def ends(
        self, params: Any, image: jax.Array, baseline: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Where the line begins and ends."""
        ...

    def forward(self, params: Any, image: jax.Array) -> Forward:
        """The function along the line of an image."""
        ...


class Integrals(NamedTuple):
    """Integrals along the lines of n images, for t targets.

    Attributes:
        attributions: (end - start) times the mean gradient on the line, [t, n, ...].
        delta: Their sum less the score's change from start to end, [t, n].
        score: The scores at the ends, [t, n].
        baseline_score: The scores at the starts, [t, n].
    """

    attributions: jax.Array
    delta: jax.Array
    score: jax.Array
    baseline_score: jax.Array


def as_baselines(baselines: Any, images: jax.Array) -> jax.Array:
    """Gives every image its baseline; a UserError if the shape does not fit."""
    baselines = jnp.asarray(baselines, images.dtype)
    try:
        fits = np.broadcast_shapes(baselines.shape, images.shape) == images.shape
    except ValueError:
        fits = False
    if not fits:
        raise UserError(
            f"A baseline of shape {list(baselines.shape)} does not fit images of shape "
            f"{list(images.shape)}; give a number, one image, or one for each."
        )
    return jnp.broadcast_to(baselines, images.shape)


def accumulator(dtype: Any) -> Any:
    """The dtype that sums of values of a dtype are kept in: float32 or, for float64, that."""
    return jnp.promote_types(dtype, jnp.float32)


def sum_of(attributions: jax.Array) -> jax.Array:
    """Sums [t, n, ...] to [t, n]."""
    axes = tuple(range(2, attributions.ndim))
    return attributions.sum(axes, dtype=accumulator(attributions.dtype))


def line_points(start: jax.Array, end: jax.Array, alphas: jax.Array) -> jax.Array:
    """Points [p, ...], of the ends' dtype, on the line between two values [...]; alphas are [p]."""
    spread = alphas.reshape(-1, *[1] * start.ndim)
    return (start + spread * (end - start)).astype(start.dtype)


def integrate(
    line: Line,
    params: Any,
    images: jax.Array,
    baselines: jax.Array,
    seed: Seed,
    targets: Any,
    *,
    n_steps: int,
    method: str,
    batch_size: int | None,
    memory: int,
) -> Integrals:
    """Integrates the gradient along the line of each image.

    Args:
        line: The lines.
        params: The network's parameters.
        images: [n, h, w, c].
        baselines: [n, h, w, c].
        seed: What is explained.
        targets: A pytree of int arrays [t, n].
        n_steps: The number of points on a line.
        method: How to integrate; one of `quadrature.METHODS`.
        batch_size: How many (image, step, target) are sent back at a time; None for as many as fit
            into `memory`.
        memory: Bytes that these may take.

    Returns:
        The integrals.
    """
    alphas, weights = quadrature(method, n_steps)
    image = jax.ShapeDtypeStruct(images.shape[1:], images.dtype)

    end, values = remember(_sizes, line, params, image)
    check_targets(seed, targets, values.shape, images=1)

    batch = choose_micro_batch(
        len(images),
        n_steps,
        len(jax.tree.leaves(targets)[0]),
        batch_size=batch_size,
        memory=memory,
        estimate=lambda: remember(_memory, line, params, image),
    )
    chunks = (
        in_chunks(alphas, batch.points, fill=alphas[-1]).astype(accumulator(end.dtype)),
        in_chunks(weights, batch.points, fill=0).astype(values.dtype),
    )
    attributions, score, baseline_score = walk_paths(
        _Integration(line, seed), params, images, baselines, targets, chunks, batch
    )
    delta = sum_of(attributions) - (score - baseline_score)
    return Integrals(attributions.astype(end.dtype), delta, score, baseline_score)


def _sizes(
    line: Line, params: Any, image: jax.ShapeDtypeStruct
) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """The shapes of a line's end and of what the function is there, [1, ...]."""

    def trace(params: Any, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        end, _ = line.ends(params, image, image)
        return end, line.forward(params, image)(end[None])

    return jax.eval_shape(trace, params, image)


def _memory(line: Line, params: Any, image: jax.ShapeDtypeStruct) -> tuple[float, float]:
    """The bytes of one more point: see `memory_of`."""
    end, _ = remember(_sizes, line, params, image)
    found: list[tuple[float, float]] = []

    def trace(params: Any, image: jax.Array) -> None:
        found.append(memory_of(line.forward(params, image), end))

    jax.eval_shape(trace, params, image)
    return found[0]


def weighted_gradient(
    forward: Forward, points: jax.Array, weights: jax.Array, seed: Seed, targets: Any
) -> jax.Array:
    """The weighted sum of a seed's gradients at several points.

    Args:
        forward: The function whose gradients they are; it is evaluated once for all targets.
        points: [p, ...].
        weights: [p].
        seed: What is explained.
        targets: A pytree of int arrays [t].

    Returns:
        [t, ...], of the dtype `accumulator` says.
    """
    values, pull = jax.vjp(forward, points)
    # Pulling back is linear, and the seed's values are mostly fewer than the points'.
    spread = weights.reshape(-1, *[1] * (values.ndim - 1))

    def back(target: Any) -> jax.Array:
        everywhere = jax.tree.map(lambda one: jnp.broadcast_to(one, weights.shape), target)
        _, cotangent = seed.gradient_of_one(values, everywhere)
        (gradient,) = pull(spread * cotangent)
        return gradient.sum(0, dtype=accumulator(gradient.dtype))

    return jax.vmap(back)(targets)


class _Fixed(NamedTuple):
    image: jax.Array
    start: jax.Array
    end: jax.Array
    targets: Any


@dataclass(frozen=True)
class _Integration:
    """The walk along a line."""

    line: Line
    seed: Seed

    def begin(
        self, params: Any, image: jax.Array, baseline: jax.Array, targets: Any
    ) -> tuple[_Fixed, jax.Array]:
        start, end = self.line.ends(params, image, baseline)
        count = len(jax.tree.leaves(targets)[0])
        return _Fixed(image, start, end, targets), jnp.zeros(
            (count, *end.shape), accumulator(end.dtype)
        )

    def step(
        self, params: Any, fixed: _Fixed, total: jax.Array, chunk: tuple[jax.Array, jax.Array]
    ) -> jax.Array:
        alphas, weights = chunk
        forward = self.line.forward(params, fixed.image)
        points = line_points(fixed.start, fixed.end, alphas)
        return total + weighted_gradient(forward, points, weights, self.seed, fixed.targets)

    def finish(
        self, params: Any, fixed: _Fixed, total: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        ends = self.line.forward(params, fixed.image)(jnp.stack([fixed.end, fixed.start]))
        scores = self.seed.scores_at_ends(ends, fixed.targets)
        return total * (fixed.end - fixed.start), *scores
