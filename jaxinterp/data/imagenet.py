"""ImageNet's 1,000 classes (ILSVRC 2012) in torchvision's order, that of the sorted synset ids.

The names are those that torchvision gives them, which tell the two cranes, the two cardigans and
the two kinds of maillot apart.
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["imagenet_class_names", "imagenet_synsets"]


@functools.cache
def _table() -> list[dict[str, str]]:
    file = importlib.resources.files("jaxinterp.data") / "imagenet_classes.csv"
    return list(csv.DictReader(file.read_text(encoding="ascii").splitlines()))


@functools.cache
def imagenet_class_names() -> tuple[str, ...]:
    """The names by class index, such as "tench" for 0; no two are equal."""
    return tuple(row["name"] for row in _table())


@functools.cache
def imagenet_synsets() -> Mapping[str, int]:
    """The class index by WordNet's synset id: 0 for "n01440764"."""
    return MappingProxyType({row["synset"]: int(row["index"]) for row in _table()})
