"""The suppression loss: keep one kernel's feature map, silence all others of its layer.

Zhuang et al., "Understanding of Kernels in CNN Models by Suppressing Irrelevant Visual Features in
Images", Eq. 1-4. With F the original's maps, G the optimised input's, i the kernel of interest:

    L_p = |G_i - F_i|_2 / (s |F_i|_2)                              (1)
    L_s = sum_{j != i} |G_j|_1 / (s sum_{j != i} |F_j|_1)          (2)
    L_r = |X|_1 / (W_0 H_0)                                        (3)
    L   = L_p + alpha L_s + beta L_r                               (4)

`normalization="paper"` takes s = W H as printed. L_p and L_s are then at most about 1 / (W H) while
L_r is of order 1, so that with alpha = beta = 1 a blank image is the optimum: the authors stopped
long before it. `normalization="relative"`, the default, takes s = 1, so that L_p and L_s are 1 for
a blank image and for the original respectively, whatever the layer's size.

Maps are channels-last. Everything here is pure and free of any network.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import Array

__all__ = [
    "ALPHA",
    "BETA",
    "ROUNDING",
    "Normalization",
    "SuppressionReference",
    "SuppressionTerms",
    "suppression_loss",
    "suppression_reference",
    "suppression_terms",
]

Normalization = Literal["relative", "paper"]

ALPHA = 0.3
"""Weight of L_s; chosen by measurement, see docs/suppression_study.md."""

BETA = 0.3
"""Weight of L_r; chosen by measurement, see docs/suppression_study.md."""


ROUNDING = 1e-4
"""A relative difference of maps up to this may be rounding, and not the input's doing: the
original's maps are computed by another program than the lanes'. Winograd's differ by up to 4e-5."""


class SuppressionReference(NamedTuple):
    """What the loss needs to know of the original's maps.

    Attributes:
      kernel: index of the kernel of interest, int [...].
      selected: its map F_i, [..., h, w].
      selected_norm: |F_i|_2, [...].
      rest_norm: sum over the other kernels of |F_j|_1, [...].
    """

    kernel: Array
    selected: Array
    selected_norm: Array
    rest_norm: Array


class SuppressionTerms(NamedTuple):
    """L_p, L_s and L_r before weighting, one scalar per example: [...]."""

    preservation: Array
    suppression: Array
    regularization: Array


def _select(features: Array, kernel: Array) -> Array:
    """The map of one kernel per example: [..., h, w, c], int [...] -> [..., h, w]."""
    index = jnp.asarray(kernel)[..., None, None, None]
    return jnp.take_along_axis(features, index, axis=-1)[..., 0]


def _rest_norm(features: Array, kernel: Array) -> Array:
    """Sum over all other kernels of their maps' L1 norms: [..., h, w, c], int [...] -> [...]."""
    norms = jnp.abs(features).sum((-3, -2))
    others = jnp.arange(norms.shape[-1]) != jnp.asarray(kernel)[..., None]
    return jnp.where(others, norms, 0).sum(-1)


def suppression_reference(features: Array, kernel: Array) -> SuppressionReference:
    """Summarises the original's maps for `suppression_terms`.

    Args:
      features: the original's maps F, float [..., h, w, c].
      kernel: index of the kernel of interest, int [...], in 0 to c - 1.
    """
    selected = _select(features, kernel)
    return SuppressionReference(
        kernel=jnp.broadcast_to(jnp.asarray(kernel), features.shape[:-3]),
        selected=selected,
        selected_norm=_norm(selected),
        rest_norm=_rest_norm(features, kernel),
    )


def suppression_terms(
    features: Array,
    inputs: Array,
    reference: SuppressionReference,
    *,
    normalization: Normalization = "relative",
) -> SuppressionTerms:
    """The three terms of the loss, Eq. 1-3, unweighted.

    Args:
      features: the optimised input's maps G, float [..., h, w, c].
      inputs: the optimised input X as the network takes it, float [..., H, W, channels].
      reference: of the original, see `suppression_reference`.
      normalization: "relative" or "paper" (see the module's docstring).

    Returns:
      The terms, [...] each. A kernel that is silent on the original (|F_i| = 0) has no preservation
      term to speak of: its L_p is |G_i|_2 / s; the same holds for L_s and silent others.

    Raises:
      ValueError: an unknown normalization.
    """
    if normalization not in ("relative", "paper"):
        raise ValueError(f"normalization is 'relative' or 'paper', not {normalization!r}")
    height, width = features.shape[-3:-1]
    scale = height * width if normalization == "paper" else 1
    selected = _select(features, reference.kernel)
    difference = _norm(selected - reference.selected) / _or_one(reference.selected_norm)
    # What rounds otherwise is no difference: at the original, where the optimisation starts, the
    # norm's gradient would be a unit vector along the rounding.
    difference = jnp.where(difference > ROUNDING, difference, 0)
    rest = _rest_norm(features, reference.kernel)
    pixels = inputs.shape[-3] * inputs.shape[-2]
    return SuppressionTerms(
        preservation=difference / scale,
        suppression=rest / (scale * _or_one(reference.rest_norm)),
        regularization=jnp.abs(inputs).sum((-3, -2, -1)) / pixels,
    )


def suppression_loss(
    features: Array,
    original_features: Array,
    inputs: Array,
    kernel: Array,
    *,
    alpha: float | Array = ALPHA,
    beta: float | Array = BETA,
    normalization: Normalization = "relative",
) -> Array:
    """The suppression loss, Eq. 4: one scalar per example.

    Args:
      features: maps of the optimised input, float [..., h, w, c].
      original_features: maps of the original image, same shape.
      inputs: the optimised input, float [..., H, W, channels].
      kernel: index of the kernel of interest, int [...].
      alpha: weight of the suppression of all other kernels.
      beta: weight of the input's L1 norm.
      normalization: "relative" or "paper".

    Returns:
      The loss, [...].

    Example:
      >>> maps = jnp.ones((4, 8, 8, 16))
      >>> image = jnp.zeros((4, 32, 32, 3))
      >>> loss = suppression_loss(maps, maps, image, jnp.arange(4))
      >>> loss.shape
      (4,)
    """
    reference = suppression_reference(original_features, kernel)
    terms = suppression_terms(features, inputs, reference, normalization=normalization)
    return terms.preservation + alpha * terms.suppression + beta * terms.regularization


def _norm(x: Array) -> Array:
    """L2 norm over the last two axes, with gradient 0 at 0 (where the optimisation starts)."""
    squared = _pairwise_sum(jnp.square(x).reshape(*x.shape[:-2], -1))
    nonzero = squared > 0
    return jnp.where(nonzero, jnp.sqrt(jnp.where(nonzero, squared, 1)), 0)


def _pairwise_sum(x: Array) -> Array:
    """Sum over the last axis, halving it until one value is left.

    The order of additions is part of the program. XLA's CPU backend orders those of a `sum` by the
    size of the whole batch, and the norm's last digit, which enters every pixel's gradient, would
    depend on how many lanes there are.
    """
    length = 1 << (x.shape[-1] - 1).bit_length()
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, length - x.shape[-1])])
    while length > 1:
        length //= 2
        x = x[..., :length] + x[..., length:]
    return x[..., 0]


def _or_one(x: Array) -> Array:
    return jnp.where(x > 0, x, 1)
