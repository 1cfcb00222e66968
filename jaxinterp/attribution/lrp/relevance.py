"""Layer-wise relevance propagation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxinterp.attribution.backward import as_images
from jaxinterp.attribution.lrp.composites import epsilon_plus_flat
from jaxinterp.attribution.parts import Part, as_layers, editable_taps, values_below
from jaxinterp.attribution.seeds import Seed, check_targets, spread_targets
from jaxinterp.metrics.conservation import conservation_error
from jaxinterp.transform import Composite

__all__ = ["Relevance", "lrp"]


class Relevance(NamedTuple):
    """Where a score comes from, for t targets and n images.

    A tap in a scan has its steps as axes after the first: [t, steps, n, ...].

    Attributes:
      images: the relevance of every value of the images, float [t, n, h, w, c].
      layers: the relevance of the layers asked for, each [t, n, ...].
      score: the explained numbers, [t, n].
      start: the sum of the relevance put in at the seed's layer, [t, n].
      sums: the sum of the relevance at every tap from the images to the seed's layer, in the
        order of computation, each [t, n]. Where all of the signal passes a tap and the rules
        conserve relevance, it is `start`; a tap in a branch of a residual network has its branch's
        part.
      conservation: `conservation_error(sum, start)` for each of `sums`, and for the images as
        "images", each [t, n].
    """

    images: Array
    layers: dict[str, Array]
    score: Array
    start: Array
    sums: dict[str, Array]
    conservation: dict[str, Array]


def lrp(
    fn: Callable[[Any, Array], Array],
    params: Any,
    images: Array,
    seed: Seed,
    targets: Any,
    *,
    composite: Composite | None = None,
    layers: Sequence[str] = (),
) -> Relevance:
    """Layer-wise relevance propagation from a seed to the images.

    Bach et al. (2015). All targets of an image share one forward pass, and only what lies below the
    seed's layer is computed. Fold batch norm into the convolutions first
    (`jaxinterp.fold_batch_norm`).

    Args:
      fn: the network, `fn(params, images) -> outputs`.
      params: its parameters, a pytree of arrays.
      images: float [n, h, w, c].
      seed: what is explained. Relevance starts as the seed's: for a logit, the logit itself.
      targets: a pytree of int arrays, [t] (every target on every image) or [t, n] (each image its
        own).
      composite: the rules; `epsilon_plus_flat()` unless given.
      layers: taps whose relevance is returned. The sums are returned for every tap, whatever is
        asked for here, except those whose first axis is not the images', and those where no value
        can be changed (within a custom derivative, say).

    Returns:
      The relevance, and its sums.

    Raises:
      UserError: a target out of range or of another shape, or a layer that the seed does not depend
        on.
      UnknownTapError: the seed's layer, or one of `layers`, is not tapped.
      RuleError: an operation has no rule, or its rule does not apply to it.

    Example:
      >>> result = lrp(apply, params, images, logit(), [281, 282])
      >>> result.images.sum((2, 3, 4)), result.start, result.sums["relu4_3"]
    """
    composite = epsilon_plus_flat() if composite is None else composite
    images, layers = as_images(images), as_layers(layers)
    targets = spread_targets(targets, len(images))
    below = values_below(fn, seed.layer, params, images, composite=composite, layers=layers)
    places = _places(below, params, images, layers)
    deltas = {
        name: _zeros(place, name in layers)
        for name, place in places.items()
        if place.has_sum or name in layers
    }

    def added(images: Array, deltas: dict[str, Array]) -> Array:
        edits = {name: _adding(delta) for name, delta in deltas.items()}
        return below.edit(edits)(params, images)

    values, pull = jax.vjp(added, images, deltas)
    check_targets(seed, targets, values.shape, images=len(images))
    scores, signals = seed.start(values, targets)
    at_images, at_layers = jax.vmap(pull)(signals)

    start = _sum_after(signals, 2)
    # Ordered, since JAX sorts the keys of a plain dict that leaves a jitted function.
    sums: OrderedDict[str, Array] = OrderedDict()
    errors = OrderedDict(images=conservation_error(_sum_after(at_images, 2), start))
    for name, place in places.items():
        if place.has_sum:
            scans = len(place.lengths)
            sums[name] = _sum_after(at_layers[name], 2 + scans)
            sent = start.reshape(len(start), *[1] * scans, len(images))
            errors[name] = conservation_error(sums[name], sent)
    asked = OrderedDict((name, at_layers[name]) for name in layers)
    return Relevance(at_images, asked, scores, start, sums, errors)


class _Place(NamedTuple):
    """What is tapped at one step of the scans around it, and how long these are."""

    value: jax.ShapeDtypeStruct
    lengths: tuple[int, ...]
    has_sum: bool


def _places(below: Part, params: Any, images: Array, layers: Sequence[str]) -> dict[str, _Place]:
    """Every tap of a part that relevance can be read at, and `layers`, which must be tapped."""
    known = below.taps(params, images)
    values: dict[str, jax.ShapeDtypeStruct] = {}

    def looking_at(name: str) -> Callable[..., Array]:
        def look(value: Array, *steps: Array) -> Array:
            values[name] = jax.ShapeDtypeStruct(value.shape, value.dtype)
            return value

        return look

    real = [name for name, one in known.items() if jnp.issubdtype(one.dtype, jnp.floating)]
    within = {below.name(name): name for name in real}
    found = editable_taps(below.compute, list(within), params, images)
    looks = {name: looking_at(name) for name in [*(within[one] for one in found), *layers]}
    jax.eval_shape(below.edit(looks), params, images)
    return {
        name: _Place(
            value,
            known[name].shape[: len(known[name].shape) - len(value.shape)],
            value.shape[:1] == (len(images),),
        )
        for name, value in values.items()
    }


def _zeros(place: _Place, whole: bool) -> Array:
    """What is added to a tapped value so that its cotangent is the relevance there.

    The cotangent of a single number for each image is the sum of the relevance.
    """
    shape = place.value.shape if whole else (*place.value.shape[:1], *[1] * (place.value.ndim - 1))
    return jnp.zeros((*place.lengths, *shape), place.value.dtype)


def _adding(delta: Array) -> Callable[..., Array]:
    """An edit that adds; in scans it is called with the steps' numbers too."""
    return lambda value, *steps: value + (delta[steps] if steps else delta)


def _sum_after(values: Array, axes: int) -> Array:
    return values.sum(tuple(range(axes, values.ndim)))
