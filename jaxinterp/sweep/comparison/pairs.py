"""Two kernels of a layer that answer alike to an image, though they differ (the paper's Fig. 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp.data.images import NamedImage
from jaxinterp.errors import UserError
from jaxinterp.methods.layer_maps import layer_maps
from jaxinterp.metrics import map_similarity
from jaxinterp.models.layer_table import Layer
from jaxinterp.models.network import Network

__all__ = ["KernelPair", "find_pair", "most_similar"]

_CANDIDATES = 16  # pairs an image offers, by distance, of which the similarity is computed
_SAME = 1e-6  # a relative distance; kernels that never differ by more have the same weights


@dataclasses.dataclass(frozen=True)
class KernelPair:
    """Two kernels with nearly equal maps on one image.

    Attributes:
      layer: whose they are.
      first, second: the kernels, the lower one first.
      image: index of the image.
      similarity: of their maps on it: SSIM, or correlation for maps under 7 px.
    """

    layer: str
    first: int
    second: int
    image: int
    similarity: float

    def to_record(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def find_pair(network: Network, layer: Layer, images: Sequence[NamedImage]) -> KernelPair:
    """The pair of active kernels of a layer with the most similar maps on any of the images.

    Raises:
      UserError: the layer has fewer than two kernels that are active on most of the images.
    """
    maps = jax.jit(layer_maps(network, layer.name))
    every = (
        np.asarray(maps(network.params, network.preprocess(image.pixels[None])))[0]
        for image in images
    )
    return most_similar(every, layer.name)


def most_similar(maps: Iterable[np.ndarray], layer: str) -> KernelPair:
    """As `find_pair`, of maps [h, w, kernels], one item an image.

    Active on most images is a kernel whose map is not zero on more than half of them; on the image
    of the pair both maps must have at least the median norm of the layer's. The similarity is the
    lesser of the two that either kernel as the original gives. Kernels with equal weights would
    have equal maps everywhere: pairs that differ on no image are passed over.

    Raises:
      UserError: fewer than two active kernels.
    """
    offers: list[KernelPair] = []
    active: np.ndarray | int = 0
    difference: np.ndarray | float = 0.0
    power: np.ndarray | float = 0.0
    count = 0
    for count, values in enumerate(maps, start=1):
        flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
        gram = flat.T @ flat
        norms = gram.diagonal()
        squares = np.maximum(norms[:, None] + norms - 2 * gram, 0)
        active = active + (norms > 0)
        difference, power = difference + squares, power + norms[:, None] + norms
        loud = (norms > 0) & (norms >= np.median(norms))
        offers.extend(_offers(values, squares, norms, loud, count - 1, layer))
    busy = np.asarray(active) * 2 > count
    if busy.sum() < 2:
        raise UserError(
            f"A pair is asked of {layer}, where {busy.sum()} of the kernels answer to more than "
            "half of the images: it takes two."
        )
    distinct = np.asarray(difference) > _SAME * np.asarray(power)
    valid = [
        offer
        for offer in offers
        if busy[offer.first] and busy[offer.second] and distinct[offer.first, offer.second]
    ]
    if not valid:
        raise UserError(
            f"No two kernels of {layer} that answer to most images answer strongly to the same one "
            "and differ: give more images."
        )
    return max(valid, key=lambda offer: offer.similarity)


def _offers(
    values: np.ndarray,
    squares: np.ndarray,
    norms: np.ndarray,
    loud: np.ndarray,
    image: int,
    layer: str,
) -> list[KernelPair]:
    """The pairs of one image whose maps are nearest, with their similarity."""
    kernels = np.flatnonzero(loud)
    rows, columns = (kernels[index] for index in np.triu_indices(len(kernels), 1))
    if not len(rows):
        return []
    distance = squares[rows, columns] / np.maximum(norms[rows], norms[columns])
    nearest = np.argsort(distance, kind="stable")[:_CANDIDATES]
    first = jnp.asarray(np.moveaxis(values[..., rows[nearest]], -1, 0))
    second = jnp.asarray(np.moveaxis(values[..., columns[nearest]], -1, 0))
    one, other = map_similarity(first, second)[1], map_similarity(second, first)[1]
    similarity = np.minimum(np.asarray(one), np.asarray(other))
    return [
        KernelPair(layer, int(rows[n]), int(columns[n]), image, float(s))
        for n, s in zip(nearest, similarity, strict=True)
    ]
