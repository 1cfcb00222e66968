"""Where the paths of integrated gradients begin, by name."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.errors import UserError, nearest
from jaxinterp.models.preprocess import Preprocess

__all__ = ["BASELINE_NAMES", "baseline_inputs"]

BLUR = 0.1
"""The standard deviation of the blur, as a share of the image's side."""


def baseline_inputs(name: str, inputs: Array | np.ndarray, preprocess: Preprocess) -> Array:
    """The baselines of a network's inputs, as the path methods of `jaxinterp.attribution` take.

    - "mean": the network's input is 0: the mean colour, for networks that subtract it. It is what
      Captum takes unless told otherwise.
    - "black": pixels of 0 before preprocessing, as in Sundararajan et al., "Axiomatic Attribution
      for Deep Networks" (2017).
    - "white": pixels of 1 before preprocessing.
    - "blur": the image itself under a Gaussian blur of a tenth of its side, whose weights are made
      to add up to 1 where it reaches over an edge; see Sturmfels et al., "Visualizing the Impact of
      Feature Attribution Baselines" (2020).

    Args:
        name: One of `BASELINE_NAMES`.
        inputs: What the network gets, float [n, h, w, c], as `preprocess` makes it.
        preprocess: The network's.

    Returns:
        Baselines in the space of `inputs`, float [n, h, w, c].

    Raises:
        UserError: An unknown name.

    Example:
        >>> black = baseline_inputs("black", inputs, network.preprocess)
    """
    if name not in _MAKERS:
        raise UserError(nearest(name, _MAKERS, kind="baseline"))
    inputs = jnp.asarray(inputs)
    made = _MAKERS[name](inputs, preprocess)
    return jnp.broadcast_to(jnp.asarray(made, inputs.dtype), inputs.shape)


def _blurred(inputs: Array, preprocess: Preprocess) -> Array:
    del preprocess
    height, width = (jnp.asarray(_blur_matrix(size), inputs.dtype) for size in inputs.shape[1:3])
    return jnp.einsum("ih,nhwc,jw->nijc", height, inputs, width)


def _blur_matrix(size: int) -> np.ndarray:
    """Blurs a line of values: float64 [size, size], whose rows add up to 1."""
    places = np.arange(size)
    matrix = np.exp(-0.5 * ((places[:, None] - places) / (BLUR * size)) ** 2)
    return matrix / matrix.sum(1, keepdims=True)


_MAKERS: dict[str, Callable[[Array, Preprocess], Array | np.ndarray]] = {
    "mean": lambda inputs, preprocess: np.zeros((), np.float32),
    "black": lambda inputs, preprocess: preprocess.bounds(inputs)[0],  # type: ignore[arg-type]
    "white": lambda inputs, preprocess: preprocess.bounds(inputs)[1],  # type: ignore[arg-type]
    "blur": _blurred,
}

BASELINE_NAMES: tuple[str, ...] = tuple(_MAKERS)
"""The names that `baseline_inputs` knows."""
