"""`jaxinterp.load`: a network by name, with its weights."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path
from warnings import warn

import jax.numpy as jnp
import numpy as np

from jaxinterp.data.cifar10 import CLASS_NAMES
from jaxinterp.data.imagenet import imagenet_class_names
from jaxinterp.errors import UserError
from jaxinterp.models.describe import describe_classifier
from jaxinterp.models.network import Network
from jaxinterp.models.parameters import initial_parameters
from jaxinterp.models.registry import Architecture, find_architecture
from jaxinterp.weights.cache import CachedWeights, converted_weights
from jaxinterp.weights.catalogue import PUBLISHED, default_weights
from jaxinterp.weights.checksum import sha256_of
from jaxinterp.weights.convert import convert
from jaxinterp.weights.read import read_weights

__all__ = ["load"]

_FLOWERS = "an8flower-"

_WORTH_CACHING = 32 << 20
"""Bytes of a file from which on Orbax is quicker than reading the file again."""


def load(
    name: str, *, weights: str | Path | None = None, classes: int | None = None, seed: int = 0
) -> Network:
    """Loads a network.

    Args:
      name: a name from `jaxinterp models`, such as `vgg_cifar10`.
      weights: a file of them in any format that `read_weights` knows; `"random"` for random ones
        (tests, benchmarks); None takes those that come with the package or were fetched
        (`jaxinterp weights fetch`).
      classes: number of logits, if it is not the published one.
      seed: of random weights.

    Returns:
      The network: pure function, parameters (float32), preprocessing, layer table, class names.

    Large files are converted once and then read from the cache folder (`JAXINTERP_CACHE`).

    Raises:
      UserError: an unknown name, no weights for it, or weights that do not fit; the sentence names
        the nearest choices, or every missing, unexpected and mis-shaped parameter.

    Warns:
      UserWarning: weights that are not finite numbers, by layer; a cache that cannot be written.

    Example:
      >>> network = load("vgg_cifar10")
      >>> network.layers.find("relu2_2").channels
      64
    """
    architecture = find_architecture(name)
    if classes is not None and classes < 1:
        raise UserError(f"A network has at least 1 class, not {classes}.")
    blueprint = architecture.blueprint(classes)
    preprocess = architecture.preprocess
    if weights == "random":
        params, digest = initial_parameters(blueprint, seed=seed), f"random, seed {seed}"
    else:
        path = _weights_file(architecture) if weights is None else Path(os.path.expanduser(weights))
        found = _read(path, name, classes)
        for text in found.warnings:
            warn(text, stacklevel=2)
        params, preprocess, digest = found.params, found.preprocess, found.sha256
    count = architecture.classes if classes is None else classes
    return Network(
        name=name,
        apply=blueprint.apply,
        params={key: jnp.asarray(value, np.float32) for key, value in params.items()},
        preprocess=preprocess,
        layers=describe_classifier(blueprint, preprocess),
        class_names=_class_names(architecture) if count == architecture.classes else (),
        weights_sha256=digest,
        blueprint=blueprint,
    )


def _read(path: Path, name: str, classes: int | None) -> CachedWeights:
    """A file's weights, by way of the cache if that saves time."""
    try:
        is_small = path.is_file() and path.stat().st_size < _WORTH_CACHING
    except OSError:  # which is said below
        is_small = False
    if is_small:
        converted = convert(read_weights(path), name, classes)
        return CachedWeights(
            converted.params,
            converted.preprocess,
            converted.warnings,
            sha256_of(path),
            from_cache=False,
        )
    return converted_weights(path, name, classes)


def _weights_file(architecture: Architecture) -> Path:
    """Where the weights of a network lie for which the user gave no file."""
    name = architecture.name
    if architecture.bundled:
        bundled = Path(str(importlib.resources.files("jaxinterp.weights") / f"{name}.safetensors"))
        if bundled.is_file():
            return bundled
    fetched = default_weights(name)
    if fetched is not None:
        return fetched
    published = name in PUBLISHED
    advice = (
        f"`jaxinterp weights fetch {name}` fetches the published ones, or " if published else ""
    )
    raise UserError(
        f"There are no weights for {name!r} here: {advice}give a file of them as `weights` "
        '(or "random").'
    )


def _class_names(architecture: Architecture) -> tuple[str, ...]:
    if architecture.dataset == "imagenet":
        return imagenet_class_names()
    if architecture.dataset.startswith(_FLOWERS):
        from jaxinterp.data.an8flower import CLASS_NAMES as flower_class_names

        return flower_class_names[architecture.dataset.removeprefix(_FLOWERS)]
    return CLASS_NAMES if architecture.dataset == "cifar10" else tuple("0123456789")
