"""`jaxinterp.load`: a network by name, with its weights."""

from __future__ import annotations

import hashlib
import importlib.resources
from pathlib import Path
from warnings import warn

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxinterp.data.cifar10 import CLASS_NAMES
from jaxinterp.data.imagenet import imagenet_class_names
from jaxinterp.errors import UserError
from jaxinterp.models.layer_table import Layer, LayerTable
from jaxinterp.models.network import Network
from jaxinterp.models.parameters import Blueprint, initial_parameters
from jaxinterp.models.registry import Architecture, find_architecture
from jaxinterp.transform import taps
from jaxinterp.weights.contents import WeightsContents
from jaxinterp.weights.convert import convert
from jaxinterp.weights.safetensors_file import read_safetensors

__all__ = ["load"]


def load(
    name: str, *, weights: str | Path | None = None, classes: int | None = None, seed: int = 0
) -> Network:
    """Loads a network.

    Args:
      name: a name from `jaxinterp models`, such as `vgg_cifar10`.
      weights: a safetensors file with PyTorch's names and layout; `"random"` for random weights
        (tests, benchmarks); None takes the weights that come with the package.
      classes: number of logits, if it is not the published one.
      seed: of random weights.

    Returns:
      The network: pure function, parameters (float32), preprocessing, layer table, class names.

    Raises:
      UserError: an unknown name, no weights for it, or weights that do not fit; the sentence names
        the nearest choices, or every missing, unexpected and mis-shaped parameter.

    Example:
      >>> network = load("vgg_cifar10")
      >>> network.layers.find("relu2_2").channels
      64
    """
    architecture = find_architecture(name)
    blueprint = Blueprint(lambda: architecture.build(classes))
    preprocess = architecture.preprocess
    if weights == "random":
        params, digest = initial_parameters(blueprint, seed=seed), f"random, seed {seed}"
    else:
        path = _weights_file(architecture) if weights is None else Path(weights)
        contents = WeightsContents(path, "safetensors", "torch", read_safetensors(path)[0])
        converted = convert(contents, name, classes)
        for text in converted.warnings:
            warn(text, stacklevel=2)
        params, preprocess = converted.params, converted.preprocess
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    count = architecture.classes if classes is None else classes
    return Network(
        name=name,
        apply=blueprint.apply,
        params={key: jnp.asarray(value, np.float32) for key, value in params.items()},
        preprocess=preprocess,
        layers=_layers(blueprint, preprocess),
        class_names=_class_names(architecture) if count == architecture.classes else (),
        weights_sha256=digest,
        blueprint=blueprint,
    )


def _layers(blueprint, preprocess):
    module = nnx.eval_shape(blueprint.build)
    if hasattr(module, "layers"):
        return module.layers()
    size = preprocess.size
    images = jax.ShapeDtypeStruct((1, size, size, preprocess.channels), np.float32)
    return LayerTable(
        [
            Layer(name, module.aliases.get(name, name), "conv", leaf.shape[-1], None, None, None)
            for name, leaf in taps(blueprint.apply, blueprint.shapes, images).items()
        ]
    )


def _weights_file(architecture: Architecture) -> Path:
    """Where the weights of a network lie for which the user gave no file."""
    name = architecture.name
    if architecture.bundled:
        return Path(str(importlib.resources.files("jaxinterp.weights") / f"{name}.safetensors"))
    raise UserError(
        f'No weights come with {name!r}: give a file of them as `weights`, or "random".'
    )


def _class_names(architecture: Architecture) -> tuple[str, ...]:
    if architecture.dataset == "imagenet":
        return imagenet_class_names()
    return CLASS_NAMES if architecture.dataset == "cifar10" else tuple("0123456789")
