"""Which logit of a network stands for which class of a data set.

Tried in this order; the first that all classes of the source fit is taken:

1. classes named by numbers are the logits' own indices, from 0;
2. classes named by WordNet's synset ids are ImageNet's, for a network with ImageNet's logits;
3. classes named as the network's own;
4. as many classes as logits: in the source's order.

A source may have fewer classes than there are logits; accuracy is over all logits nevertheless.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from jaxinterp.data.imagenet import imagenet_class_names, imagenet_synsets
from jaxinterp.data.labelled import LabelledImages
from jaxinterp.errors import UserError, nearest

__all__ = ["LabelMap", "map_labels"]

_SYNSET = re.compile(r"n\d{8}")


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """The result of the search.

    Attributes:
      logits: by the source's label, the index of the logit that stands for it.
      names: by the source's label, for tables.
      rule: how they were found, in words.
    """

    logits: tuple[int, ...]
    names: tuple[str, ...]
    rule: str


def map_labels(source: LabelledImages, *, logits: int, class_names: Sequence[str]) -> LabelMap:
    """Finds the logit of each of a source's classes.

    Args:
      source: the labelled images.
      logits: how many logits the network has.
      class_names: the network's own, by logit; may be empty.

    Raises:
      UserError: no rule fits; a class that has no logit, where `classes` is offered.
    """
    keys = [own.key for own in source.classes]
    # 1,000 logits are ImageNet's unless their names say otherwise.
    is_imagenet = logits == 1000 and tuple(class_names) in ((), imagenet_class_names())
    found = (
        _by_number(keys, source, logits)
        or _by_synset(keys, source, logits, is_imagenet=is_imagenet)
        or _by_name(keys, source, class_names)
    )
    if found is None and len(keys) == logits:
        found = list(range(logits)), "as many classes as logits, in the order of the source"
    if found is None:
        raise UserError(_no_rule(keys, source, logits))
    indices, rule = found
    if is_imagenet:
        _check_synsets(source, indices)
    names = [
        own.name or (class_names[index] if index < len(class_names) else own.key)
        for own, index in zip(source.classes, indices, strict=True)
    ]
    return LabelMap(tuple(indices), tuple(names), rule)


_Found = tuple[list[int], str]


def _by_number(keys: Sequence[str], source: LabelledImages, logits: int) -> _Found | None:
    if not all(key.isascii() and key.isdigit() for key in keys):
        return None
    indices = [int(key) for key in keys]
    if max(indices) >= logits:
        raise UserError(
            f"{source.location} has the class {max(indices)}, but the network has {logits} logits, "
            f"counted from 0: give --classes if it was trained with more."
        )
    return indices, "classes are numbered by their logits"


def _by_synset(
    keys: Sequence[str], source: LabelledImages, logits: int, *, is_imagenet: bool
) -> _Found | None:
    if not all(_SYNSET.fullmatch(key) for key in keys) or not is_imagenet:
        return None
    known = imagenet_synsets()
    strange = [key for key in keys if key not in known]
    if not strange:
        return [known[key] for key in keys], "classes are synsets of ImageNet's 1,000 logits"
    if len(keys) == logits:  # 1,000 other classes
        return None
    raise UserError(
        f"{len(strange)} of {len(keys)} classes in {source.location} are none of ImageNet's 1,000, "
        f"such as {strange[0]}: give --classes for a network that was trained on them."
    )


def _by_name(
    keys: Sequence[str], source: LabelledImages, class_names: Sequence[str]
) -> _Found | None:
    exact = {_plain(name): index for index, name in enumerate(class_names)}
    # "Cardigan" is a dog and "cardigan" is not: letters' case is looked past only where it can be.
    folded: dict[str, int] = {}
    for name, index in exact.items():
        folded[name.casefold()] = -1 if name.casefold() in folded else index
    indices = [exact.get(_plain(key), folded.get(_plain(key).casefold(), -1)) for key in keys]
    strange = [key for key, index in zip(keys, indices, strict=True) if index < 0]
    if not strange:
        return indices, "classes are named as the network's"
    if len(strange) < len(keys):
        sentence = nearest(strange[0], class_names, kind="class of the network called")
        raise UserError(
            f"{len(strange)} of {len(keys)} classes in {source.location} are not among the "
            f"network's. {sentence} Or name the classes by the network's logits, from 0."
        )
    return None


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split())


def _check_synsets(source: LabelledImages, indices: Sequence[int]) -> None:
    """Refuses a table whose numbers and synsets contradict each other: some order classes anew."""
    known = imagenet_synsets()
    for own, index in zip(source.classes, indices, strict=True):
        right = known.get(own.synset or "", index)
        if right != index:
            raise UserError(
                f"{source.location} gives {own.synset} the class index {index}, but it is "
                f"{right} in torchvision's order, which the networks here have."
            )


def _no_rule(keys: Sequence[str], source: LabelledImages, logits: int) -> str:
    listed = ", ".join(keys[:4]) + (", ..." if len(keys) > 4 else "")
    splits = {"train", "val", "valid", "validation", "test"}
    hint = " Give the folder of one split." if splits >= {key.casefold() for key in keys} else ""
    return (
        f"The {len(keys)} classes of {source.location} ({listed}) are neither named as the "
        f"network's nor as many as its {logits} logits: give --classes {len(keys)} and weights "
        f"that were trained on them.{hint}"
    )
