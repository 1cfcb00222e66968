"""What is optimised: network, layer, pictures and kernels."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np

from jaxinterp.bench.settings import BenchSettings
from jaxinterp.data.images import ImagesConfig, load_images
from jaxinterp.errors import UserError, nearest
from jaxinterp.methods.layer_maps import layer_maps
from jaxinterp.models.network import Network
from jaxinterp.weights.load import load

__all__ = [
    "DEVICES_PROBLEMS",
    "EQUAL_LOSS_PROBLEMS",
    "REFILL_PROBLEMS",
    "STEP_PROBLEMS",
    "Problem",
    "ProblemPlan",
    "choose",
    "make_problem",
]

_PICTURES = ("astronaut", "coffee")
# A segment's length where the steps are one program on the device.
_ACCELERATOR_SEGMENT = 25


@dataclasses.dataclass(frozen=True)
class ProblemPlan:
    """A problem before anything is loaded.

    Attributes:
      network: a name from `jaxinterp models`.
      layer: whose kernels.
      size: side of the square images, px.
      lanes: optimisations at once.
      segment: steps between two looks at the clock on a CPU: about half a second.
    """

    network: str
    layer: str
    size: int
    lanes: int
    segment: int

    def __str__(self) -> str:
        return f"{self.network} {self.layer}, {self.size} px, {self.lanes} lanes"

    def fits(self, word: str) -> bool:
        """Whether NETWORK, NETWORK:LAYER or NETWORK:LAYER:SIZE means this problem."""
        own = (self.network, self.layer, str(self.size))
        asked = tuple(word.split(":"))
        return asked == own[: len(asked)]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem that can be measured.

    Attributes:
      plan: what it was made from.
      network: with its weights.
      images: of the lanes, float32 [lanes, size, size, 3] in [0, 1].
      kernels: of the lanes, int32 [lanes].
      segment: steps between two looks at the clock on this device.
    """

    plan: ProblemPlan
    network: Network
    images: np.ndarray
    kernels: np.ndarray
    segment: int

    @property
    def lanes(self) -> int:
        """How many."""
        return len(self.kernels)


STEP_PROBLEMS = (
    ProblemPlan("vgg_cifar10", "relu2_2", 48, 32, 15),
    ProblemPlan("vgg_cifar10", "relu3_3", 48, 32, 8),
    ProblemPlan("resnet18", "layer2.1", 112, 8, 5),
    ProblemPlan("resnet18", "layer3.1", 112, 8, 5),
    ProblemPlan("resnet18", "layer2.1", 224, 8, 2),
    ProblemPlan("resnet18", "layer3.1", 224, 8, 2),
    ProblemPlan("vgg16", "relu4_3", 224, 4, 1),
)

EQUAL_LOSS_PROBLEMS = (
    ProblemPlan("vgg_cifar10", "relu2_2", 48, 32, 5),
    ProblemPlan("vgg_cifar10", "relu3_3", 48, 32, 5),
    ProblemPlan("resnet18", "layer2.1", 112, 8, 5),
)

REFILL_PROBLEMS = (
    ProblemPlan("vgg_cifar10", "relu3_3", 48, 16, 5),
    ProblemPlan("resnet18", "layer2.1", 112, 16, 5),
)

DEVICES_PROBLEMS = (ProblemPlan("vgg_cifar10", "relu3_3", 48, 32, 20),)

_QUICK = (ProblemPlan("vgg_cifar10", "relu2_2", 32, 4, 2),)


def choose(plans: Sequence[ProblemPlan], settings: BenchSettings) -> tuple[ProblemPlan, ...]:
    """Those that the settings ask for.

    Raises:
      UserError: a word of `settings.only` that no problem of the case fits.
    """
    if settings.quick:
        return _QUICK
    for word in settings.only:
        if not any(plan.fits(word) for plan in plans):
            words = dict.fromkeys(f"{p.network}:{p.layer}:{p.size}" for p in plans)
            known = [*dict.fromkeys(p.network for p in plans), *words]
            raise UserError(nearest(word, known, kind="problem"))
    wanted = settings.only or ("",)
    return tuple(p for p in plans if any(not w or p.fits(w) for w in wanted))


def make_problem(plan: ProblemPlan, settings: BenchSettings) -> Problem:
    """Loads a problem: two pictures, and the layer's most active kernels on each.

    The weights are those of the package, of `settings.weights` (ResNet-18), or random.

    Raises:
      UserError: weights that cannot be used, or an unknown layer.
    """
    network = _network(plan.network, settings.weights if plan.network == "resnet18" else None)
    pictures = _PICTURES[: plan.lanes]
    named, _ = load_images(ImagesConfig(size=plan.size, pictures=pictures))
    pixels = np.stack([image.pixels for image in named])
    maps = jax.jit(layer_maps(network, plan.layer))(network.params, network.preprocess(pixels))
    activity = np.asarray(maps).mean((0, 1, 2))
    most = np.argsort(-activity)[: -(-plan.lanes // len(pixels))]
    jobs = np.arange(plan.lanes)
    on_cpu = jax.default_backend() == "cpu"
    return Problem(
        plan=plan,
        network=network,
        images=pixels[jobs % len(pixels)].astype(np.float32),
        kernels=most[jobs // len(pixels) % len(most)].astype(np.int32),
        segment=plan.segment if on_cpu else _ACCELERATOR_SEGMENT,
    )


@functools.cache
def _network(name: str, weights: str | None) -> Network:
    if weights is None and name != "vgg_cifar10":
        weights = "random"
    return load(name, weights=weights)
