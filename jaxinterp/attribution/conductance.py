"""Conductance: what the units of layers contribute along a line of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxinterp.attribution.backward import as_images
from jaxinterp.attribution.loops import walk_paths
from jaxinterp.attribution.micro_batches import (
    MEMORY,
    choose_micro_batch,
    in_chunks,
    memory_of,
)
from jaxinterp.attribution.parts import (
    Part,
    as_layers,
    values_below,
    with_deltas,
    zero_deltas,
)
from jaxinterp.attribution.paths import accumulator, as_baselines, line_points, sum_of
from jaxinterp.attribution.plans import remember
from jaxinterp.attribution.quadrature import quadrature
from jaxinterp.attribution.seeds import Seed, check_targets, spread_targets
from jaxinterp.errors import UserError

__all__ = ["LayerAttributions", "conductance"]

Taps = dict[str, jax.Array]


class LayerAttributions(NamedTuple):
    """Attributions to layers, for n images and t targets.

    Attributes:
        attributions: What each unit of a layer contributes to the change of the score, in units of
            the score, [t, n, ...] for each layer.
        delta: The error of completeness of each layer, the sum of its attributions less
            `score - baseline_score`, [t, n].
        score: The explained numbers at the images, [t, n].
        baseline_score: The same where each layer's path begins, [t, n].
    """

    attributions: dict[str, jax.Array]
    delta: dict[str, jax.Array]
    score: jax.Array
    baseline_score: dict[str, jax.Array]


def conductance(
    fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: jax.Array,
    seed: Seed,
    targets: Any,
    layers: Sequence[str],
    *,
    derivative: Literal["exact", "difference"] = "exact",
    baselines: Any = 0.0,
    n_steps: int = 50,
    method: str = "gauss_legendre",
    batch_size: int | None = None,
    memory: int = MEMORY,
) -> LayerAttributions:
    """The part of integrated gradients that flows through each unit, of all layers in one pass.

    The integral, along the straight line from a baseline to the image, of the score's gradient in
    a unit times the unit's derivative along the line: equation 3 of Dhamdhere et al., "How
    Important Is a Neuron?" (2019).

    A layer's conductances add up to the score's change if every path from the images to the score
    leads through it (`transform.tail` reports that as `full_cut`). In a residual network a layer
    inside a block is bypassed, and `delta` is then mostly what the skip carries.

    Args:
        fn: The network, `fn(params, images) -> outputs`, for any number of images.
        params: Its parameters, a pytree of arrays.
        images: [n, h, w, c], floating point.
        seed: What is explained.
        targets: A pytree of int arrays, [t] (every target on every image) or [t, n] (each image its
            own).
        layers: The taps, below the seed's layer (or that layer itself).
        derivative: "exact" takes the units' derivative along the line, which costs about a forward
            pass more; "difference" takes the difference of their values between `n_steps + 1`
            consecutive points, as Captum does. That leaves out the line's ends beyond the first and
            last point, and errs more at few steps.
        baselines: Where the lines begin: a number, or an array that broadcasts to the images.
        n_steps: The number of points on a line ("difference": less one), at least 1.
        method: As in `integrated_gradients`; "difference" uses its points only.
        batch_size: How many (image, step, target) are sent back at a time; as in
            `integrated_gradients`.
        memory: Bytes that these may take.

    Returns:
        The conductances. `baseline_score`, at the baselines, is the same for every layer.

    Raises:
        UserError: As `integrated_gradients`; no layers; a layer that the seed does not depend on.
        UnknownTapError: A layer is not tapped.

    Example:
        >>> result = conductance(apply, params, images, logit(), [3], ["relu1_2", "relu5_3"])
    """
    if derivative not in ("exact", "difference"):
        raise UserError(f'derivative must be "exact" or "difference", not {derivative!r}.')
    images = as_images(images)
    baselines = as_baselines(baselines, images)
    targets = spread_targets(targets, len(images))
    layers = as_layers(layers)
    alphas, weights = quadrature(method, n_steps)
    if derivative == "difference":
        alphas, weights = quadrature(method, n_steps + 1)
    walk = (_Exact if derivative == "exact" else _Difference)(fn, seed, tuple(layers))
    values, dtypes = remember(_values, walk, params, images)
    check_targets(seed, targets, values.shape, images=len(images))
    batch = choose_micro_batch(
        len(images),
        len(alphas),
        len(jax.tree.leaves(targets)[0]),
        batch_size=batch_size,
        memory=memory,
        estimate=lambda: remember(_memory, walk, params, images),
    )
    chunks = (
        in_chunks(alphas, batch.points, fill=alphas[-1]).astype(accumulator(images.dtype)),
        in_chunks(weights, batch.points, fill=0).astype(accumulator(images.dtype)),
    )
    attributions, score, baseline_score = walk_paths(
        walk, params, images, baselines, targets, chunks, batch
    )
    change = score - baseline_score
    delta = {name: sum_of(value) - change for name, value in attributions.items()}
    baseline_scores = {name: baseline_score for name in layers}
    attributions = {name: value.astype(dtypes[name]) for name, value in attributions.items()}
    return LayerAttributions(attributions, delta, score, baseline_scores)


def check_layers(
    part: Part,
    params: Any,
    images: jax.Array | jax.ShapeDtypeStruct,
    layers: Sequence[str],
) -> dict[str, jax.ShapeDtypeStruct]:
    """The layers' values for one image.

    Raises:
        UserError: There are none, or one's values do not begin with the images' axis.
    """
    if not layers:
        raise UserError("Name at least one layer.")
    one = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
    values = jax.eval_shape(part.capture(layers), params, one)
    for name, value in values.items():
        if value.shape[:1] != (1,):
            raise UserError(
                f"Layer {name!r} has, for one image, values of shape {list(value.shape)}; they "
                "must begin with the images' axis."
            )
    return values


def _values(
    walk: _Conductance, params: Any, images: jax.ShapeDtypeStruct
) -> tuple[jax.ShapeDtypeStruct, dict[str, Any]]:
    """The shape of the values of the seed's layer, and the dtypes of the layers, all checked."""
    below = values_below(walk.fn, walk.seed.layer, params, images, layers=walk.layers)
    layers = check_layers(below, params, images, walk.layers)
    dtypes = {name: value.dtype for name, value in layers.items()}
    return jax.eval_shape(below, params, images), dtypes


