"""The plan: layer x kernel x image -> jobs, each with a hash of all that decides its result."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import json
import operator
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, overload

import numpy as np

from jaxinterp.config import to_dict
from jaxinterp.data.images import NamedImage
from jaxinterp.errors import UserError
from jaxinterp.models.layer_table import Layer
from jaxinterp.models.network import Network
from jaxinterp.sweep.config import KernelChoice, LayerConfig, RunConfig

__all__ = [
    "HasLayers",
    "Job",
    "Plan",
    "batches",
    "choose_kernels",
    "image_digest",
    "job_id",
    "make_plan",
    "needs_activity",
    "plan_of",
    "resolve_layers",
]


AnyJob = TypeVar("AnyJob")


class HasLayers(Protocol):
    """A config with `[[layers]]`, of whatever method."""

    @property
    def layers(self) -> tuple[LayerConfig, ...]: ...


@dataclasses.dataclass(frozen=True)
class Job:
    """One kernel on one image.

    Attributes:
      index: place in the plan, and in the stored arrays.
      layer: the layer's name.
      kernel: its index.
      image: index of the image.
      id: 16 hex digits over model, weights, layer, kernel, pixels and settings.
    """

    index: int
    layer: str
    kernel: int
    image: int
    id: str


def resolve_layers(config: HasLayers, network: Network) -> list[Layer]:
    """The layers of a run, in its order.

    Raises:
      UserError: a layer that is unknown, has no feature maps, or is listed under two names.
    """
    layers = [network.layers.find(layer.name) for layer in config.layers]
    for layer in layers:
        if not layer.is_map:
            raise UserError(f"The layer {layer.name!r} has no feature maps.")
        if layers.count(layer) > 1:
            raise UserError(f"The layer {layer.name!r} is listed twice, under two names.")
    return layers


def choose_kernels(
    choice: str | Sequence[int] | KernelChoice,
    layer: Layer,
    activity: np.ndarray | None,
    active_share: np.ndarray | None = None,
) -> list[int]:
    """The kernels of a layer that a config asks for, in order and without repetition.

    Args:
      choice: as in `LayerConfig.kernels`.
      layer: whose they are.
      activity: mean activation of each kernel over the images, [kernels]; needed by `most_active`.
      active_share: share of the images on which each kernel is not silent, in [0, 1], [kernels];
        needed by `random_active`.

    Raises:
      UserError: a kernel out of range, text that is no list of ranges, or fewer active kernels
        than asked for.
    """
    if isinstance(choice, KernelChoice):
        wanted = choice.random or choice.most_active or choice.random_active or 0
        if wanted > layer.channels:
            raise UserError(
                f"{wanted} kernels are asked of {layer.name}, which has {layer.channels}."
            )
        if choice.random is not None:
            drawn = np.random.default_rng(choice.seed).permutation(layer.channels)[:wanted]
            return sorted(drawn.tolist())
        if choice.random_active is not None:
            if active_share is None:
                raise ValueError("random_active needs the shares of images with activity")
            return _draw_active(choice.random_active, choice.seed, layer, active_share)
        if activity is None:
            raise ValueError("most_active needs the kernels' activity")
        return np.argsort(-activity, kind="stable")[:wanted].tolist()
    if choice == "all":
        return list(range(layer.channels))
    kernels = _parse_ranges(choice, layer) if isinstance(choice, str) else list(choice)
    for kernel in kernels:
        if not 0 <= kernel < layer.channels:
            raise UserError(
                f"There is no kernel {kernel} in {layer.name}: "
                f"it has kernels 0 to {layer.channels - 1}."
            )
    if not kernels:
        raise UserError(f"No kernels are chosen in {layer.name}.")
    return list(dict.fromkeys(kernels))


def _draw_active(wanted: int, seed: int, layer: Layer, active_share: np.ndarray) -> list[int]:
    active = np.flatnonzero(active_share > 0.5)
    if wanted > len(active):
        raise UserError(
            f"{wanted} active kernels are asked of {layer.name}, but only {len(active)} of its "
            f"{layer.channels} answer to more than half of the images."
        )
    return sorted(np.random.default_rng(seed).permutation(active)[:wanted].tolist())


def _parse_ranges(text: str, layer: Layer) -> list[int]:
    kernels: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise UserError(
                f"The kernels of {layer.name} are {text!r}: "
                'give "all", a list, or ranges such as "0-7, 12".'
            )
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise UserError(f"The kernels {part.strip()!r} of {layer.name} run backwards.")
        # A range is checked by its end before it is written out: "0-999999999" is an error too.
        if last >= layer.channels:
            raise UserError(
                f"There is no kernel {last} in {layer.name}: "
                f"it has kernels 0 to {layer.channels - 1}."
            )
        kernels.extend(range(first, last + 1))
    return kernels


class Plan(Sequence[Job]):
    """Every kernel of every layer on every image, layer by layer and kernel by kernel.

    Jobs are worked out when they are asked for, so that a plan of millions costs nothing.

    Attributes:
      layers: the indices of each layer's jobs, in order.
    """

    def __init__(
        self,
        common: Mapping[str, Any],
        kernels: Mapping[str, Sequence[int]],
        digests: Sequence[str],
    ) -> None:
        """A plan.

        Args:
          common: what decides the results of all jobs alike: "method", "model", "settings" and
            "weights".
          kernels: by layer name, in order.
          digests: of the images, as `image_digest` gives them.
        """
        self._kernels = {layer: tuple(map(int, chosen)) for layer, chosen in kernels.items()}
        self._digests = tuple(digests)
        self.layers: dict[str, range] = {}
        stop = 0
        for layer, chosen in self._kernels.items():
            start, stop = stop, stop + len(chosen) * len(self._digests)
            self.layers[layer] = range(start, stop)
        self._names = list(self.layers)
        self._stops = [jobs.stop for jobs in self.layers.values()]
        # An identity's text but for its first two keys, image and kernel: `json.dumps` of the whole
        # would take ten times as long.
        self._tails = [
            json.dumps({**common, "layer": layer}, sort_keys=True)[1:] for layer in self._names
        ]
        if set(common) != {"method", "model", "settings", "weights"}:
            raise ValueError(f"an identity has other keys: {sorted(common)}")

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> list[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | list[Job]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[operator.index(index)]
        number = bisect.bisect_right(self._stops, place)
        layer = self._names[number]
        row, image = divmod(place - self.layers[layer].start, len(self._digests))
        kernel = self._kernels[layer][row]
        head = f'{{"image": "{self._digests[image]}", "kernel": {kernel}, '
        return Job(place, layer, kernel, image, _short_hash(head + self._tails[number]))

    def kernel_jobs(self, layer: str, kernel: int) -> range:
        """The jobs of one kernel, none if it is not in the plan."""
        kernels = self._kernels.get(layer, ())
        if kernel not in kernels:
            return range(0)
        start = self.layers[layer].start + kernels.index(kernel) * len(self._digests)
        return range(start, start + len(self._digests))


def plan_of(
    config: RunConfig,
    model: str,
    weights_sha256: str,
    kernels: Mapping[str, Sequence[int]],
    digests: Sequence[str],
) -> Plan:
    """The plan of a run of which only the record is at hand.

    Args:
      config: the run's.
      model, weights_sha256: name and hash of the network.
      kernels: by layer name, what `choose_kernels` gave.
      digests: of the images.
    """
    common = {
        "model": model,
        "weights": weights_sha256,
        "method": config.method,
        "settings": to_dict(config.suppression),
    }
    return Plan(common, kernels, digests)


def make_plan(
    config: RunConfig,
    network: Network,
    images: Sequence[NamedImage],
    kernels: Mapping[str, Sequence[int]],
) -> Plan:
    """All jobs, layer by layer, kernel by kernel.

    Args:
      config: the run's.
      network: whose weights' hash enters each job's.
      images: the images.
      kernels: by layer name, what `choose_kernels` gave.
    """
    digests = [image_digest(image) for image in images]
    return plan_of(config, network.name, network.weights_sha256, kernels, digests)


def job_id(identity: Mapping[str, Any]) -> str:
    """16 hex digits over all that decides a job's result."""
    return _short_hash(json.dumps(identity, sort_keys=True))


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def batches(
    jobs: Iterable[AnyJob], lanes: int, *, key: Callable[[AnyJob], Hashable]
) -> Iterator[list[AnyJob]]:
    """Jobs of the same key, `lanes` at a time, in the order of the plan."""
    groups: dict[Hashable, list[AnyJob]] = {}
    for job in jobs:
        groups.setdefault(key(job), []).append(job)
    for own in groups.values():
        for start in range(0, len(own), lanes):
            yield own[start : start + lanes]


def image_digest(image: NamedImage) -> str:
    """sha256 of an image's pixels, as 64 hex digits."""
    return hashlib.sha256(image.pixels.tobytes()).hexdigest()


def needs_activity(layer: LayerConfig) -> bool:
    """Whether choosing the layer's kernels needs their activity on the images."""
    choice = layer.kernels
    return isinstance(choice, KernelChoice) and choice.random is None
