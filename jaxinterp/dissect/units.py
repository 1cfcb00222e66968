"""Dissecting from Python, without a run folder."""

from __future__ import annotations

from collections.abc import Sequence

from jaxinterp.data.concepts.concept_set import ConceptSet
from jaxinterp.dissect.concept_passes import ConceptPasses
from jaxinterp.dissect.config import DissectionSettings
from jaxinterp.dissect.listener import DissectionListener
from jaxinterp.dissect.passes import Unkept
from jaxinterp.errors import UserError
from jaxinterp.methods.ablation_layers import ablatable_layers
from jaxinterp.methods.dissection import Dissection
from jaxinterp.models.network import Network
from jaxinterp.sweep.manifest import check_image_size

__all__ = ["default_mask_size", "dissect_units", "unit_layers"]


def dissect_units(
    network: Network,
    concepts: ConceptSet,
    layers: Sequence[str] | None = None,
    *,
    settings: DissectionSettings | None = None,
    size: int | None = None,
    batch_size: int = 16,
    listener: DissectionListener | None = None,
) -> Dissection:
    """Network Dissection of several layers in two passes over the images.

    Args:
      network: whose units are compared with concepts.
      concepts: annotated images, as `jaxinterp.data.concepts.read_concepts` gives them.
      layers: names or aliases from the layer table; None takes every convolution's units, after
        their ReLU.
      settings: how, see there; `colours` and `cutoff` mean nothing here.
      size: height and width of the images, px; None takes the network's own.
      batch_size: images at once.
      listener: is told how far it is.

    Raises:
      UserError: an unknown layer, one without maps, a size that does not fit the network, concept
        data that contradicts itself.

    Example:
      >>> concepts = read_concepts("an8flower:single-6c:200")
      >>> found = dissect_units(jaxinterp.load("flower_single"), concepts, ["relu3", "relu4"])
      >>> found.top("relu4", k=3).iou.shape
      (96, 3)
    """
    settings = settings or DissectionSettings()
    listener = listener or DissectionListener()
    size = size or network.preprocess.size
    check_image_size(network, size, key="size")
    passes = ConceptPasses(
        network,
        unit_layers(network, layers),
        concepts,
        settings,
        size=size,
        mask_size=settings.mask_size or default_mask_size(size),
        batch_size=batch_size,
    )
    file = Unkept()
    thresholds = passes.thresholds(file, listener)
    for name, reason in file.unreadable:
        listener.note(f"left out {name}: {reason}")
    return passes.dissection(thresholds, Unkept(), listener, best=1)[0]


def default_mask_size(size: int) -> int:
    """Half the image's side, as in Broden."""
    return max(1, size // 2)


def unit_layers(network: Network, names: Sequence[str] | None) -> tuple[str, ...]:
    """The layers whose units are dissected: those named, or every convolution's after its ReLU.

    A block's last convolution has no ReLU of its own; its units are those of the block's output.

    Raises:
      UserError: an unknown layer (the nearest are named), or one without feature maps.
    """
    if names is None:
        return ablatable_layers(network, ends=True, residual="block")
    rows = [network.layers.find(name) for name in names]
    for row in rows:
        if not row.is_map or not row.channels:
            raise UserError(f"The layer {row.name!r} has no feature maps [n, h, w, kernels].")
    return tuple(dict.fromkeys(row.name for row in rows))