def _memory(walk: _Conductance, params: Any, images: jax.ShapeDtypeStruct) -> tuple[float, float]:
    """The bytes of one more point, as `memory_of`, and of what is tapped there."""
    one = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
    below = values_below(walk.fn, walk.seed.layer, params, one)
    found: list[tuple[float, float]] = []

    def trace(params: Any) -> None:
        point = jax.ShapeDtypeStruct(one.shape[1:], one.dtype)
        found.append(memory_of(lambda points: below(params, points), point))

    jax.eval_shape(trace, params)
    shapes = jax.eval_shape(below.capture(walk.layers), params, one)
    tapped = sum(shape.size * shape.dtype.itemsize for shape in shapes.values())
    ((kept, back),) = found
    return kept + tapped, back + tapped


class _Fixed(NamedTuple):
    image: jax.Array
    baseline: jax.Array
    targets: Any

    def points(self, alphas: jax.Array) -> jax.Array:
        return line_points(self.baseline, self.image, alphas)


Chunk = tuple[jax.Array, jax.Array]
"""Points on the line, from 0 to 1, and their weights."""


def _sum_of_products(gradients: jax.Array, derivatives: jax.Array) -> jax.Array:
    dtype = accumulator(gradients.dtype)
    return (gradients.astype(dtype) * derivatives.astype(dtype)).sum(0)


@dataclass(frozen=True)
class _Conductance:
    """What both walks along the line of images have in common."""

    fn: Callable[[Any, jax.Array], jax.Array]
    seed: Seed
    layers: tuple[str, ...]

    def below(self, params: Any, images: jax.Array) -> Part:
        return values_below(self.fn, self.seed.layer, params, images, layers=self.layers)

    def zeros(self, params: Any, points: jax.Array) -> Taps:
        return zero_deltas(self.below(params, points), self.layers, params, points)

    def forward(self, params: Any, points: jax.Array, deltas: Taps) -> tuple[jax.Array, Taps]:
        return with_deltas(self.below(params, points), self.layers)(params, points, deltas)

    def cotangent(self, values: jax.Array, target: Any) -> jax.Array:
        everywhere = jax.tree.map(lambda one: jnp.broadcast_to(one, values.shape[:1]), target)
        return self.seed.gradient_of_one(values, everywhere)[1]

    def empty(self, params: Any, image: jax.Array, targets: Any) -> Taps:
        count = len(jax.tree.leaves(targets)[0])
        shapes = self.zeros(params, image[None])
        return {
            name: jnp.zeros((count, *zeros.shape[1:]), accumulator(zeros.dtype))
            for name, zeros in shapes.items()
        }

    def scores(self, params: Any, fixed: _Fixed) -> tuple[jax.Array, jax.Array]:
        ends = jnp.stack([fixed.image, fixed.baseline])
        return self.seed.scores_at_ends(self.below(params, ends)(params, ends), fixed.targets)


