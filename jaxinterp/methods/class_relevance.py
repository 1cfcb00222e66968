"""Class-specific relevance: how much each unit contributes to a class where its object is.

Islam and Tushar, "Interpreting and Comparing Convolutional Neural Networks: A Quantitative
Approach" (2021), section IV-B. Their equation 3 gives a unit i and a class c the relevance

    R[i, c] = 1/N sum_n sum_p M_n(p) * psi(G_n)(p),    psi(G) = upsample(|G|)

over the N images of the class. G_n is the unit's map of integrated gradients of the class's
probability, M_n the object's mask, p a pixel of the mask. `class_relevance` gives the sum over p of
each image, `relevance_sums.RelevanceSums` the mean over n.

Upsampling is linear, so the sum over pixels of mask times upsampled map is the sum over the layer's
positions of a weight times the map, where the weights are the mask sent through the transposed
upsampling. They are made once for each size of maps, and no map is ever upsampled.

What the paper leaves open, and what is done here:

- Whose integral it is. `path="input"` (the default) is the conductance of the units, along the line
  of images: all layers share one pass. `path="layer"` is the line in each layer's own space
  (Captum's `LayerIntegratedGradients`), with a pass for each layer.
- The baseline. Default: an input of 0, the mean colour; see `relevance_baselines` for others.
- The layers' scale. A sum over the mask's pixels counts each position of a small map many times:
  at 112 px, a position of a 7 x 7 map stands for 256 pixels, one of a 56 x 56 map for 4. That is
  the same for all units of a layer, so order within the layer does not depend on it, but sums over
  layers and comparisons between layers (Fig. 4) do. `sum_over="positions"` divides it out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.attribution import conductance, layer_integrated_gradients, probability
from jaxinterp.attribution.micro_batches import MEMORY
from jaxinterp.attribution.parts import as_layers
from jaxinterp.attribution.seeds import Seed
from jaxinterp.errors import UserError, nearest
from jaxinterp.methods.upsampling import bilinear_matrix

__all__ = ["PARTS", "ClassRelevance", "class_relevance", "mask_weights"]

Part = Literal["absolute", "positive", "negative", "signed"]

PARTS: dict[str, Callable[[Array], Array]] = {
    "absolute": jnp.abs,
    "positive": lambda maps: jnp.maximum(maps, 0),
    "negative": lambda maps: jnp.maximum(-maps, 0),
    "signed": lambda maps: maps,
}
"""What may be taken of the integrated gradients before they are upsampled."""


class ClassRelevance(NamedTuple):
    """The relevance of units for the class of each of n images.

    Attributes:
        units: For each layer float [n, units], 0 or more unless signed: the sum over pixels of
            equation 3, in units of the score times pixels of the mask (`sum_over="positions"`: of
            the score).
        delta: For each layer float [n]: the sum of all its integrated gradients less
            `score - baseline_score`, which is the error of completeness.
        score: The class's probability at the image, float [n].
        baseline_score: For each layer float [n]: the same where the path begins.
        mask_sum: The sum of each image's mask, float [n]; 0 if the object is not to be seen.
    """

    units: dict[str, Array]
    delta: dict[str, Array]
    score: Array
    baseline_score: dict[str, Array]
    mask_sum: Array


def class_relevance(
    fn: Callable[[Any, Array], Array],
    params: Any,
    images: Array | np.ndarray,
    targets: Any,
    layers: Sequence[str],
    masks: Any = None,
    *,
    path: Literal["input", "layer"] = "input",
    part: Part = "absolute",
    sum_over: Literal["pixels", "positions"] = "pixels",
    baselines: Any = 0.0,
    n_steps: int = 50,
    method: str = "gauss_legendre",
    derivative: Literal["exact", "difference"] = "exact",
    seed: Seed | None = None,
    channel_axes: Mapping[str, int] | None = None,
    batch_size: int | None = None,
    memory: int = MEMORY,
) -> ClassRelevance:
    """What each unit contributes to the class's probability within the mask, image by image.

    Call it with batches of one shape: the programs are compiled once and kept. On CPUs call it as
    it is, not under `jax.jit` (see `attribution.integrated_gradients`). Beside the micro-batches
    the integrated gradients of all layers are held for the n images of a call (`path="layer"`: of
    one layer), so memory does not depend on the number of batches.

    `delta` is the error of integration where every path through the network leads through the layer
    (`transform.tail` reports that as `full_cut`). With `path="input"`, a layer inside a residual
    block is bypassed, and `delta` is mostly minus what the skip carries.

    Args:
        fn: The network, `fn(params, images) -> logits`, for any number of images.
        params: Its parameters, a pytree of arrays.
        images: float [n, h, w, c], preprocessed.
        targets: The class of each image, int [n], counted from 0.
        layers: The taps. Their units are the channels; a vector's units count as maps of one
            position.
        masks: Where each image's object is, bool or float [n, m, m'], from 0 to 1; it covers the
            same field as the image. None for ones on the grid of the image.
        path: "input" or "layer", as above.
        part: "absolute" takes the integrated gradients' magnitude, as the paper; "positive" and
            "negative" the magnitude of those of one sign, which add up to the first; "signed" all
            as they are, which is "positive" less "negative".
        sum_over: "pixels" of the mask, as the paper; "positions" divides by the number of pixels to
            a position of the layer, so that without masks the sum is that over the map.
        baselines: Where the paths begin: a number, or an array that broadcasts to the images; in
            the space of the network's input. `relevance_baselines.baseline_inputs` makes some.
        n_steps: The number of points on a path, at least 1.
        method: As in `attribution.integrated_gradients`.
        derivative: Of "input" only; see `attribution.conductance`.
        seed: What is explained, if not `attribution.probability()`.
        channel_axes: Of layers whose channels are not on the last axis; counted as in the tapped
            value [n, ...].
        batch_size: How many (image, step) are sent back at a time; as in
            `attribution.integrated_gradients`.
        memory: Bytes that these may take.

    Returns:
        The relevance and the completeness of each image.

    Raises:
        UserError: No layers; masks of another number or shape; targets that are not one class for
            each image; an unknown path, part or sum; a layer that is neither maps nor vectors; as
            `attribution.conductance`.
        UnknownTapError: A layer is not tapped.

    Example:
        >>> found = class_relevance(apply, params, inputs, labels, ["relu5_3"], masks, n_steps=20)
        >>> found.units["relu5_3"].shape
        (32, 512)
    """
    if path not in ("input", "layer"):
        raise UserError(f'path must be "input" or "layer", not {path!r}.')
    if part not in PARTS:
        raise UserError(nearest(part, PARTS, kind="part of the integrated gradients"))
    if sum_over not in ("pixels", "positions"):
        raise UserError(f'sum_over must be "pixels" or "positions", not {sum_over!r}.')
    images, layers, axes = jnp.asarray(images), as_layers(layers), dict(channel_axes or {})
    if not layers:
        raise UserError("Name at least one layer.")
    for name in axes:
        if name not in layers:
            raise UserError(nearest(name, layers, kind="layer asked for, as channel_axes says"))
    targets, masks = _as_targets(targets, images), _as_masks(masks, images)
    seed = probability() if seed is None else seed
    weights: dict[tuple[int, int], Array] = {}

    def units_of(name: str, attributions: Array) -> Array:
        maps = _as_maps(name, attributions, axes.get(name, -1))
        size = (maps.shape[1], maps.shape[2])
        if size not in weights:
            weights[size] = mask_weights(masks, size, sum_over=sum_over)
        return _masked_sums(maps, weights[size], part)

    options = {"baselines": baselines, "n_steps": n_steps, "method": method}
    options |= {"batch_size": batch_size, "memory": memory}
    explained = (fn, params, images, seed, targets[None])
    if path == "input":
        found = [conductance(*explained, layers, derivative=derivative, **options)]
    else:
        # A layer at a time: nothing is shared between them, and only sums have to be kept.
        found = (layer_integrated_gradients(*explained, [name], **options) for name in layers)
    units, delta, baseline_score, score = {}, {}, {}, None
    for result in found:
        for name, attributions in result.attributions.items():
            units[name] = units_of(name, attributions[0])
            delta[name] = result.delta[name][0]
            baseline_score[name] = result.baseline_score[name][0]
        score = result.score[0]
    assert score is not None
    return ClassRelevance(
        {name: units[name] for name in layers},  # compiled code returns dicts sorted
        {name: delta[name] for name in layers},
        score,
        {name: baseline_score[name] for name in layers},
        masks.sum((1, 2)),
    )


def mask_weights(
    masks: Array,
    size: tuple[int, int],
    *,
    sum_over: Literal["pixels", "positions"] = "pixels",
) -> Array:
    """What each position of a map weighs in the sum over a mask's pixels of the upsampled map.

    Args:
        masks: float [n, m, m'].
        size: Of the maps, (h, w).
        sum_over: As in `class_relevance`.

    Returns:
        float [n, h, w], of the masks' dtype.
    """
    height, width = (
        bilinear_matrix(source, target)
        for source, target in zip(size, masks.shape[1:], strict=True)
    )
    if sum_over == "positions":
        height, width = (matrix * (matrix.shape[1] / matrix.shape[0]) for matrix in (height, width))
    return _weights(masks, jnp.asarray(height, masks.dtype), jnp.asarray(width, masks.dtype))


@jax.jit
def _weights(masks: Array, height: Array, width: Array) -> Array:
    return jnp.einsum("nij,ih,jw->nhw", masks, height, width, precision="highest")


@functools.partial(jax.jit, static_argnames="part")
def _masked_sums(maps: Array, weights: Array, part: Part) -> Array:
    """[n, h, w, units] and [n, h, w] -> [n, units]."""
    return (weights[..., None].astype(maps.dtype) * PARTS[part](maps)).sum((1, 2))


def _as_targets(targets: Any, images: Array) -> Array:
    targets = jnp.asarray(targets)
    if images.ndim == 0 or targets.shape != images.shape[:1]:
        raise UserError(
            f"Give each of the images, of shape {list(images.shape)}, its class: the targets have "
            f"the shape {list(targets.shape)}."
        )
    return targets


def _as_masks(masks: Any, images: Array) -> Array:
    if masks is None:
        return jnp.ones(images.shape[:3], images.dtype)
    masks = jnp.asarray(masks)
    if masks.ndim != 3 or len(masks) != len(images) or 0 in masks.shape[1:]:
        raise UserError(
            f"Masks have the shape [{len(images)}, m, m'], one for each image, not "
            f"{list(masks.shape)}."
        )
    return masks.astype(images.dtype)


def _as_maps(name: str, values: Array, channel_axis: int) -> Array:
    """The values of a layer as [n, h, w, units]."""
    if values.ndim == 2:
        return values[:, None, None, :]
    if values.ndim != 4 or channel_axis % 4 == 0:
        raise UserError(
            f"Layer {name!r} has values of shape {list(values.shape)}, channels on axis "
            f"{channel_axis}; relevance is of maps [n, h, w, units] or vectors [n, units]."
        )
    return jnp.moveaxis(values, channel_axis, -1)
