"""Gradients with respect to the image: plain, times the image, deconvnet, guided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jaxinterp.attribution.backward import backward
from jaxinterp.attribution.seeds import Seed
from jaxinterp.transform import (
    Composite,
    deconvnet as deconvnet_rules,
    guided_backprop as guided_rules,
)

__all__ = ["deconvnet", "gradient", "guided_backprop"]


def gradient(
    fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: jax.Array,
    seed: Seed,
    targets: Any,
    *,
    composite: Composite | None = None,
    times_input: bool = False,
) -> jax.Array:
    """The gradient of a seed's score with respect to the images.

    Its absolute value is the saliency map of Simonyan et al., "Deep Inside Convolutional Networks"
    (2014), section 3.1. All targets of an image share one forward pass.

    Args:
        fn: The network, `fn(params, images) -> outputs`.
        params: Its parameters, a pytree of arrays.
        images: [n, h, w, c], floating point.
        seed: What is explained.
        targets: A pytree of int arrays, [t] (every target on every image) or [t, n] (each image its
            own).
        composite: Other backward rules.
        times_input: Whether to multiply by the images, which makes it an attribution in units of
            the score (Shrikumar et al., 2016).

    Returns:
        [t, n, h, w, c].

    Raises:
        UserError, UnknownTapError, RuleError: As `backward`.

    Example:
        >>> saliency = abs(gradient(apply, params, images, logit(), [3, 7])).max(-1)
    """
    signals = backward(fn, params, images, seed, targets, composite=composite).images
    return signals * images if times_input else signals


def guided_backprop(
    fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: jax.Array,
    seed: Seed,
    targets: Any,
    *,
    times_input: bool = False,
) -> jax.Array:
    """Guided backpropagation: positive signals pass ReLUs that are active.

    Springenberg et al., "Striving for Simplicity" (2015), section 3.4. Arguments, result and errors
    are those of `gradient`.

    Example:
        >>> features = guided_backprop(apply, params, images, kernel_map("relu4_3"), range(32))
    """
    return gradient(
        fn, params, images, seed, targets, composite=guided_rules, times_input=times_input
    )


def deconvnet(
    fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: jax.Array,
    seed: Seed,
    targets: Any,
    *,
    times_input: bool = False,
) -> jax.Array:
    """Deconvnet: positive signals pass ReLUs, whatever the units' inputs were.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (2014), section 2.1.
    Arguments, result and errors are those of `gradient`.
    """
    return gradient(
        fn, params, images, seed, targets, composite=deconvnet_rules, times_input=times_input
    )
