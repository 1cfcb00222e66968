"""Which concept each class of a network is looked for by.

A class-specific relevance (Islam and Tushar, Eq. 3) needs images in which the class's object is
marked. Classes of a network and concepts of a data set have different words: ImageNet has five cats
and 118 dogs, Broden has "cat" and "dog". So a concept stands for one or several logits.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import importlib.resources
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from jaxinterp.data.an8flower.classes import CLASS_NAMES
from jaxinterp.data.concepts.concept_set import ConceptSet
from jaxinterp.data.concepts.file_tree import open_tree
from jaxinterp.data.concepts.tables import read_table, whole_number
from jaxinterp.data.imagenet import imagenet_class_names, imagenet_synsets
from jaxinterp.errors import UserError, nearest

__all__ = [
    "PAPER_CLASSES",
    "ClassConcept",
    "class_concepts",
    "imagenet_concepts",
    "require_labelled",
]

PAPER_CLASSES: tuple[str, ...] = (
    *("cat", "bus", "vase", "lamp", "bench", "refrigerator"),
    *("bookcase", "desk", "pillow", "traffic light"),
)
"""Ten words that ImageNet and Broden share. Islam and Tushar use ten and name the first six; the
last four are this library's choice: words that both have for the same thing."""


# ImageNet's are an armoured vehicle, a cathode-ray tube and a machine; those of scenes are for
# storage, for projection and often birds.
_AMBIGUOUS = frozenset(("tank", "screen", "crane"))


@dataclasses.dataclass(frozen=True)
class ClassConcept:
    """A class, or several that are one concept.

    Attributes:
      name: in tables: the concept's word for all classes of it, the class's own name for one class.
      logits: of the classes, in rising order.
      concept: index into `ConceptSet.concepts`.
    """

    name: str
    logits: tuple[int, ...]
    concept: int


@functools.cache
def imagenet_concepts() -> Mapping[str, str]:
    """The word of Broden's objects for ImageNet's synsets, by synset; not all of them have one.

    This library's own table: a synset has a word if everyone would call the thing by it.
    """
    file = importlib.resources.files("jaxinterp.data.concepts") / "imagenet_concepts.csv"
    rows = csv.DictReader(file.read_text(encoding="ascii").splitlines())
    return MappingProxyType({row["synset"]: row["concept"] for row in rows})


def class_concepts(
    concept_set: ConceptSet,
    class_names: Sequence[str],
    *,
    wanted: Sequence[str] | None = None,
    table: str | Path | None = None,
) -> tuple[ClassConcept, ...]:
    """Finds the concept of each class that is wanted.

    The concept of a class is, in this order: what the user's table says; what the bundled table
    says, for ImageNet's 1,000 classes in torchvision's order (`imagenet_concepts`) and for
    an8Flower's twelve (the colour); the concept with the class's own name, where "_" is a blank and
    the case of letters does not count (of ImageNet's classes, objects alone).

    Args:
      concept_set: its concepts.
      class_names: the network's, by logit.
      wanted: words out of the tables ("cat": all classes that have this concept), or names of
        classes ("tabby": this one), synset ids or numbers of logits. None: every concept of the
        set that any class has, or all of the user's table.
      table: a CSV file with the columns class (name, synset id or number) and concept (a name, or
        "category:name"); several classes may have the same concept.

    Returns:
      In the order of `wanted`, else of the logits.

    Raises:
      UserError: a class or concept that does not exist or matches nothing (the nearest are named);
        a wrong table; none matches.
    """
    given = {} if table is None else _read_words(table, class_names, concept_set)
    words = given or _words(concept_set, class_names)
    if wanted is None:
        names = list(dict.fromkeys(words.values()))
        if not names:
            raise UserError(
                f"No class of the network is named as a concept of {concept_set.location}, such "
                f"as {concept_set.concepts[0].name!r}: give a table with columns class,concept."
            )
    else:
        names = list(wanted)
    words = _words(concept_set, class_names) | given
    return tuple(_find(name, words, concept_set, class_names) for name in names)


def require_labelled(
    concept_set: ConceptSet, concepts: Iterable[int], labelled: np.ndarray
) -> None:
    """Checks that concepts that were asked for by name occur.

    Args:
      concept_set: its concepts.
      concepts: the indices that were asked for.
      labelled: [concepts], how many pixels or images carry each concept.

    Raises:
      UserError: one of them has none.
    """
    empty = [str(concept_set.concepts[index]) for index in concepts if not labelled[index]]
    if empty:
        raise UserError(
            f"No pixel of the images of {concept_set.location} that were read is labelled "
            f"{', '.join(empty)}: nothing can be said of "
            f"{'this concept' if len(empty) == 1 else 'these concepts'}."
        )


