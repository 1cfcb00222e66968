"""Where a search may start: an image's edges and textures, without its plain colours."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

__all__ = ["details"]

_CONTRAST, _BLUR = 0.5, 2.0
"""From docs/optimizers.md."""


def details(inputs: Array) -> Array:
    """Half of what inputs have beyond their Gaussian blur of 2 px (mirrored at the borders).

    Args:
      inputs: [n, h, w, c], with 0 for the mean colour.
    """
    reach = math.ceil(4 * _BLUR)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _BLUR) ** 2).astype(np.float32)
    kernel = (weights / weights.sum())[:, None, None, None]
    blurred = jnp.moveaxis(inputs, -1, 1)[..., None]
    blurred = blurred.reshape(-1, *blurred.shape[2:])
    for _ in range(2):  # along the height, then along the width
        padded = jnp.pad(blurred, ((0, 0), (reach, reach), (0, 0), (0, 0)), mode="symmetric")
        dimensions = ("NHWC", "HWIO", "NHWC")
        blurred = jax.lax.conv_general_dilated(
            padded, kernel, (1, 1), "VALID", dimension_numbers=dimensions
        ).swapaxes(1, 2)
    blurred = blurred[..., 0].reshape(jnp.moveaxis(inputs, -1, 1).shape)
    return _CONTRAST * (inputs - jnp.moveaxis(blurred, 1, -1))
