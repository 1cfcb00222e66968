"""A dissection's config with everything that it names opened, and what its passes found."""

from __future__ import annotations

import dataclasses

from jaxinterp.data.concepts.concept_set import ConceptSet
from jaxinterp.dissect.class_images import ClassImages
from jaxinterp.dissect.classes import RunClass
from jaxinterp.dissect.config import DissectionConfig
from jaxinterp.dissect.relevance_pass import RelevancePass
from jaxinterp.methods.ablation_counts import AblationCounts
from jaxinterp.methods.ablation_plan import AblationPlan
from jaxinterp.methods.dissection import Dissection
from jaxinterp.methods.unit_effects import UnitEffects
from jaxinterp.models.network import Network
from jaxinterp.report.dissection_data import UnitExample

__all__ = ["Found", "Run"]


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A config with everything that it names opened.

    Attributes:
      config: as it was given.
      network: loaded; with [relevance], its first logits are those of the classes.
      layers: names of the taps whose units are dissected.
      ablated: those among them in which sets of units are turned off.
      size: height and width of the images, px.
      mask_size: height and width of the grid of the masks.
      concepts: all sources together; None without [[concepts]].
      classes: none without [relevance].
      train: the images of the relevance.
      test: those of the ablation.
    """

    config: DissectionConfig
    network: Network
    layers: tuple[str, ...]
    ablated: tuple[str, ...]
    size: int
    mask_size: int
    concepts: ConceptSet | None
    classes: tuple[RunClass, ...]
    train: ClassImages | None
    test: ClassImages | None


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What the passes found; None where the config does not ask for it.

    Attributes:
      dissection: IoU of units and concepts.
      examples: units to look at.
      relevance: of units for classes.
      plan: the sets of units that were turned off.
      counts: how the network does without them.
      effects: what each unit alone does, by layer.
    """

    dissection: Dissection | None = None
    examples: tuple[UnitExample, ...] = ()
    relevance: RelevancePass | None = None
    plan: AblationPlan | None = None
    counts: AblationCounts | None = None
    effects: dict[str, UnitEffects] | None = None