def _find(
    name: str, words: Mapping[int, str], concept_set: ConceptSet, class_names: Sequence[str]
) -> ClassConcept:
    same = [logit for logit, word in words.items() if _plain(word) == _plain(name)]
    if same:
        concept = concept_set.find(words[same[0]])
        return ClassConcept(concept_set.concepts[concept].name, tuple(sorted(same)), concept)
    logit = _logit(name, class_names)
    if logit is None:
        known = imagenet_concepts().values() if _is_imagenet(class_names) else ()
        if _plain(name) in map(_plain, known):
            near = nearest(name, [one.name for one in concept_set.concepts], kind="concept")
            raise UserError(
                f"Classes of the network are known as {name!r}, but {concept_set.location} has no "
                f"such concept. {near}"
            )
        choices = dict.fromkeys([*words.values(), *class_names])
        raise UserError(nearest(name, choices, kind="class of the network, or word for several,"))
    if logit in words:
        return ClassConcept(class_names[logit], (logit,), concept_set.find(words[logit]))
    near = nearest(name, [one.name for one in concept_set.concepts], kind="concept")
    raise UserError(
        f"The class {class_names[logit]!r} matches no concept of {concept_set.location}. {near} "
        "Give a table with columns class,concept."
    )


def _words(concept_set: ConceptSet, class_names: Sequence[str]) -> dict[int, str]:
    """The concept of each logit that has one in the set, without a user's table."""
    bundled: dict[int, str] = {}
    if _is_imagenet(class_names):
        index = imagenet_synsets()
        bundled = {index[synset]: word for synset, word in imagenet_concepts().items()}
    elif tuple(class_names) == CLASS_NAMES["double-12c"]:
        bundled = {
            i: name if concept_set.has(name) else f"color:{name.split()[0]}"
            for i, name in enumerate(class_names)
        }
    words = {}
    for logit, name in enumerate(class_names):
        word = bundled.get(logit)
        if word is not None and concept_set.has(word):
            words[logit] = word
        elif _is_own_name(name, concept_set, class_names):
            words[logit] = name
    return words


def _is_own_name(name: str, concept_set: ConceptSet, class_names: Sequence[str]) -> bool:
    """Whether a class's name is that of a concept, and means it."""
    if not concept_set.has(name):
        return False
    # ImageNet's orange is a fruit, its ear one of corn.
    category = concept_set.concepts[concept_set.find(name)].category
    return not _is_imagenet(class_names) or (category == "object" and name not in _AMBIGUOUS)


def _read_words(
    table: str | Path, class_names: Sequence[str], concept_set: ConceptSet
) -> dict[int, str]:
    path = Path(os.path.expanduser(table))
    tree = open_tree(path.parent)
    words: dict[int, str] = {}
    for line, row in read_table(tree, path.name, columns=("class", "concept")):
        where = f"Line {line} of {path}"
        logit = _logit(row["class"].strip(), class_names)
        if logit is None:
            sentence = nearest(row["class"].strip(), class_names, kind="class of the network")
            raise UserError(f"{where}: {sentence}")
        word = row["concept"].strip()
        if not concept_set.has(word):
            try:
                concept_set.find(word)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
        if words.setdefault(logit, word) != word:
            raise UserError(f"{where}: the class {class_names[logit]!r} has a concept already.")
    if not words:
        raise UserError(f"{path} lists no classes.")
    return words


def _logit(name: str, class_names: Sequence[str]) -> int | None:
    """The logit of a class by its name, its synset id or its number."""
    if name in class_names:
        return list(class_names).index(name)
    if _is_imagenet(class_names) and name in imagenet_synsets():
        return imagenet_synsets()[name]
    number = whole_number(name)
    if number is not None and number < len(class_names):
        return number
    # "Cardigan" is a dog and "cardigan" is not: case is looked past only where it can be.
    same = [i for i, own in enumerate(class_names) if _plain(own) == _plain(name)]
    return same[0] if len(same) == 1 else None


def _is_imagenet(class_names: Sequence[str]) -> bool:
    return tuple(class_names) == imagenet_class_names()


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
