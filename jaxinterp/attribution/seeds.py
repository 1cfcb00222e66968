"""Seeds: what an attribution explains.

A seed is a scalar of each image, computed from the function's output or from one named layer: a
logit, a unit, a whole feature map, or any function of the activations. Which of the logits, units
or maps it is, is the *target*: an int array or a pytree of them. Seeds made twice are equal, so
they may be static arguments of a jitted function.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxinterp.errors import UserError

__all__ = ["Seed", "kernel_map", "kernel_sum", "logit", "probability", "spread_targets", "unit"]

Targets = Any
"""A pytree of int arrays."""


@dataclass(frozen=True)
class Seed:
    """What an attribution explains.

    Attributes:
        layer: The name under which the explained values are tapped, or None for the function's
            output.
        score: `score(values, target) -> scores`: the explained number of each image. `values` are
            the layer's, [n, ...]; `target` is a pytree of int arrays [n]; `scores` is [n], and an
            image's score must depend on this image's values only.
        relevance: `relevance(values, target)`: what layer-wise relevance propagation starts from,
            of the shape of `values`. Unless given: values times the gradient of the score, which
            for a logit is the logit at its own place and zero elsewhere.
        sizes: `sizes(shape)`: for values of this shape, a pytree like the target with the number of
            choices, against which targets are checked where their values are known.

    Example:
        >>> margin = Seed(None, lambda logits, pair: (
        ...     logits[jnp.arange(len(logits)), pair[0]] - logits[jnp.arange(len(logits)), pair[1]]
        ... ))
    """

    layer: str | None
    score: Callable[[jax.Array, Targets], jax.Array]
    relevance: Callable[[jax.Array, Targets], jax.Array] | None = None
    sizes: Callable[[tuple[int, ...]], Any] | None = None

    def gradient(self, values: jax.Array, targets: Targets) -> tuple[jax.Array, jax.Array]:
        """The scores of every target, and their gradients with respect to the values.

        Args:
            values: [n, ...].
            targets: A pytree of int arrays [t, n].

        Returns:
            Scores [t, n], and gradients [t, n, ...].
        """
        return jax.vmap(lambda target: self.gradient_of_one(values, target))(targets)

    def gradient_of_one(self, values: jax.Array, target: Targets) -> tuple[jax.Array, jax.Array]:
        """As `gradient`, for one target of each image, [n]: scores [n], and gradients [n, ...]."""
        scores, pull = jax.vjp(lambda values: self.score(values, target), values)
        if scores.shape != values.shape[:1]:
            raise UserError(
                f"A seed's score must be one number for each image, of shape "
                f"{list(values.shape[:1])}; this one's has shape {list(scores.shape)}."
            )
        (gradient,) = pull(jnp.ones_like(scores))
        return scores, gradient

    def scores_at_ends(self, ends: jax.Array, targets: Targets) -> tuple[jax.Array, jax.Array]:
        """The scores [t] of the two ends of one image's path, of values [2, ...], targets [t]."""

        def scores(target: Targets) -> jax.Array:
            return self.score(ends, jax.tree.map(lambda one: jnp.stack([one, one]), target))

        found = jax.vmap(scores)(targets)
        return found[:, 0], found[:, 1]

    def start(self, values: jax.Array, targets: Targets) -> tuple[jax.Array, jax.Array]:
        """The scores of every target, and the relevance that propagation starts from.

        Args:
            values: [n, ...].
            targets: A pytree of int arrays [t, n].

        Returns:
            Scores [t, n], and relevance [t, n, ...].
        """
        scores, gradients = self.gradient(values, targets)
        if self.relevance is None:
            return scores, values * gradients
        relevance = self.relevance
        return scores, jax.vmap(lambda target: relevance(values, target))(targets)


@functools.cache
def logit(*, channel_axis: int = -1) -> Seed:
    """One value of the output; the target is the class, counted from 0.

    Where the output is a map of classes, [n, h, w, classes], it is the sum over the positions.
    """
    return _of_channel(None, channel_axis, _channel_sum)


@functools.cache
def probability() -> Seed:
    """The softmax of the output, [n, classes], at the target class."""

    def score(logits: jax.Array, target: jax.Array) -> jax.Array:
        return _channel_sum(jax.nn.softmax(logits, axis=-1), target)

    return Seed(None, score, sizes=lambda shape: shape[-1])


