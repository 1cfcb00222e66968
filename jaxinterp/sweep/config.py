"""What a run is told: the keys of `jaxinterp run`'s TOML file."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxinterp.data.images import ImagesConfig
from jaxinterp.methods.layer_maps import Compute
from jaxinterp.methods.suppression import SuppressionSettings

__all__ = [
    "KernelChoice",
    "LayerConfig",
    "ModelConfig",
    "ReportConfig",
    "RunConfig",
    "StoreConfig",
]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Attributes:
      name: from `jaxinterp models`.
      weights: a weights file; None takes those that come with the package or were fetched;
        "random".
      classes: number of logits, if it is not the published one.
    """

    name: str = "vgg_cifar10"
    weights: str | None = None
    classes: int | None = None

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes < 1:
            raise ValueError(f"classes must be at least 1, got {self.classes}")


@dataclasses.dataclass(frozen=True)
class KernelChoice:
    """Kernels chosen by a rule; give exactly one of the three numbers.

    Attributes:
      random: so many, drawn without replacement.
      seed: of the draw.
      most_active: those with the largest mean activation over the run's images.
      random_active: so many, drawn among those that are not silent on most of the run's images.
    """

    random: int | None = None
    seed: int = 0
    most_active: int | None = None
    random_active: int | None = None

    def __post_init__(self) -> None:
        numbers = (self.random, self.most_active, self.random_active)
        given = [number for number in numbers if number is not None]
        if len(given) != 1:
            raise ValueError("choose kernels by one of `random`, `most_active`, `random_active`")
        if given[0] < 1:
            raise ValueError("the number of kernels must be at least 1")


@dataclasses.dataclass(frozen=True)
class LayerConfig:
    """A layer and its kernels.

    Attributes:
      name: a name or alias from `jaxinterp models NAME`.
      kernels: "all", a list, ranges as text ("0-7, 12"), or a table (see `KernelChoice`).
    """

    name: str
    kernels: str | tuple[int, ...] | KernelChoice = "all"


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """What is written for people.

    Attributes:
      figures: at most so many PNG figures; 0 for none.
    """

    figures: int = 64

    def __post_init__(self) -> None:
        if self.figures < 0:
            raise ValueError(f"figures must be at least 0, got {self.figures}")


@dataclasses.dataclass(frozen=True)
class StoreConfig:
    """How results are kept.

    Attributes:
      images: the type of the stored images: "float32", "bfloat16" (half the size, three digits) or
        "uint8" (a quarter, for images in [0, 1], rounded to 1/255).
      checkpoint: segments between two checkpoints of the lanes' state; 0 for none.
    """

    images: Literal["float32", "bfloat16", "uint8"] = "float32"
    checkpoint: int = 6

    def __post_init__(self) -> None:
        if self.checkpoint < 0:
            raise ValueError(f"checkpoint must be at least 0 segments, got {self.checkpoint}")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Attributes:
      output: the run folder.
      title: heading of the report.
      method: what is done; "suppression" so far.
      model, images, layers: what it is done with.
      lanes: optimisations at once, on all devices of a process together; "auto" chooses by the
        device and its memory.
      devices: how many of a process's devices share them; None takes all.
      suppression: the method's own settings.
      compute: how the network is computed.
      store: how results are kept.
      report: what is written for people.
    """

    output: str
    layers: tuple[LayerConfig, ...]
    images: ImagesConfig
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    title: str = "Kernels by suppression"
    method: Literal["suppression"] = "suppression"
    lanes: int | Literal["auto"] = "auto"
    devices: int | None = None
    suppression: SuppressionSettings = dataclasses.field(default_factory=SuppressionSettings)
    compute: Compute = dataclasses.field(default_factory=Compute)
    store: StoreConfig = dataclasses.field(default_factory=StoreConfig)
    report: ReportConfig = dataclasses.field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        if not self.output.strip():
            raise ValueError("output is the run folder's name, and must not be empty")
        if not self.layers:
            raise ValueError("a run needs at least one of [[layers]]")
        if self.lanes != "auto" and self.lanes < 1:
            raise ValueError(f"lanes must be at least 1, got {self.lanes}")
        if self.devices is not None and self.devices < 1:
            raise ValueError(f"devices must be at least 1, got {self.devices}")
        if self.store.images == "uint8" and not self.suppression.bounded:
            raise ValueError(
                "store.images is 'uint8', which holds pixels in [0, 1] only, and "
                "suppression.bounded is false: take 'bfloat16'"
            )
        names = [layer.name for layer in self.layers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the layer {name!r} is listed twice")
