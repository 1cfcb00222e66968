"""One backward pass from a seed to the images and to any layers on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxinterp.attribution.seeds import Seed, check_targets, spread_targets
from jaxinterp.errors import UserError
from jaxinterp.transform import Composite, capture, edit, taps, with_rules

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
    images = as_images(images)
    targets = spread_targets(targets, len(images))
    below = values_below(fn, seed.layer, params, images, composite=composite, layers=layers)
    added = with_deltas(below, layers)
    values, pull, _ = jax.vjp(
        lambda images, deltas: added(params, images, deltas),
        images,
        zero_deltas(below, layers, params, images),
        has_aux=True,
    )
    check_targets(seed, targets, values.shape)
    begin = seed.gradient if start == "gradient" else seed.start
    scores, signals = begin(values, targets)
    at_images, at_layers = jax.vmap(pull)(signals)
    return Backward(at_images, at_layers, scores, signals)


def as_images(images: Any) -> jax.Array:
    """The images as an array; a UserError if they are not floating-point numbers."""
    images = jnp.asarray(images)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise UserError(
            f"Images must be floating-point numbers, as the network's preprocessing makes them, "
            f"not {images.dtype}."
        )
    return images


def values_below(
    fn: Callable[[Any, jax.Array], jax.Array],
    layer: str | None,
    params: Any,
    images: jax.Array | jax.ShapeDtypeStruct,
    *,
    composite: Composite | None = None,
    layers: Iterable[str] = (),
) -> Callable[[Any, jax.Array], jax.Array]:
    """The part of a function that computes the value of one tap, with a composite's rules.

    Args:
        fn: The network.
        layer: The tap, or None for the function's output.
        params: Example parameters.
        images: Example images.
        composite: Backward rules; checked against all of `fn`, applied to the part.
        layers: Taps that must lie in the part.

    Returns:
        `below(params, images) -> values`.

    Raises:
        UserError: One of `layers` is tapped, but not in this part.
        UnknownTapError: It is not tapped at all, or `layer` is not.
    """
    if layer is None:
        return fn if composite is None else with_rules(fn, composite)
    captured = capture(fn, [layer])

    def below(params: Any, images: jax.Array, /) -> jax.Array:
        return captured(params, images)[layer]

    _check_layers(fn, below, layer, params, images, list(layers))
    if composite is None:
        return below
    # What lies above the layer is the composite's business only as far as it shows that the
    # composite was meant for this function.
    jax.eval_shape(with_rules(fn, dataclasses.replace(composite, others=None)), params, images)
    known = taps(below, params, images)
    part = dataclasses.replace(
        composite,
        layers={name: rule for name, rule in composite.layers.items() if name in known},
        optional=composite.optional | frozenset(composite.operations),
    )
    return with_rules(below, part)


def with_deltas(
    fn: Callable[[Any, jax.Array], jax.Array], layers: Sequence[str]
) -> Callable[[Any, jax.Array, dict[str, jax.Array]], tuple[jax.Array, dict[str, jax.Array]]]:
    """A function whose derivative in `deltas[name]` at zero is that in the tapped value.

    Returns:
        `added(params, images, deltas) -> (values of fn, tapped values)`.
    """

    def added(
        params: Any, images: jax.Array, deltas: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        def adding(delta: jax.Array) -> Callable[..., jax.Array]:
            # In a scan an edit also gets the number of the step.
            return lambda value, *steps: value + (delta[steps] if steps else delta)

        if not layers:
            return fn(params, images), {}
        edited = edit(fn, {name: adding(deltas[name]) for name in layers})
        return capture(edited, layers, with_output=True)(params, images)

    return added


def zero_deltas(
    fn: Callable[[Any, jax.Array], jax.Array], layers: Sequence[str], params: Any, images: Any
) -> dict[str, jax.Array]:
    """Zeros of the shapes of tapped values; the images may be a `jax.ShapeDtypeStruct`."""
    if not layers:
        return {}
    shapes = jax.eval_shape(capture(fn, layers), params, images)
    return {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}


def _check_layers(
    fn: Callable[..., Any],
    below: Callable[..., Any],
    layer: str,
    params: Any,
    images: jax.Array | jax.ShapeDtypeStruct,
    layers: Sequence[str],
) -> None:
    if not layers:
        return
    reached, known = taps(below, params, images), taps(fn, params, images)
    for name in layers:
        if name in known and name not in reached:
            raise UserError(f"The seed's layer {layer!r} does not depend on layer {name!r}.")
