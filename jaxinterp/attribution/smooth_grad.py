"""SmoothGrad: the mean gradient of noisy copies of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxinterp.attribution.backward import as_images
from jaxinterp.attribution.loops import walk_paths
from jaxinterp.attribution.micro_batches import (
    MEMORY,
    choose_micro_batch,
    in_chunks,
    memory_of,
    whole_number,
)
from jaxinterp.attribution.parts import values_below
from jaxinterp.attribution.paths import accumulator, weighted_gradient
from jaxinterp.attribution.plans import remember
from jaxinterp.attribution.seeds import Seed, check_targets, spread_targets
from jaxinterp.errors import UserError
from jaxinterp.transform import Composite

__all__ = ["smooth_grad"]


def smooth_grad(
    key: jax.Array,
    fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: jax.Array,
    seed: Seed,
    targets: Any,
    *,
    n_samples: int = 50,
    sigma: float = 0.15,
    composite: Composite | None = None,
    times_input: bool = False,
    batch_size: int | None = None,
    memory: int = MEMORY,
) -> jax.Array:
    """The mean gradient of copies of each image with Gaussian noise.

    Smilkov et al., "SmoothGrad: removing noise by adding noise" (2017), section 3. Sample i of
    image j has its own noise, drawn from the key, i and j, however many are processed at a time.

    Args:
        key: A key of `jax.random`.
        fn: The network, `fn(params, images) -> outputs`, for any number of images.
        params: Its parameters, a pytree of arrays.
        images: [n, h, w, c], floating point.
        seed: What is explained.
        targets: A pytree of int arrays, [t] (every target on every image) or [t, n] (each image its
            own).
        n_samples: The number of noisy copies, at least 1.
        sigma: The noise's standard deviation, as a share of the range of the image's values (its
            maximum less its minimum); the paper advises 0.1 to 0.2.
        composite: Other backward rules.
        times_input: Whether to multiply by the images.
        batch_size: How many (image, sample, target) are sent back at a time; as in
            `integrated_gradients`.
        memory: Bytes that these may take.

    Returns:
        [t, n, h, w, c].

    Raises:
        UserError: Too few samples, a negative sigma, a target out of range.
        UnknownTapError, RuleError: As `backward`.

    Example:
        >>> smooth = smooth_grad(jax.random.key(0), apply, params, images, logit(), [3])
    """
    n_samples = whole_number("n_samples", n_samples)
    if n_samples < 1:
        raise UserError(f"n_samples must be at least 1, not {n_samples}.")
    if not isinstance(sigma, Tracer) and sigma < 0:
        raise UserError(f"sigma must not be negative, as {sigma} is.")
    images = as_images(images)
    targets = spread_targets(targets, len(images))
    walk = _Samples(fn, seed, composite)
    values = remember(_values, walk, params, images)
    check_targets(seed, targets, values.shape, images=len(images))
    batch = choose_micro_batch(
        len(images),
        n_samples,
        len(jax.tree.leaves(targets)[0]),
        batch_size=batch_size,
        memory=memory,
        estimate=lambda: remember(_memory, walk, params, images),
    )
    numbers = np.arange(n_samples, dtype=np.int32)
    weights = np.full(n_samples, 1 / n_samples)
    chunks = (
        in_chunks(numbers, batch.points, fill=0),
        in_chunks(weights, batch.points, fill=0).astype(values.dtype),
    )
    axes = tuple(range(1, images.ndim))
    noise = _Noise(
        jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.arange(len(images))),
        jnp.asarray(sigma, images.dtype) * (images.max(axes) - images.min(axes)),
    )
    mean = walk_paths(walk, params, images, noise, targets, chunks, batch)
    return (mean * images if times_input else mean).astype(images.dtype)


def _values(walk: _Samples, params: Any, images: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(walk.forward, params, images)


def _memory(walk: _Samples, params: Any, images: jax.ShapeDtypeStruct) -> tuple[float, float]:
    """The bytes of one more sample: see `memory_of`."""
    point = jax.ShapeDtypeStruct(images.shape[1:], images.dtype)
    found: list[tuple[float, float]] = []

    def trace(params: Any) -> None:
        found.append(memory_of(lambda points: walk.forward(params, points), point))

    jax.eval_shape(trace, params)
    return found[0]


class _Noise(NamedTuple):
    """A key and a standard deviation for each image."""

    key: jax.Array
    scale: jax.Array


class _Fixed(NamedTuple):
    image: jax.Array
    noise: _Noise
    targets: Any


@dataclass(frozen=True)
class _Samples:
    """The walk from sample to sample."""

    fn: Callable[[Any, jax.Array], jax.Array]
    seed: Seed
    composite: Composite | None

    def forward(self, params: Any, points: jax.Array) -> jax.Array:
        below = values_below(self.fn, self.seed.layer, params, points, composite=self.composite)
        return below(params, points)

    def begin(
        self, params: Any, image: jax.Array, noise: _Noise, targets: Any
    ) -> tuple[_Fixed, jax.Array]:
        count = len(jax.tree.leaves(targets)[0])
        return _Fixed(image, noise, targets), jnp.zeros(
            (count, *image.shape), accumulator(image.dtype)
        )

    def step(
        self, params: Any, fixed: _Fixed, total: jax.Array, chunk: tuple[jax.Array, jax.Array]
    ) -> jax.Array:
        numbers, weights = chunk

        def sample(number: jax.Array) -> jax.Array:
            key = jax.random.fold_in(fixed.noise.key, number)
            noise = jax.random.normal(key, fixed.image.shape, fixed.image.dtype)
            return fixed.image + fixed.noise.scale * noise

        def forward(points: jax.Array) -> jax.Array:
            return self.forward(params, points)

        points = jax.vmap(sample)(numbers)
        return total + weighted_gradient(forward, points, weights, self.seed, fixed.targets)

    def finish(self, params: Any, fixed: _Fixed, total: jax.Array) -> jax.Array:
        return total
