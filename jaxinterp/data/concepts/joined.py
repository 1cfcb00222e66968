"""Several concept sets as one."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

import numpy as np

from jaxinterp.data.concepts.concept_set import Concept, ConceptSample, ConceptSet
from jaxinterp.errors import UserError

__all__ = ["join"]


def join(sets: Sequence[ConceptSet]) -> ConceptSet:
    """The images of all sets, one set after the other; equal concepts become one.

    An image keeps the categories of its own set: one of a set without materials tells nothing of
    materials, and `ConceptSet.holds` says so.

    Args:
      sets: at least one. If some have splits and others not, the images of the others are in the
        split "" (none).

    Raises:
      UserError: no set is given.
    """
    if not sets:
        raise UserError("No concept data is given: name at least one set.")
    if len(sets) == 1:
        return sets[0]
    concepts = tuple(dict.fromkeys(itertools.chain.from_iterable(one.concepts for one in sets)))
    # Concepts of a category that two sets share stand together, in the order of the categories.
    order = {name: i for i, name in enumerate(dict.fromkeys(one.category for one in concepts))}
    concepts = tuple(sorted(concepts, key=lambda concept: order[concept.category]))
    tables = [_table(one.concepts, concepts) for one in sets]
    ends = list(itertools.accumulate(one.count for one in sets))

    def read(position: int) -> ConceptSample:
        which = bisect.bisect_right(ends, position)
        own = position - (ends[which] - sets[which].count)
        return sets[which].read(own).renumbered(tables[which])

    splits = None
    if any(one.splits is not None for one in sets):
        splits = tuple(split for one in sets for split in one.splits or ("",) * one.count)
    return ConceptSet(
        kind=" + ".join(dict.fromkeys(one.kind for one in sets)),
        location=" + ".join(one.location for one in sets),
        concepts=concepts,
        holds=tuple(held for one in sets for held in one.holds),
        read=read,
        splits=splits,
        notes=tuple(f"{one.location}: {note}" for one in sets for note in one.notes),
    )


def _table(own: Sequence[Concept], common: Sequence[Concept]) -> np.ndarray:
    """int32 [own + 1]: the common index of each own one; -1 for -1."""
    index = {concept: position for position, concept in enumerate(common)}
    return np.asarray([*(index[concept] for concept in own), -1], np.int32)