@functools.cache
def unit(layer: str, *, channel_axis: int = -1) -> Seed:
    """One unit of a layer of feature maps, [n, h, w, c].

    The target is `(kernel, row, column)`, each an int array, counted from 0.
    """

    def score(values: jax.Array, target: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        kernel, row, column = target
        maps = jnp.moveaxis(values, channel_axis, -1)
        height, width = maps.shape[1:3]
        here = (jnp.arange(height) == row[:, None])[:, :, None]
        here = here & (jnp.arange(width) == column[:, None])[:, None, :]
        return _channel_sum(jnp.where(here[..., None], maps, 0), kernel)

    def sizes(shape: tuple[int, ...]) -> tuple[int, int, int]:
        channels, height, width = _channels_first(shape, channel_axis)
        return channels, height, width

    return Seed(layer, score, sizes=sizes)


@functools.cache
def kernel_sum(layer: str, *, channel_axis: int = -1) -> Seed:
    """The sum of a kernel's feature map; the target is the kernel, counted from 0.

    In a layer of vectors, [n, units], it is the unit itself.
    """
    return _of_channel(layer, channel_axis, _channel_sum)


@functools.cache
def kernel_map(layer: str, *, channel_axis: int = -1) -> Seed:
    """A kernel's whole feature map as the signal; the target is the kernel, counted from 0.

    Deconvnet and guided backpropagation show a kernel by sending its own map down from its layer.
    The score is therefore half the map's squared norm, whose gradient is the map. The
    relevance is the map, too.
    """

    def score(values: jax.Array, target: jax.Array) -> jax.Array:
        return _channel_sum(values * values, target) / 2

    def relevance(values: jax.Array, target: jax.Array) -> jax.Array:
        return jnp.where(_is_channel(values, target), values, 0)

    return _of_channel(layer, channel_axis, score, relevance)


def spread_targets(targets: Targets, images: int) -> Targets:
    """Gives every image every target.

    Args:
        targets: A pytree of ints: arrays, or lists, of shape [t] (every target on every image) or
            [t, n] (each image its own).
        images: Their number n.

    Returns:
        The same with arrays [t, n].

    Raises:
        UserError: A shape or type other than these.
    """

    def spread(target: Any) -> jax.Array:
        target = jnp.asarray(target)
        if not target.size:
            raise UserError("There are no targets: name at least one, for at least one image.")
        if not jnp.issubdtype(target.dtype, jnp.integer):
            raise UserError(f"Targets are whole numbers, not {target.dtype}.")
        if target.ndim == 1:
            return jnp.broadcast_to(target[:, None], (len(target), images))
        if target.ndim != 2 or target.shape[1] != images:
            raise UserError(
                f"Targets have the shape [t] or, with {images} images, [t, {images}], not "
                f"{list(target.shape)}."
            )
        return target

    spreads = jax.tree.map(spread, targets, is_leaf=lambda target: isinstance(target, list))
    counts = {len(target) for target in jax.tree.leaves(spreads)}
    if len(counts) != 1:
        numbers = ", ".join(str(count) for count in sorted(counts)) or "none"
        raise UserError(f"Every part of the targets must have equally many, not {numbers}.")
    return spreads


def check_targets(seed: Seed, targets: Targets, shape: tuple[int, ...], *, images: int) -> None:
    """Raises a UserError if a target is out of range; traced targets are not checked.

    Args:
        seed: Whose targets they are.
        targets: A pytree of int arrays.
        shape: The shape of the seed's values, [n, ...].
        images: The number n that it should be.
    """
    where = "the output" if seed.layer is None else f"layer {seed.layer!r}"
    if shape[:1] != (images,):
        raise UserError(
            f"The values at {where} must begin with an axis of the {images} images, but have the "
            f"shape {list(shape)}."
        )
    if seed.sizes is None:
        return
    sizes, targets = jax.tree.leaves(seed.sizes(shape)), jax.tree.leaves(targets)
    if len(sizes) != len(targets):
        raise UserError(
            f"A target of this seed, at {where}, has {len(sizes)} parts, not {len(targets)}."
        )
    for size, target in zip(sizes, targets, strict=True):
        if isinstance(target, Tracer):
            continue
        known = np.asarray(target)
        wrong = known[(known < 0) | (known >= size)]
        if wrong.size:
            raise UserError(
                f"Target {wrong[0]} is out of range: there are {size} to choose from at {where}, "
                f"0 to {size - 1}."
            )


def _of_channel(
    layer: str | None,
    channel_axis: int,
    score: Callable[[jax.Array, jax.Array], jax.Array],
    relevance: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> Seed:
    """A seed whose target is a channel, from functions that expect the channels last."""

    def moved_score(values: jax.Array, target: jax.Array) -> jax.Array:
        return score(jnp.moveaxis(values, channel_axis, -1), target)

    def moved_relevance(values: jax.Array, target: jax.Array) -> jax.Array:
        assert relevance is not None
        result = relevance(jnp.moveaxis(values, channel_axis, -1), target)
        return jnp.moveaxis(result, -1, channel_axis)

    return Seed(
        layer,
        moved_score,
        moved_relevance if relevance else None,
        lambda shape: shape[_check_axis(shape, channel_axis)],
    )


def _check_axis(shape: tuple[int, ...], channel_axis: int) -> int:
    if not -len(shape) <= channel_axis < len(shape):
        raise UserError(f"Values of shape {list(shape)} have no channel axis {channel_axis}.")
    return channel_axis


def _is_channel(values: jax.Array, channel: jax.Array) -> jax.Array:
    """A mask, [n, 1, ..., channels], that is true at each image's channel."""
    mask = jnp.arange(values.shape[-1]) == channel[:, None]
    return mask.reshape(len(values), *[1] * (values.ndim - 2), values.shape[-1])


def _channel_sum(values: jax.Array, channel: jax.Array) -> jax.Array:
    """The sum of each image's channel, [n].

    A masked sum, not an indexing: its gradient is a mask instead of a scatter.
    """
    axes = tuple(range(1, values.ndim))
    return jnp.where(_is_channel(values, channel), values, 0).sum(axes)


def _channels_first(shape: tuple[int, ...], channel_axis: int) -> tuple[int, ...]:
    """The sizes (channels, height, width) of maps of this shape."""
    if len(shape) != 4:
        raise UserError(
            f"A unit has a kernel, a row and a column, but the layer has values of shape "
            f"{list(shape)}; the seed kernel_sum is for units of vectors."
        )
    sizes = list(shape)
    channels = sizes.pop(_check_axis(shape, channel_axis))
    return channels, *sizes[1:]
