"""What a weights file is: its content, its origin, and which networks it fits."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.models.registry import ARCHITECTURES, find_architecture
from jaxinterp.weights.catalogue import PUBLISHED
from jaxinterp.weights.contents import Format, WeightsContents
from jaxinterp.weights.convert import (
    convert,
    fitting_architectures,
    published_shapes,
    shapes_of,
)
from jaxinterp.weights.formats.unreadable import printable
from jaxinterp.weights.identity import identify
from jaxinterp.weights.merge import merge, parameters_of
from jaxinterp.weights.read import read_weights

__all__ = ["Verification", "verify"]

_VARIANCE = "running_var"
_STATISTICS = ("running_mean", _VARIANCE)


@dataclasses.dataclass(frozen=True)
class Verification:
    """What was found in a weights file.

    Attributes:
      path: the file.
      format: of the file.
      metadata: short texts that it holds beside its arrays.
      tensors: how many arrays it holds, without PyTorch's counters.
      parameters: how many numbers they have, without the statistics of batch normalisation.
      dtypes: how many arrays have which dtype.
      sha256: of the file.
      published: the network whose published file this is, byte for byte.
      not_finite: values that are NaN or infinite as float32, by layer.
      negative_variances: statistics of batch normalisation that make no numbers.
      fits: the networks that take its parameters, and the class count.
      tried: the only network that was tried; None if all were.
      nearest: if it fits none of all, the one that shares the most parameters.
      differences: if it does not fit, a sentence on what is missing, unexpected or mis-shaped.
    """

    path: Path
    format: Format
    metadata: dict[str, str]
    tensors: int
    parameters: int
    dtypes: dict[str, int]
    sha256: str
    published: str | None
    not_finite: dict[str, int]
    negative_variances: tuple[str, ...]
    fits: dict[str, int]
    tried: str | None
    nearest: str | None
    differences: str | None


def verify(
    path: str | Path, *, name: str | None = None, classes: int | None = None
) -> Verification:
    """Examines a weights file; nothing is written but its hash into the cache.

    Args:
      path: a file in any format that `read_weights` knows.
      name: the only network to try; without it, all are tried.
      classes: number of logits; without it, the file's own.

    Raises:
      UserError: an unknown network, or a file that cannot be read.
    """
    if name is not None:
        find_architecture(name)
    identity = identify(path)
    contents = read_weights(Path(path))
    arrays = parameters_of(contents.arrays)
    fits = {
        one: count
        for one, count in fitting_architectures(contents).items()
        if name in (None, one) and classes in (None, count)
    }
    nearest, differences = None, None
    try:
        for one, count in fits.items():  # names and shapes fit; the numbers have the last word
            convert(contents, one, count)
        if not fits:
            if name is not None:
                convert(contents, name, classes)  # whose message has advice too
            else:
                nearest = _nearest(contents)
                _compare(contents, nearest, classes)
    except UserError as error:
        fits, differences = {}, str(error)
    return Verification(
        path=Path(path),
        format=contents.format,
        metadata=dict(contents.metadata),
        tensors=len(arrays),
        parameters=sum(
            value.size for key, value in arrays.items() if not key.endswith(_STATISTICS)
        ),
        dtypes=dict(Counter(str(value.dtype) for value in arrays.values())),
        sha256=identity.sha256,
        published=_published(identity.resolved, identity.sha256, contents.format),
        not_finite=_not_finite(contents),
        negative_variances=tuple(
            printable(key, 80)
            for key, value in arrays.items()
            if key.endswith(_VARIANCE) and (value < 0).any()
        ),
        fits=fits,
        tried=name,
        nearest=nearest,
        differences=differences,
    )


def _published(path: Path, sha256: str, kind: Format) -> str | None:
    for name, published in PUBLISHED.items():
        # An MD5 sum costs reading the file again, which only one format needs.
        worthwhile = published.checksum.algorithm == "sha256" or kind == "matconvnet"
        if worthwhile and published.checksum.fits_file(path, sha256=sha256):
            return name
    return None


def _not_finite(contents: WeightsContents) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for name, value in contents.arrays.items():
        if jnp.issubdtype(value.dtype, jnp.floating):
            with np.errstate(over="ignore"):
                finite = np.isfinite(value.astype(np.float32, copy=False))
            counts[printable(name.rpartition(".")[0] or name, 80)] += value.size - int(finite.sum())
    return {layer: count for layer, count in counts.items() if count}


def _compare(contents: WeightsContents, name: str, classes: int | None) -> None:
    """Raises the `UserError` of a merge that fails; no array is converted for it."""
    architecture = find_architecture(name)
    wanted = architecture.blueprint(classes).shapes
    arrays = {  # one zero each, seen everywhere
        key: np.broadcast_to(np.zeros((), contents.arrays[key].dtype), shape)
        for key, shape in shapes_of(contents).items()
    }
    merge(wanted, arrays, source=contents.path, layout=contents.layout)


def _nearest(contents: WeightsContents) -> str:
    """The network that shares the most parameters, by name and shape, with the file."""
    shapes = shapes_of(contents)

    def shared(name: str) -> tuple[float, int]:
        wanted = published_shapes(ARCHITECTURES[name])
        same = shapes.items() & wanted.items()
        return len(same) / max(len(shapes.items() | wanted.items()), 1), len(shapes.keys() & wanted)

    return max(ARCHITECTURES, key=shared)
