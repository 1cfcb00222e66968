"""A network ready to be interpreted: function, parameters, preprocessing, layers, class names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jax import Array

from jaxinterp.models.layer_table import LayerTable
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.preprocess import Preprocess

__all__ = ["Network"]


@dataclasses.dataclass(frozen=True)
class Network:
    """One object with everything that interpretation needs; nothing in it changes.

    Attributes:
      name: of the architecture, or what its user calls it.
      apply: the pure function `apply(params, images) -> logits`; images [n, h, w, c] float32 as
        `preprocess` makes them, logits [n, classes]. Its layers carry names (`transform.tap`).
      params: its parameters, any pytree of arrays.
      preprocess: from RGB in [0, 1] to its input.
      layers: its layer table.
      class_names: of the logits; may be empty.
      weights_sha256: of the weights' file, or a word for their origin; kept in a run's manifest.
      blueprint: the structure of a Flax NNX network; None for other functions.
    """

    name: str
    apply: Callable[[Any, Array], Array]
    params: Any
    preprocess: Preprocess
    layers: LayerTable
    class_names: tuple[str, ...] = ()
    weights_sha256: str = "unknown"
    blueprint: Blueprint | None = None

    def logits(self, images: Array | np.ndarray) -> Array:
        """Logits [n, classes] of RGB images [n, h, w, c] in [0, 1]."""
        return self.apply(self.params, self.preprocess(images))
