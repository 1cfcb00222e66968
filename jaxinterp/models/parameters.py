"""Between a Flax NNX network and a flat dictionary of parameters under PyTorch's names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import Array

__all__ = ["Blueprint", "Parameters", "initial_parameters"]

Parameters = dict[str, Array]
"""Parameters and running statistics by name, such as `features.0.weight`."""


class Blueprint:
    """The structure of a Flax NNX network without its numbers.

    A parameter's name is its path in the module, joined by dots.

    Attributes:
      build: makes the module.
      module: what `build` makes, with shapes in the places of its numbers.
      shapes: shape and dtype of every parameter and running statistic, by name.
      statistics: the names of the running statistics.
    """

    def __init__(self, build: Callable[[], nnx.Module]) -> None:
        """`build` makes the module; it is traced only, so nothing is computed."""
        self.build = build
        self.module: Any = nnx.eval_shape(build)
        self._graph, state = nnx.split(self.module)
        self._variables = {
            ".".join(map(str, path)): (path, variable)
            for path, variable in nnx.to_flat_state(state)
        }
        self.shapes: dict[str, jax.ShapeDtypeStruct] = {
            name: variable.get_value() for name, (_, variable) in self._variables.items()
        }
        self.statistics = frozenset(
            name
            for name, (_, variable) in self._variables.items()
            if isinstance(variable, nnx.BatchStat)
        )

    def bind(self, params: Mapping[str, Array]) -> nnx.Module:
        """The module holding `params`."""
        flat = [
            (path, variable.replace(params[name]))
            for name, (path, variable) in self._variables.items()
        ]
        return nnx.merge(self._graph, nnx.from_flat_state(flat))

    def read(self, module: nnx.Module) -> Parameters:
        """The numbers that a module made by `bind` holds now."""
        flat = nnx.to_flat_state(nnx.state(module))
        return {".".join(map(str, path)): variable.get_value() for path, variable in flat}

    def apply(self, params: Mapping[str, Array], images: Array) -> Array:
        """The network as a pure function, in evaluation mode: images [n, h, w, c] -> logits."""
        return self.bind(params)(images)  # type: ignore[operator]


def initial_parameters(blueprint: Blueprint, *, seed: int) -> dict[str, np.ndarray]:
    """Random parameters, drawn with NumPy (compiling an initialiser would take longer).

    As torchvision's VGG: convolutions normal with variance 2 / fan_out, dense weights normal with
    standard deviation 0.01 (for 4,096 inputs; scaled by the inverse square root for others), biases
    0, batch norm the identity.
    """
    generator = np.random.default_rng(seed)
    params: dict[str, np.ndarray] = {}
    for name, leaf in blueprint.shapes.items():
        if len(leaf.shape) == 4:
            height, width, _, outputs = leaf.shape
            scale = math.sqrt(2 / (height * width * outputs))
            value = generator.normal(0, scale, leaf.shape)
        elif len(leaf.shape) == 2:
            value = generator.normal(0, 0.01 * math.sqrt(4096 / leaf.shape[0]), leaf.shape)
        else:
            value = np.full(leaf.shape, float(name.endswith(("weight", "running_var"))))
        params[name] = value.astype(np.float32)
    return params