@dataclass(frozen=True)
class _Exact(_Conductance):
    """Adds up weight x gradient x derivative along the line."""

    def begin(
        self, params: Any, image: jax.Array, baseline: jax.Array, targets: Any
    ) -> tuple[_Fixed, Taps]:
        return _Fixed(image, baseline, targets), self.empty(params, image, targets)

    def step(self, params: Any, fixed: _Fixed, total: Taps, chunk: Chunk) -> Taps:
        alphas, weights = chunk
        points = fixed.points(alphas)
        zeros = self.zeros(params, points)
        (values, tapped), pull = jax.vjp(
            lambda points, deltas: self.forward(params, points, deltas), points, zeros
        )
        # The derivative along the line is had by transposing the pull back, because forward mode
        # stops at functions that have a rule for reverse mode only, such as max pooling's.
        push = jax.linear_transpose(pull, (values, tapped))
        direction = jnp.broadcast_to(fixed.image - fixed.baseline, points.shape)
        ((_, derivatives),) = push((direction, zeros))
        spread = weights.astype(values.dtype).reshape(-1, *[1] * (values.ndim - 1))

        def back(target: Any) -> Taps:
            _, gradients = pull((spread * self.cotangent(values, target), zeros))
            return jax.tree.map(_sum_of_products, gradients, derivatives)

        return jax.tree.map(jnp.add, total, jax.vmap(back)(fixed.targets))

    def finish(self, params: Any, fixed: _Fixed, total: Taps) -> tuple[Taps, jax.Array, jax.Array]:
        return total, *self.scores(params, fixed)


class _Sums(NamedTuple):
    """What is known after a micro-batch of points.

    Attributes:
        total: The sum so far, [t, ...] for each layer.
        gradients: Of the last point, [t, ...] for each layer.
        values: Of the last point, [...] for each layer.
    """

    total: Taps
    gradients: Taps
    values: Taps


@dataclass(frozen=True)
class _Difference(_Conductance):
    """Adds up gradient x (next value - value).

    A micro-batch's last gradients wait for the first values of the next. The points that fill up
    the last micro-batch repeat the last point, whose next value thus is its own.
    """

    def begin(
        self, params: Any, image: jax.Array, baseline: jax.Array, targets: Any
    ) -> tuple[_Fixed, _Sums]:
        empty = self.empty(params, image, targets)
        values = {name: zeros[0] for name, zeros in self.zeros(params, image[None]).items()}
        none = {
            name: jnp.zeros((len(empty[name]), *value.shape), value.dtype)
            for name, value in values.items()
        }
        return _Fixed(image, baseline, targets), _Sums(empty, none, values)

    def step(self, params: Any, fixed: _Fixed, total: _Sums, chunk: Chunk) -> _Sums:
        points = fixed.points(chunk[0])
        values, pull, tapped = jax.vjp(
            lambda deltas: self.forward(params, points, deltas),
            self.zeros(params, points),
            has_aux=True,
        )

        def back(target: Any, before: Taps, last: Taps) -> tuple[Taps, Taps]:
            (gradients,) = pull(self.cotangent(values, target))
            after = {}
            for name, gradient in gradients.items():
                value = tapped[name]
                waiting = _sum_of_products(last[name][None], value[:1] - total.values[name])
                inner = _sum_of_products(gradient[:-1], value[1:] - value[:-1])
                after[name] = before[name] + waiting + inner
            return after, {name: gradient[-1] for name, gradient in gradients.items()}

        after, last = jax.vmap(back)(fixed.targets, total.total, total.gradients)
        return _Sums(after, last, {name: value[-1] for name, value in tapped.items()})

    def finish(self, params: Any, fixed: _Fixed, total: _Sums) -> tuple[Taps, jax.Array, jax.Array]:
        return total.total, *self.scores(params, fixed)
