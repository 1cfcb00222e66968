"""Grad-CAM: where a layer's maps speak for a target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxinterp.attribution.backward import as_images
from jaxinterp.attribution.parts import values_below, with_deltas, zero_deltas
from jaxinterp.attribution.seeds import Seed, check_targets, spread_targets
from jaxinterp.errors import UserError

__all__ = ["grad_cam"]


def grad_cam(
    fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: jax.Array,
    seed: Seed,
    targets: Any,
    layer: str,
    *,
    resize: bool = False,
    channel_axis: int = -1,
) -> jax.Array:
    """The rectified sum of a layer's feature maps, each weighed by its mean gradient.

    Equations 1 and 2 of Selvaraju et al., "Grad-CAM" (2017). All targets of an image share one
    forward pass.

    Args:
        fn: The network, `fn(params, images) -> outputs`.
        params: Its parameters, a pytree of arrays.
        images: [n, h, w, c], floating point.
        seed: What is explained.
        targets: A pytree of int arrays, [t] (every target on every image) or [t, n] (each image its
            own).
        layer: The tap whose maps are summed, of shape [n, h', w', c'].
        resize: Whether to resize the result to the images' size, bilinearly.
        channel_axis: Which axis of the maps, and of the images, is the channels'.

    Returns:
        [t, n, h', w'], or [t, n, h, w] if `resize`; not negative.

    Raises:
        UserError: A layer that has no maps or that the seed does not depend on; a target out
            of range.
        UnknownTapError: The layer, or the seed's layer, is not tapped.

    Example:
        >>> heat = grad_cam(apply, params, images, logit(), [3, 7], "relu5_3", resize=True)
    """
    images = as_images(images)
    targets = spread_targets(targets, len(images))
    below = values_below(fn, seed.layer, params, images, layers=[layer])
    deltas = zero_deltas(below, [layer], params, images)
    if deltas[layer].ndim != 4:
        raise UserError(
            f"Grad-CAM needs feature maps, and layer {layer!r} has values of shape "
            f"{list(deltas[layer].shape)}."
        )
    added = with_deltas(below, [layer])
    values, pull, tapped = jax.vjp(
        lambda deltas: added(params, images, deltas), deltas, has_aux=True
    )
    check_targets(seed, targets, values.shape, images=len(images))
    maps = jnp.moveaxis(tapped[layer], channel_axis, -1)

    def of_one(target: Any) -> jax.Array:
        _, cotangent = seed.gradient_of_one(values, target)
        (gradients,) = pull(cotangent)
        weights = jnp.moveaxis(gradients[layer], channel_axis, -1).mean((1, 2), keepdims=True)
        return jax.nn.relu((weights * maps).sum(-1))

    heat = jax.vmap(of_one)(targets)
    if not resize:
        return heat
    height, width, _ = jnp.moveaxis(images, channel_axis, -1).shape[1:]
    return jax.image.resize(heat, (*heat.shape[:2], height, width), "bilinear")
