"""`jaxinterp.load`: a network by name, with its weights."""

from __future__ import annotations

import hashlib
import importlib.resources
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxinterp.data.cifar10 import CLASS_NAMES
from jaxinterp.errors import UserError
from jaxinterp.models.network import Network
from jaxinterp.models.parameters import Blueprint, initial_parameters
from jaxinterp.models.registry import find_architecture
from jaxinterp.weights.layout import from_torch_layout
from jaxinterp.weights.merge import merge
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
    module = nnx.eval_shape(lambda: architecture.build(classes))
    if weights == "random":
        params, digest = initial_parameters(blueprint, seed=seed), f"random, seed {seed}"
    else:
        if weights is not None:
            path = Path(weights)
        elif architecture.bundled:
            path = Path(str(importlib.resources.files("jaxinterp.weights") / f"{name}.safetensors"))
        else:
            raise UserError(
                f"No weights come with {name!r}: give a safetensors file of torchvision's weights "
                'as `weights`, or "random".'
            )
        arrays, _ = read_safetensors(path)
        params = merge(
            blueprint.shapes, from_torch_layout(arrays, flattened=module.flattened), source=path
        )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Network(
        name=name,
        apply=blueprint.apply,
        params={key: jnp.asarray(value, np.float32) for key, value in params.items()},
        preprocess=architecture.preprocess,
        layers=module.layers(),
        class_names=CLASS_NAMES if name == "vgg_cifar10" and classes in (None, 10) else (),
        weights_sha256=digest,
    )
