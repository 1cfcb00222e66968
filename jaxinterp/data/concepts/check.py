"""Reading a whole concept set once, to know that it can be used and what is in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxinterp.data.concepts.colours import name_colours
from jaxinterp.data.concepts.concept_set import ConceptSample, ConceptSet
from jaxinterp.data.concepts.problems import Problems
from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.errors import UserError

__all__ = ["ConceptCheck", "check_concepts"]


@dataclasses.dataclass(frozen=True, eq=False)
class ConceptCheck:
    """What is in a set.

    Attributes:
      concept_set: the set.
      images: images that were read.
      pixels: int64 [concepts], pixels of the images that carry each concept, at the size of its
        masks; a pixel in several planes counts once in each. Whole images count as their pixels.
      images_with: int64 [concepts], images that carry each concept.
      labelled_images: int64 [categories], images with a label of each category.
      unlabelled: images without any label.
      ignored: pixels whose label is not among the concepts of its category.
    """

    concept_set: ConceptSet
    images: int
    pixels: np.ndarray
    images_with: np.ndarray
    labelled_images: np.ndarray
    unlabelled: int
    ignored: int

    @property
    def empty(self) -> tuple[str, ...]:
        """The concepts that no image carries."""
        concepts = self.concept_set.concepts
        return tuple(str(concepts[index]) for index in np.flatnonzero(self.images_with == 0))


def check_concepts(
    concept_set: ConceptSet, *, advanced: Callable[[int], None] = lambda images: None
) -> ConceptCheck:
    """Reads every image and mask.

    Args:
      concept_set: the set.
      advanced: told the number of images read so far, after each.

    Raises:
      ConceptProblems: files that are missing or broken, masks of another size, labels beyond the
        list; the first ones in words. Reading stops when there are so many.
    """
    concepts = len(concept_set.concepts)
    pixels, images_with = np.zeros(concepts, np.int64), np.zeros(concepts, np.int64)
    labelled = np.zeros(len(concept_set.categories), np.int64)
    category_of = concept_set.category_of
    problems = Problems()
    unlabelled = ignored = 0
    for position in range(concept_set.count):
        try:
            sample = concept_set.read(position)
        except UnreadableImage as error:
            problems.add(f"An image of {concept_set.location} cannot be read: {error}.")
        except UserError as error:
            problems.add(str(error))
        else:
            own = _pixels(sample, concepts)
            pixels += own
            images_with += own > 0
            labelled[np.unique(category_of[own > 0])] += 1
            unlabelled += not own.any()
            ignored += sample.ignored
        advanced(position + 1)
        if problems.full:
            break
    problems.raise_any()
    return ConceptCheck(
        concept_set, concept_set.count, pixels, images_with, labelled, unlabelled, ignored
    )


def _pixels(sample: ConceptSample, concepts: int) -> np.ndarray:
    """int64 [concepts]: pixels of one image with each concept."""
    found = np.zeros(concepts, np.int64)
    planes = list(sample.planes.values())
    if sample.colour_bins is not None:
        planes.append(name_colours(sample.image, sample.colour_bins))
    for plane in planes:
        found += np.bincount(plane.ravel() + 1, minlength=concepts + 1)[1:]
    for concept in sample.whole:
        found[concept] = sample.image.shape[0] * sample.image.shape[1]
    return found
