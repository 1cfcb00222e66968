"""What an input does to a kernel and to the others of its layer, in numbers."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from jaxinterp.metrics import map_similarity, mse_rest, mse_selected

__all__ = ["kernel_measures", "select_maps"]


def select_maps(maps: Array, kernel: Array) -> Array:
    """One kernel's map for each example: [n, h, w, kernels], int [n] -> [n, h, w]."""
    return jnp.take_along_axis(maps, kernel[:, None, None, None], axis=-1)[..., 0]


def kernel_measures(before: Array, after: Array, blank: Array, kernel: Array) -> dict[str, Array]:
    """Measures of an estimated input, with those of the original and of a blank image beside.

    Args:
      before: a layer's maps of the original images, float [n, h, w, kernels].
      after: of the estimated inputs, same shape.
      blank: of a blank image, same shape.
      kernel: the kernel of interest of each example, int [n].

    Returns:
      By name, float [n]: `peak`, the largest magnitude of the selected map of the original (0: it
      is silent, and the similarities mean nothing); `similarity`, SSIM of the selected map with the
      original's, or the correlation for maps under 7 px; `mse_selected`, its mean squared error;
      `mse_rest`, the mean square of all other maps; `similarity_blank`, `mse_selected_blank`,
      `mse_rest_blank` and `mse_rest_original`, the same for a blank image and the original.
    """
    selected = select_maps(before, kernel)
    return {
        "peak": jnp.abs(selected).max((-2, -1)),
        "similarity": map_similarity(selected, select_maps(after, kernel))[1],
        "similarity_blank": map_similarity(selected, select_maps(blank, kernel))[1],
        "mse_selected": mse_selected(after, before, kernel),
        "mse_selected_blank": mse_selected(blank, before, kernel),
        "mse_rest": mse_rest(after, kernel),
        "mse_rest_original": mse_rest(before, kernel),
        "mse_rest_blank": mse_rest(blank, kernel),
    }
