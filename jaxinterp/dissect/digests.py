"""Short digests of what a pass's sums belong to, so that a resumed run does not mix two things."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxinterp.data.concepts.concept_set import ConceptSet
from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.data.positions import spread_evenly
from jaxinterp.dissect.class_images import ClassImages

__all__ = ["digest_of_arrays", "digest_of_concepts", "digest_of_images"]

_LOOKED_AT = 16
"""Images whose contents are in the digest, spread over the source."""


def digest_of_arrays(arrays: Mapping[str, Any]) -> str:
    """Of arrays by name, with their shapes and types."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        values = np.ascontiguousarray(array)
        digest.update(f"{name} {values.dtype} {values.shape} ".encode("utf-8", "replace"))
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def digest_of_concepts(concepts: ConceptSet | None) -> str:
    """Of the concepts, the number of images, and the contents of some."""
    if concepts is None:
        return ""
    digest = hashlib.sha256(f"{concepts.count} {[str(one) for one in concepts.concepts]}".encode())
    for position in spread_evenly(concepts.count, _LOOKED_AT):
        try:
            sample = concepts.read(position)
        except UnreadableImage:
            digest.update(b"unreadable")
            continue
        arrays = {"image": sample.image, **sample.planes, "whole": np.array(sample.whole, int)}
        digest.update(digest_of_arrays(arrays).encode())
    return digest.hexdigest()[:16]


def digest_of_images(images: ClassImages | None) -> str:
    """Of the names and classes of labelled images, and the contents of some."""
    if images is None:
        return ""
    names = "\0".join(images.names).encode("utf-8", "replace")
    digest = hashlib.sha256(names + images.classes.tobytes())
    for position in spread_evenly(len(images), _LOOKED_AT):
        try:
            pixels, mask = images.read(position)
        except UnreadableImage:
            digest.update(b"unreadable")
            continue
        arrays = {"pixels": pixels} | ({} if mask is None else {"mask": mask})
        digest.update(digest_of_arrays(arrays).encode())
    return digest.hexdigest()[:16]
