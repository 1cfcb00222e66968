"""From up to `lanes` jobs to arrays of all lanes."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.errors import UserError
from jaxinterp.models.layer_table import Layer
from jaxinterp.models.network import Network

__all__ = ["check_jobs", "checked_images", "fill_lanes"]


def check_jobs(layer: Layer, images: np.ndarray, kernels: Sequence[int] | np.ndarray) -> None:
    """Checks that each image [jobs, ...] has a kernel that the layer has.

    Raises:
      UserError: a kernel that the layer does not have.
      ValueError: no jobs, or numbers of images and kernels that differ.
    """
    if not len(images) or len(kernels) != len(images):
        raise ValueError(
            f"{len(images)} images and {len(kernels)} kernels: give as many kernels as images, and "
            "at least one"
        )
    for kernel in kernels:
        if not 0 <= kernel < layer.channels:
            raise UserError(
                f"There is no kernel {kernel} in {layer.name}: "
                f"it has kernels 0 to {layer.channels - 1}."
            )


def fill_lanes(
    network: Network,
    layer: Layer,
    images: np.ndarray,
    kernels: Sequence[int] | np.ndarray,
    *,
    lanes: int,
) -> tuple[Array, Array]:
    """The network's inputs and the kernels of a batch, repeated until every lane has a job.

    Every batch has all lanes, so that each shape compiles once.

    Args:
      network: whose inputs they are.
      layer: whose kernels.
      images: the RGB image of each job, float [jobs, h, w, 3] in [0, 1].
      kernels: the kernel of each job, [jobs].
      lanes: how many there are.

    Returns:
      Inputs [lanes, h, w, c], and kernels int32 [lanes].

    Raises:
      UserError: a kernel that the layer does not have.
      ValueError: more jobs than lanes, or numbers of images and kernels that differ.
    """
    check_jobs(layer, images, kernels)
    jobs = len(images)
    if jobs > lanes:
        raise ValueError(f"{jobs} jobs for {lanes} lanes: give no more than there are lanes")
    filled = np.resize(np.arange(jobs), lanes)
    inputs = network.preprocess(np.asarray(images, np.float32)[filled])
    return inputs, jnp.asarray(np.asarray(kernels, np.int32)[filled])


def checked_images(images: np.ndarray) -> np.ndarray:
    """Images [n, h, w, channels] in [0, 1] as float32.

    Raises:
      UserError: they are of another form.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not images.size:
        raise UserError(f"Images are [n, h, w, channels], got shape {images.shape}.")
    if not np.issubdtype(images.dtype, np.floating) or images.min() < -0.01 or images.max() > 1.01:
        raise UserError(
            f"Images are floating-point RGB in [0, 1], got {images.dtype} in "
            f"[{images.min():g}, {images.max():g}]: divide 8-bit pixels by 255."
        )
    return images.astype(np.float32)
