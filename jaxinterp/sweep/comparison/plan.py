"""The plan of a comparison: layer x variant x kernel x image -> jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from jaxinterp.config import to_dict
from jaxinterp.data.images import NamedImage
from jaxinterp.models.network import Network
from jaxinterp.sweep.comparison.config import ComparisonConfig
from jaxinterp.sweep.comparison.pairs import KernelPair
from jaxinterp.sweep.plan import image_digest, job_id

__all__ = ["ComparisonJob", "make_plan", "pair_images", "plan_of"]


@dataclasses.dataclass(frozen=True)
class ComparisonJob:
    """One kernel on one image by one variant.

    Attributes:
      index: place in the plan, and in the stored array.
      layer: the layer's name.
      variant: index of the variant.
      kernel: its index.
      image: index of the image.
      tabled: whether it counts in the tables; jobs that only a pair's figure needs do not.
      id: 16 hex digits over model, weights, layer, kernel, pixels, method and settings.
    """

    index: int
    layer: str
    variant: int
    kernel: int
    image: int
    tabled: bool
    id: str


def pair_images(pair: KernelPair, images: int, most: int) -> list[int]:
    """Which images are shown of a pair: its own, then the first others."""
    others = [image for image in range(images) if image != pair.image]
    return [pair.image, *others][:most]


def make_plan(
    config: ComparisonConfig,
    network: Network,
    images: Sequence[NamedImage],
    kernels: Mapping[str, Sequence[int]],
    pairs: Sequence[KernelPair],
) -> list[ComparisonJob]:
    """All jobs, layer by layer, variant by variant.

    Args:
      config: the comparison's.
      network: whose weights' hash enters each job's.
      images: the images.
      kernels: by layer name, those of the tables.
      pairs: those found in the layers of `config.pairs`.
    """
    digests = [image_digest(image) for image in images]
    return plan_of(config, network.name, network.weights_sha256, kernels, digests, pairs)


def plan_of(
    config: ComparisonConfig,
    model: str,
    weights_sha256: str,
    kernels: Mapping[str, Sequence[int]],
    digests: Sequence[str],
    pairs: Sequence[KernelPair],
) -> list[ComparisonJob]:
    """The plan of a comparison of which only the record is at hand; see `make_plan`."""
    places: dict[str, dict[tuple[int, int], bool]] = {}
    for layer, chosen in kernels.items():
        places[layer] = {(int(k), image): True for k in chosen for image in range(len(digests))}
    for pair in pairs:
        own = places.setdefault(pair.layer, {})
        for kernel in (pair.first, pair.second):
            for image in pair_images(pair, len(digests), config.pair_images):
                own.setdefault((kernel, image), False)
    jobs: list[ComparisonJob] = []
    for layer, wanted in places.items():
        for number, variant in enumerate(config.variants):
            common = {
                "model": model,
                "weights": weights_sha256,
                "layer": layer,
                "method": variant.method,
                "settings": to_dict(variant.settings) if variant.settings else None,
            }
            for (kernel, image), tabled in wanted.items():
                identity = {**common, "kernel": kernel, "image": digests[image]}
                place = (len(jobs), layer, number, kernel, image, tabled)
                jobs.append(ComparisonJob(*place, job_id(identity)))
    return jobs
