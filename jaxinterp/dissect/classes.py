"""The classes that a dissection looks at: their logits, and the concepts that show them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from jaxinterp.data.concepts.class_concepts import class_concepts
from jaxinterp.data.concepts.concept_set import ConceptSet
from jaxinterp.dissect.config import ClassConfig
from jaxinterp.errors import UserError, nearest
from jaxinterp.models.network import Network

__all__ = ["RunClass", "count_logits", "resolve_classes"]


@dataclasses.dataclass(frozen=True)
class RunClass:
    """A class that relevance and ablation look at.

    Attributes:
      name: for people.
      logits: that stand for it, from 0; no logit stands for two classes.
      concept: the index of the concept that shows it; -1 if there is none.
    """

    name: str
    logits: tuple[int, ...]
    concept: int


def count_logits(network: Network, size: int) -> int:
    """How many logits the network has."""
    shape = (1, size, size, network.preprocess.channels)
    images = jax.ShapeDtypeStruct(shape, np.float32)
    return jax.eval_shape(network.apply, network.params, images).shape[-1]


def resolve_classes(
    wanted: Sequence[ClassConfig],
    network: Network,
    concepts: ConceptSet | None,
    *,
    logits: int,
    by_concept: bool = False,
) -> tuple[RunClass, ...]:
    """The classes of a run.

    Args:
      wanted: those of the config; none: all of the network's.
      network: its class names.
      concepts: among which a class's concept is sought; None: no class has one.
      logits: how many the network has.
      by_concept: without `wanted`, only classes that have a concept; several logits with the same
        concept, such as ImageNet's cats, are one class.

    Raises:
      UserError: a class or concept that does not exist (the nearest are named), a logit beyond the
        network's, a logit in two classes.
    """
    names = network.class_names or tuple(str(index) for index in range(logits))
    if not wanted and by_concept and concepts is not None:
        found = [
            RunClass(one.name, one.logits, one.concept) for one in class_concepts(concepts, names)
        ]
    elif not wanted:
        found = [
            RunClass(name, (index,), _concept(concepts, names, name))
            for index, name in enumerate(names)
        ]
    else:
        found = [_resolve(own, names, concepts) for own in wanted]
    taken: dict[int, str] = {}
    for own in found:
        for logit in own.logits:
            if not 0 <= logit < logits:
                raise UserError(
                    f"The class {own.name!r} has the logit {logit}, and {network.name} has "
                    f"{logits}, counted from 0."
                )
            if taken.setdefault(logit, own.name) != own.name:
                raise UserError(
                    f"The logit {logit} stands for both {taken[logit]!r} and {own.name!r}."
                )
    return tuple(found)


def _resolve(own: ClassConfig, names: Sequence[str], concepts: ConceptSet | None) -> RunClass:
    if own.concept and concepts is None:
        raise UserError(
            f"The class {own.name!r} names the concept {own.concept!r}, and there are no "
            "[[concepts]]."
        )
    concept = concepts.find(own.concept) if own.concept and concepts is not None else None
    if own.logits is not None:
        if not own.logits:
            raise UserError(f"The class {own.name!r} lists no logits.")
        if concept is None:
            concept = _concept(concepts, names, own.name) if own.concept is None else -1
        return RunClass(own.name, tuple(dict.fromkeys(own.logits)), concept)
    if own.concept is None and concepts is not None:
        # A word that several logits may share, such as "cat".
        try:
            one = class_concepts(concepts, names, wanted=[own.name])[0]
            return RunClass(own.name, one.logits, one.concept)
        except UserError:
            if own.name not in names:
                raise
    if own.name not in names:
        raise UserError(nearest(own.name, names, kind="class of the network"))
    if concept is None:
        concept = -1 if own.concept == "" else _concept(concepts, names, own.name)
    return RunClass(own.name, (list(names).index(own.name),), concept)


def _concept(concepts: ConceptSet | None, names: Sequence[str], name: str) -> int:
    """The index of the concept that shows a class, or -1."""
    if concepts is None:
        return -1
    try:
        return class_concepts(concepts, names, wanted=[name])[0].concept
    except UserError:
        return -1
