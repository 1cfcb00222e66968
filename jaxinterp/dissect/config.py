"""What a dissection is told: a TOML file with `method = "dissection"`."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from jaxinterp.attribution.quadrature import METHODS
from jaxinterp.errors import UserError, nearest
from jaxinterp.sweep.config import ModelConfig

__all__ = [
    "AblationConfig",
    "ClassConfig",
    "ConceptsConfig",
    "DissectionConfig",
    "DissectionSettings",
    "LabelledConfig",
    "RelevanceConfig",
]


@dataclasses.dataclass(frozen=True)
class ConceptsConfig:
    """Annotated images that units are compared with.

    Attributes:
      source: a Broden folder, a segmentation folder, a folder of texture folders, or
        `an8flower:VARIANT[:COUNT]` (see `jaxinterp.data.concepts.source`).
      split: of the source, if it has several; None takes all.
      categories: only these; None takes all but whole-image labels ("scene", "texture"), which the
        paper leaves out.
      limit: only so many images, spread evenly over the source.
    """

    source: str
    split: str | None = None
    categories: tuple[str, ...] | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise ValueError("source names the annotated images, and must not be empty")
        if self.categories is not None and not self.categories:
            raise ValueError("categories lists at least one, or is left out for all")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")


@dataclasses.dataclass(frozen=True)
class DissectionSettings:
    """How units are compared with concepts.

    Attributes:
      mode: "paper", "v1" or "lite": see `jaxinterp.methods.dissection`.
      share: a unit's threshold is exceeded at this share of all positions.
      cutoff: a unit is a detector of its best concept if their IoU is above.
      mask_size: height and width of the grid on which is counted, px; None takes half the image's.
      fit: "crop" resizes an image's shorter side and takes the centre; "squash" resizes both.
      colours: whether the colour name of every pixel is a concept, too; a file takes van de
        Weijer's probabilities (w2c) or a table of names instead of our prototypes.
    """

    mode: Literal["paper", "v1", "lite"] = "paper"
    share: float = 0.005
    cutoff: float = 0.04
    mask_size: int | None = None
    fit: Literal["crop", "squash"] = "crop"
    colours: bool | str = False

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share must lie between 0 and 1, got {self.share}")
        if not 0 <= self.cutoff < 1:
            raise ValueError(f"cutoff must be at least 0 and below 1, got {self.cutoff}")
        if self.mask_size is not None and self.mask_size < 1:
            raise ValueError(f"mask_size must be at least 1 px, got {self.mask_size}")


@dataclasses.dataclass(frozen=True)
class LabelledConfig:
    """Labelled images.

    Attributes:
      source: class folders, a pack, `tfds:NAME` or CIFAR-10 (see `jaxinterp.data.source`),
        `an8flower:VARIANT[:COUNT]`, or, for the relevance, "concepts": those concept images that
        show a class's concept, once for each class that they show.
      split: of the source.
      per_class: at most so many of a class, the first ones.
    """

    source: str
    split: str | None = None
    per_class: int | None = None

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise ValueError("source names the labelled images, and must not be empty")
        if self.per_class is not None and self.per_class < 1:
            raise ValueError(f"per_class must be at least 1, got {self.per_class}")


@dataclasses.dataclass(frozen=True)
class ClassConfig:
    """A class that relevance and ablation look at.

    Attributes:
      name: for people.
      logits: the network's logits that stand for it (from 0); None finds them by the name. Several
        are one class: its probability is their sum, and an image is right if that is the highest.
      concept: the concept that shows it, `name` or `category:name`; None looks for the class's name
        among the concepts; "" is none.
    """

    name: str
    logits: tuple[int, ...] | None = None
    concept: str | None = None


@dataclasses.dataclass(frozen=True)
class RelevanceConfig:
    """Class-specific relevance, Eq. 3.

    Attributes:
      images: the images over which it is averaged.
      masks: what it is summed over: "object", "discriminative" (an8Flower: the part that defines
        the class) or "none", the whole image.
      path: "input" (conductance) or "layer", see `jaxinterp.methods.class_relevance`.
      part: "absolute", "positive" or "negative".
      sum_over: "pixels" of the masks, as the paper; "positions" of the layer's maps, which makes
        layers of different size comparable (Fig. 4). The order of a layer's units is the same.
      baseline: where the paths begin: "black", "mean" (zero in the network's normalised input),
        "white" or "blur".
      steps: points on a path.
      quadrature: how it is integrated, as in `jaxinterp.attribution.integrated_gradients`.
    """

    images: LabelledConfig
    masks: Literal["object", "discriminative", "none"] = "object"
    path: Literal["input", "layer"] = "input"
    part: Literal["absolute", "positive", "negative"] = "absolute"
    sum_over: Literal["pixels", "positions"] = "pixels"
    baseline: Literal["black", "mean", "white", "blur"] = "black"
    steps: int = 20
    quadrature: str = "gauss_legendre"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.quadrature not in METHODS:
            raise UserError(nearest(self.quadrature, METHODS, kind="relevance.quadrature"))


@dataclasses.dataclass(frozen=True)
class AblationConfig:
    """What is switched off, and on which images the accuracies are measured.

    Attributes:
      images: other ones than those of the relevance.
      shares: of each layer's units, at least one.
      draws: so many random choices of units are the control.
      value: what an ablated unit answers: "zero", or its "mean" over the images of the relevance.
      layers: in which units are ablated; None takes all but the first and the last.
      units: whether each unit is also ablated alone.
      seed: of the random choices and of the intervals.
    """

    images: LabelledConfig
    shares: tuple[float, ...] = (0.01, 0.02, 0.03)
    draws: int = 20
    value: Literal["zero", "mean"] = "zero"
    layers: tuple[str, ...] | None = None
    units: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            raise ValueError(f"shares lie above 0 and up to 1, got {list(self.shares)}")
        if self.layers is not None and not self.layers:
            raise ValueError("layers lists at least one layer, or is left out")
        if len(set(self.shares)) < len(self.shares):
            raise ValueError(f"shares are given once each, got {list(self.shares)}")
        if self.images.source == "concepts":
            raise ValueError(
                'images.source is "concepts", and their classes are not known for certain: '
                "accuracy needs labelled images"
            )
        if self.draws < 2:
            raise ValueError(f"draws must be at least 2, got {self.draws}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")


@dataclasses.dataclass(frozen=True)
class DissectionConfig:
    """A whole dissection: any of its three parts may be left out.

    Attributes:
      output: the run folder.
      title: heading of the report.
      method: "dissection".
      model: the network.
      layers: whose units are dissected; None takes every convolution's, after its ReLU.
      size: height and width of the images, px; None takes the network's own.
      batch_size: images at once.
      concepts: the annotated images, all sources together; none: no unit is compared with concepts.
      dissection: how.
      classes: those of relevance and ablation; none given: all of the network's.
      relevance: the class-specific relevance; None: none.
      ablation: needs the relevance; None: none.
      examples: so many units are shown with their images.
    """

    # A folder may be gone on with although these have changed: passes know what they stand on.
    FREE_KEYS: ClassVar[tuple[str, ...]] = (
        *("output", "title", "examples", "batch_size", "ablation", "dissection.cutoff"),
    )

    output: str
    title: str = "Units, concepts and classes"
    method: Literal["dissection"] = "dissection"
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    layers: tuple[str, ...] | None = None
    size: int | None = None
    batch_size: int = 16
    concepts: tuple[ConceptsConfig, ...] = ()
    dissection: DissectionSettings = dataclasses.field(default_factory=DissectionSettings)
    classes: tuple[ClassConfig, ...] = ()
    relevance: RelevanceConfig | None = None
    ablation: AblationConfig | None = None
    examples: int = 12

    def __post_init__(self) -> None:
        if not self.output.strip():
            raise ValueError("output is the run folder's name, and must not be empty")
        if self.layers is not None and not self.layers:
            raise ValueError("layers lists at least one layer, or is left out for all")
        if self.size is not None and self.size < 1:
            raise ValueError(f"size must be at least 1 px, got {self.size}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.examples < 0:
            raise ValueError(f"examples must be at least 0, got {self.examples}")
        if not self.concepts and self.relevance is None:
            raise ValueError("a dissection needs [[concepts]], [relevance], or both")
        if "://" in self.output:
            raise ValueError(f"a dissection is kept on this machine's disks, not in {self.output}")
        if self.classes and self.relevance is None:
            raise ValueError("[[classes]] are looked at by [relevance], which is missing")
        if self.ablation is not None and self.relevance is None:
            raise ValueError("[ablation] chooses units by [relevance], which is missing")
        by_concept = self.relevance is not None and self.relevance.images.source == "concepts"
        if by_concept and not self.concepts:
            raise ValueError('relevance.images.source is "concepts", and there are none')
        names = [own.name for own in self.classes]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the class {name!r} is listed twice")
