"""What a comparison is told: the keys of `jaxinterp run`'s TOML file with method = "comparison"."""

from __future__ import annotations

import dataclasses
from typing import Literal

from jaxinterp.data.images import ImagesConfig
from jaxinterp.methods.suppression import SuppressionSettings
from jaxinterp.sweep.config import LayerConfig, ModelConfig

__all__ = ["FIGURES", "ComparisonConfig", "FigureKind", "VariantConfig"]

FigureKind = Literal["joint", "images", "layers", "pairs", "solutions"]

FIGURES: tuple[FigureKind, ...] = ("joint", "images", "layers", "pairs", "solutions")

_TITLES = {
    "suppression": "Suppression",
    "guided_backprop": "Guided backprop",
    "deconvnet": "Deconvnet",
    "lrp": "LRP",
}


@dataclasses.dataclass(frozen=True)
class VariantConfig:
    """A way to find the input that a kernel responds to.

    Attributes:
      method: which one.
      title: its name in tables and figures; the method's own unless given.
      settings: of "suppression"; the other methods have none.
    """

    method: Literal["suppression", "guided_backprop", "deconvnet", "lrp"]
    title: str = ""
    settings: SuppressionSettings | None = None

    def __post_init__(self) -> None:
        if self.settings is not None and self.method != "suppression":
            raise ValueError(f"settings belong to suppression, {self.method} has none")
        if not self.title.strip():
            object.__setattr__(self, "title", _TITLES[self.method])

    @property
    def suppression(self) -> SuppressionSettings:
        """The settings, the defaults where none are given."""
        return self.settings or SuppressionSettings()


@dataclasses.dataclass(frozen=True)
class ComparisonConfig:
    """A comparison: layers x kernels x images x variants.

    Attributes:
      output: the run folder.
      title: heading of the report.
      method: "comparison".
      model, images, layers: as in any run; `{ random_active = 4 }` is the paper's choice of
        kernels.
      variants: what is compared. Rows for the original and a blank image are always there.
      lanes: jobs at once.
      pairs: layers in which to find the two kernels with the most similar maps (Fig. 6 and 7).
        Their jobs are in no table.
      pair_images: so many images are shown of each pair: the one on which it was found, and the
        first others.
      figures: which to draw, of those that there is something to draw for.
      paper: which of the paper's tables is shown beside.
    """

    output: str
    layers: tuple[LayerConfig, ...]
    images: ImagesConfig
    variants: tuple[VariantConfig, ...]
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    title: str = "Suppression and its baselines"
    method: Literal["comparison"] = "comparison"
    lanes: int = 32
    pairs: tuple[str, ...] = ()
    pair_images: int = 4
    figures: tuple[FigureKind, ...] = FIGURES
    paper: Literal["table1", "table2"] | None = None

    def __post_init__(self) -> None:
        if not self.output.strip():
            raise ValueError("output is the run folder's name, and must not be empty")
        if not self.layers:
            raise ValueError("a comparison needs at least one of [[layers]]")
        if not self.variants:
            raise ValueError("a comparison needs at least one of [[variants]]")
        if self.lanes < 1:
            raise ValueError(f"lanes must be at least 1, got {self.lanes}")
        if self.pair_images < 1:
            raise ValueError(f"pair_images must be at least 1, got {self.pair_images}")
        for kind, names in (
            ("layer", [layer.name for layer in self.layers]),
            ("pair's layer", list(self.pairs)),
        ):
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"the {kind} {name!r} is listed twice")
        titles = [variant.title for variant in self.variants]
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"two variants have the title {title!r}: give each its own")
