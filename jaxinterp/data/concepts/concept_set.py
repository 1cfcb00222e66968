"""Images whose pixels are labelled with concepts, wherever they come from.

A concept is a word in a category: "red" among the colours, "cat" among the objects. An image can
carry concepts at pixels, in any number of overlapping planes for each category, and concepts that
hold for the whole image, such as a scene or a texture (Network Dissection, Bau et al. 2017,
section 2.1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxinterp.data.positions import spread_evenly
from jaxinterp.errors import UserError, nearest

__all__ = ["LEFT_OUT", "Concept", "ConceptSample", "ConceptSet"]

LEFT_OUT: tuple[str, ...] = ("scene", "texture")
"""Categories that are left out unless asked for, as Islam and Tushar do: they label whole images,
so they say nothing of where a unit responds."""


@dataclasses.dataclass(frozen=True)
class Concept:
    """A word in a category; equal words in two categories are two concepts."""

    name: str
    category: str

    def __str__(self) -> str:
        return f"{self.category}:{self.name}"


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptSample:
    """One image and its labels.

    Attributes:
      name: in messages and tables; a path below the set, or a number.
      image: uint8 [h, w, 3], RGB.
      planes: for each category that labels pixels, int32 [layers, sh, sw]: indices of concepts, -1
        where there is none. The planes lie over the whole image; their sides need not be its own.
      whole: the concepts that hold for the whole image.
      colour_bins: int32 [32, 32, 32], if pixels are to be labelled with the names of their colours:
        the concept of the colour with R // 8, G // 8, B // 8, or -1.
      ignored: pixels whose label is known but is not among the concepts of its category.
    """

    name: str
    image: np.ndarray
    planes: Mapping[str, np.ndarray]
    whole: tuple[int, ...] = ()
    colour_bins: np.ndarray | None = None
    ignored: int = 0

    def renumbered(self, table: np.ndarray) -> ConceptSample:
        """The same sample in other indices.

        Args:
          table: int32 [concepts + 1], the new index by the old one, -1 for a concept that is left
            out; its last value is -1, so that "none" remains none. Planes that become empty stay.
        """
        return dataclasses.replace(
            self,
            planes={category: table[plane] for category, plane in self.planes.items()},
            whole=tuple(int(table[one]) for one in self.whole if table[one] >= 0),
            colour_bins=None if self.colour_bins is None else table[self.colour_bins],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptSet:
    """A set of labelled images of any size, read one at a time.

    Attributes:
      kind: what was recognised, in words ("Broden layout").
      location: the path or name that was given.
      concepts: by index; no two are equal.
      holds: for each image, the categories in which it may carry labels. Its length is the number
        of images.
      read: the sample at a position from 0 to count - 1; may be called from several threads. It
        raises `UnreadableImage` if a file of this one is missing or broken, and `UserError` if its
        files contradict the set: a mask of another size, a label beyond the list.
      splits: for each image the split that it belongs to, if the set has splits.
      notes: what else the user should know, a sentence each.
    """

    kind: str
    location: str
    concepts: tuple[Concept, ...]
    holds: tuple[frozenset[str], ...]
    read: Callable[[int], ConceptSample]
    splits: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many images."""
        return len(self.holds)

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories of the concepts, in the order in which they first occur."""
        return tuple(dict.fromkeys(concept.category for concept in self.concepts))

    @property
    def category_of(self) -> np.ndarray:
        """int32 [concepts]: the index into `categories` of each concept."""
        order = {category: index for index, category in enumerate(self.categories)}
        return np.asarray([order[concept.category] for concept in self.concepts], np.int32)

    def find(self, name: str, *, category: str | None = None) -> int:
        """The index of a concept by its name, or by "category:name".

        A name in several categories is the one of the category that comes first in `categories`.

        Raises:
          UserError: there is none; the nearest are named.
        """
        for index in self._candidates(name, category):
            return index
        raise UserError(self._unknown(name, category))

    def has(self, name: str, *, category: str | None = None) -> bool:
        """Whether `find` would find a concept."""
        return bool(self._candidates(name, category))

    def select(
        self, categories: Sequence[str] | None = None, *, exclude: Sequence[str] = LEFT_OUT
    ) -> ConceptSet:
        """The set with the concepts of some categories; the others are renumbered away.

        Images that can carry no label of these categories are left out, as in Network Dissection.

        Args:
          categories: those to keep, in any order; `exclude` then means nothing. None keeps all
            categories but `exclude`.
          exclude: left out if the set has them.

        Raises:
          UserError: a category that the set does not have, or no concept that is left.
        """
        for category in categories or ():
            if category not in self.categories:
                raise UserError(f"{self.location}: {self._no_category(category)}")
        kept = [
            category
            for category in self.categories
            if (category in categories if categories is not None else category not in exclude)
        ]
        if not kept:
            raise UserError(
                f"{self.location} has concepts of {', '.join(self.categories) or 'no category'} "
                "alone, which are left out unless asked for: name them in categories."
            )
        if len(kept) == len(self.categories):
            chosen = self
        else:
            chosen = self._keep([i for i, one in enumerate(self.concepts) if one.category in kept])
        positions = [i for i, held in enumerate(chosen.holds) if held]
        if len(positions) == chosen.count:
            return chosen
        if not positions:
            raise UserError(f"No image of {self.location} has labels of {', '.join(kept)}.")
        note = (
            f"{chosen.count - len(positions)} of {chosen.count} images have no labels of "
            f"{', '.join(kept)}: left out."
        )
        return dataclasses.replace(chosen.at(positions), notes=(*chosen.notes, note))

    def in_split(self, split: str | None) -> ConceptSet:
        """The images of one split; all of them for None.

        Raises:
          UserError: the set has no splits, or not this one.
        """
        if split is None:
            return self
        if self.splits is None:
            raise UserError(f"{self.location} has no splits, so there is no split {split!r}.")
        names = tuple(dict.fromkeys(self.splits))
        if split not in names:
            raise UserError(f"{self.location}: {nearest(split, names, kind='split')}")
        return self.at([i for i, own in enumerate(self.splits) if own == split])

    def take(self, count: int | None) -> ConceptSet:
        """So many images, spread evenly over the set; all of them for None or a larger number.

        Raises:
          UserError: `count` is below 1.
        """
        if count is not None and count < 1:
            raise UserError(f"At least 1 image must be taken from {self.location}, got {count}.")
        return self if count is None else self.at(spread_evenly(self.count, count))

    def at(self, positions: Sequence[int]) -> ConceptSet:
        """The images at some positions, in this order."""
        positions = tuple(positions)
        read = self.read
        return dataclasses.replace(
            self,
            holds=tuple(self.holds[position] for position in positions),
            splits=self.splits and tuple(self.splits[position] for position in positions),
            read=lambda position: read(positions[position]),
        )

    def _keep(self, kept: Sequence[int]) -> ConceptSet:
        """The set with some of its concepts, by their indices, in this order."""
        table = np.full(len(self.concepts) + 1, -1, np.int32)
        table[list(kept)] = np.arange(len(kept))
        concepts = tuple(self.concepts[index] for index in kept)
        categories = {concept.category for concept in concepts}
        read = self.read

        def read_kept(position: int) -> ConceptSample:
            sample = read(position)
            colour_bins = sample.colour_bins
            if colour_bins is not None and not (table[colour_bins] >= 0).any():
                sample = dataclasses.replace(sample, colour_bins=None)
            planes = {name: one for name, one in sample.planes.items() if name in categories}
            return dataclasses.replace(sample, planes=planes).renumbered(table)

        holds = tuple(held & categories for held in self.holds)
        return dataclasses.replace(self, concepts=concepts, holds=holds, read=read_kept)

    def _candidates(self, name: str, category: str | None) -> list[int]:
        """Indices of the concepts that a name can mean, the best one first."""
        exact = [
            index
            for index, concept in enumerate(self.concepts)
            if (concept.name == name and category in (None, concept.category))
            or (category is None and str(concept) == name)
        ]
        if exact:
            order = {own: index for index, own in enumerate(self.categories)}
            return sorted(exact, key=lambda index: order[self.concepts[index].category])
        folded = _plain(name)
        return [
            index
            for index, concept in enumerate(self.concepts)
            if (_plain(concept.name) == folded and category in (None, concept.category))
            or (category is None and _plain(str(concept)) == folded)
        ]

    def _unknown(self, name: str, category: str | None) -> str:
        if category is not None and category not in self.categories:
            return f"{self.location}: {self._no_category(category)}"
        own = [one for one in self.concepts if category in (None, one.category)]
        full = category is None and ":" in name
        choices = dict.fromkeys(str(concept) if full else concept.name for concept in own)
        kind = "concept" if category is None else f"concept of the category {category}"
        return f"{self.location}: {nearest(name, choices, kind=kind)}"

    def _no_category(self, category: str) -> str:
        return nearest(category, self.categories, kind="category")


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
