"""From a file's contents to a network's parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.models.preprocess import Preprocess
from jaxinterp.models.registry import ARCHITECTURES, Architecture, find_architecture
from jaxinterp.weights.contents import WeightsContents
from jaxinterp.weights.layout import from_torch_layout, from_torch_shape
from jaxinterp.weights.merge import merge, parameters_of

__all__ = [
    "Converted",
    "convert",
    "fitting_architectures",
    "published_shapes",
    "shapes_of",
]


@dataclasses.dataclass(frozen=True)
class Converted:
    """Parameters that fit a network.

    Attributes:
      params: float32, by name, in our layout.
      preprocess: the architecture's, with the file's mean image if it has one.
      warnings: sentences about what is suspicious in the numbers.
    """

    params: dict[str, np.ndarray]
    preprocess: Preprocess
    warnings: tuple[str, ...] = ()


def convert(contents: WeightsContents, name: str, classes: int | None = None) -> Converted:
    """The parameters of the network `name` from a file's contents.

    Args:
      contents: from `read_weights`.
      name: of the architecture.
      classes: number of logits, if it is not the published one.

    Raises:
      UserError: an unknown name, or contents that do not fit; the message has every missing,
        unexpected and mis-shaped parameter, and what they do fit: the network with another class
        count, or other architectures.
    """
    architecture = find_architecture(name)
    blueprint = architecture.blueprint(classes)
    arrays = contents.arrays
    if contents.layout == "torch":
        arrays = from_torch_layout(arrays, flattened=blueprint.module.flattened)
    try:
        found = merge(blueprint.shapes, arrays, source=contents.path, layout=contents.layout)
    except UserError as error:
        raise UserError(f"{error}{_advice(contents, architecture, classes)}") from None
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, which is warned of
        params = {key: _own(value) for key, value in found.items()}
    preprocess = architecture.preprocess
    if contents.mean_image is not None:
        mean = tuple(contents.mean_image.mean((0, 1)).tolist())
        preprocess = dataclasses.replace(preprocess, mean=mean, mean_image=contents.mean_image)
    return Converted(params, preprocess, tuple(_suspicions(params, contents)))


def _own(value: np.ndarray) -> np.ndarray:
    """The array as float32 in memory of its own: a view of the file would change with the file."""
    return value.astype(np.float32, copy=not value.flags.writeable)


def fitting_architectures(contents: WeightsContents) -> dict[str, int]:
    """The architectures whose parameters have the contents' names and shapes: name -> classes.

    The class count may be another than the published one.
    """
    shapes = shapes_of(contents)
    found = {name: _fitting_classes(shapes, one) for name, one in ARCHITECTURES.items()}
    return {name: classes for name, classes in found.items() if classes is not None}


def shapes_of(contents: WeightsContents) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters in our layout, by name; no number is looked at."""
    shapes = {name: value.shape for name, value in parameters_of(contents.arrays).items()}
    if contents.layout == "hwio":
        return shapes
    return {name: from_torch_shape(shape) for name, shape in shapes.items()}


def published_shapes(architecture: Architecture) -> Mapping[str, tuple[int, ...]]:
    """The shapes of an architecture's parameters, by name, with its published class count."""
    return {key: leaf.shape for key, leaf in architecture.blueprint().shapes.items()}


def _fitting_classes(
    shapes: Mapping[str, tuple[int, ...]], architecture: Architecture
) -> int | None:
    wanted = published_shapes(architecture)
    if wanted.keys() != shapes.keys():
        return None
    others = {key for key in wanted if shapes[key] != wanted[key]}
    if not others:
        return architecture.classes
    # Only the dense layer of the logits differs, all of it, and that in its outputs alone.
    heads = {key.rpartition(".")[0] for key in others}
    members = {key for key in wanted if key.rpartition(".")[0] in heads}
    counts = {shapes[key][-1:] for key in others}
    alike = all(
        (*shapes[key][:-1], architecture.classes) == wanted[key] and shapes[key] for key in others
    )
    if not (alike and members == others and len(heads) == len(counts) == 1):
        return None
    return counts.pop()[0] or None


def _advice(contents: WeightsContents, architecture: Architecture, classes: int | None) -> str:
    wanted = architecture.classes if classes is None else classes
    found = _fitting_classes(shapes_of(contents), architecture)
    if found is not None and found != wanted:
        return (
            f" They are of {architecture.name} with {found} classes: give --classes {found} "
            f"(in a run's config model.classes = {found}, in Python classes={found})."
        )
    fitting = fitting_architectures(contents)
    if not fitting:
        return ""
    described = [
        name if count == ARCHITECTURES[name].classes else f"{name} with {count} classes"
        for name, count in fitting.items()
    ]
    return f" They fit {' or '.join(described)}."


def _suspicions(params: Mapping[str, np.ndarray], contents: WeightsContents) -> Iterator[str]:
    broken = [name for name, value in params.items() if not np.isfinite(value).all()]
    if broken:
        layers = list(dict.fromkeys(name.rpartition(".")[0] for name in broken))
        named = ", ".join(layers[:6]) + (f" and {len(layers) - 6} more" if layers[6:] else "")
        yield (
            f"The weights in {contents.path} have values that are not finite numbers (NaN or "
            f"infinity) in {named}: what the network computes from there on is meaningless."
        )
    negative = [
        name for name, value in params.items() if name.endswith("running_var") and (value < 0).any()
    ]
    if negative:
        yield (
            f"The weights in {contents.path} have negative variances in {', '.join(negative[:6])}: "
            "batch normalisation makes no numbers of them."
        )
