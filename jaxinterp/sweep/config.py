"""What a run is told: the keys of `jaxinterp run`'s TOML file."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxinterp.data.images import ImagesConfig
from jaxinterp.methods.suppression import SuppressionSettings

__all__ = ["KernelChoice", "LayerConfig", "ModelConfig", "ReportConfig", "RunConfig"]


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
class RunConfig:
    """A whole run.

    Attributes:
      output: the run folder.
      title: heading of the report.
      method: what is done; "suppression" so far.
      model, images, layers: what it is done with.
      lanes: optimisations at once.
      suppression: the method's own settings.
      report: what is written for people.
    """

    output: str
    layers: tuple[LayerConfig, ...]
    images: ImagesConfig
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    title: str = "Kernels by suppression"
    method: Literal["suppression"] = "suppression"
    lanes: int = 32
    suppression: SuppressionSettings = dataclasses.field(default_factory=SuppressionSettings)
    report: ReportConfig = dataclasses.field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        if not self.output.strip():
            raise ValueError("output is the run folder's name, and must not be empty")
        if not self.layers:
            raise ValueError("a run needs at least one of [[layers]]")
        if self.lanes < 1:
            raise ValueError(f"lanes must be at least 1, got {self.lanes}")
        names = [layer.name for layer in self.layers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the layer {name!r} is listed twice")
