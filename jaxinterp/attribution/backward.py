"""One backward pass from a seed to the images and to any layers on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxinterp.attribution.parts import as_layers, values_below, with_deltas, zero_deltas
from jaxinterp.attribution.seeds import Seed, check_targets, spread_targets
from jaxinterp.errors import UserError
from jaxinterp.transform import Composite

__all__ = ["Backward", "backward"]


class Backward(NamedTuple):
    """What arrives at the images and layers, for t targets and n images.

    Attributes:
        images: What arrives at the images, [t, n, h, w, c].
        layers: What arrives at each of the layers asked for, [t, n, ...].
        score: The explained numbers, [t, n].
        start: What was sent down from the seed's layer, [t, n, ...].
    """

    images: jax.Array
    layers: dict[str, jax.Array]
    score: jax.Array
    start: jax.Array


def backward(
    fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: jax.Array,
    seed: Seed,
    targets: Any,
    *,
    composite: Composite | None = None,
    layers: Sequence[str] = (),
    start: Literal["gradient", "relevance"] = "gradient",
) -> Backward:
    """Sends a seed's signal down to the images, and reads it at layers on the way.

    All targets of an image share one forward pass, and only what lies below the seed's layer is
    computed.

    Args:
        fn: The network, `fn(params, images) -> outputs`.
        params: Its parameters, a pytree of arrays.
        images: [n, h, w, c], floating point.
        seed: What is explained.
        targets: A pytree of int arrays, [t] (every target on every image) or [t, n] (each image its
            own).
        composite: Backward rules; None for the gradient. Every kind of operation that it has
            a rule for must occur in `fn`, but need not occur below the seed's layer.
        layers: Taps below the seed's layer (or that layer itself) to read the signal at.
        start: What is sent down: "gradient", the score's gradient with respect to the values of
            the seed's layer, or "relevance", the seed's relevance.

    Returns:
        The signals.

    Raises:
        UserError: A target out of range or of another shape, or a layer that the seed does not
            depend on.
        UnknownTapError: The seed's layer, or one of `layers`, is not tapped.
        RuleError: As `with_rules`.

    Example:
        >>> result = backward(apply, params, images, logit(), [3, 7], layers=["relu4_3"])
        >>> result.layers["relu4_3"].shape
        (2, 1, 28, 28, 512)
    """
    if start not in ("gradient", "relevance"):
        raise UserError(f'start must be "gradient" or "relevance", not {start!r}.')
    images, layers = as_images(images), as_layers(layers)
    targets = spread_targets(targets, len(images))
    below = values_below(fn, seed.layer, params, images, composite=composite, layers=layers)
    added = with_deltas(below, layers)
    values, pull, _ = jax.vjp(
        lambda images, deltas: added(params, images, deltas),
        images,
        zero_deltas(below, layers, params, images),
        has_aux=True,
    )
    check_targets(seed, targets, values.shape, images=len(images))
    begin = seed.gradient if start == "gradient" else seed.start
    scores, signals = begin(values, targets)
    at_images, at_layers = jax.vmap(pull)(signals)
    return Backward(at_images, at_layers, scores, signals)


def as_images(images: Any) -> jax.Array:
    """The images as an array; a UserError if they are not several, or not floating-point."""
    images = jnp.asarray(images)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise UserError(
            f"Images must be floating-point numbers, as the network's preprocessing makes them, "
            f"not {images.dtype}."
        )
    if images.ndim < 2:
        raise UserError(
            f"Images have a first axis that counts them; these have the shape {list(images.shape)}."
        )
    return images
