"""Interpret a kernel by a backward pass: what the suppression paper is compared with.

Zhuang et al., section 4.2 and Table 1, take for baselines guided backpropagation (Springenberg et
al. 2015), deconvnet (Zeiler and Fergus 2014) and layer-wise relevance propagation (Bach et al.
2015, Binder et al. 2016). The paper does not say how their results become an input. Here:

- The seed is the kernel's whole feature map: the map itself is sent down from its layer, with zero
  for all other kernels.
- What arrives at the network's normalised input is the signal. The estimated input is
  gain * signal, so that a blank image (the mean colour) is the signal 0.
- The gain is the best scalar for the very job: over a fixed logarithmic grid, relative to the gain
  at which the estimate has the original's root mean square, the one at which the selected map is
  most similar to the original's. Among gains within 0.01 of the best similarity, the one with the
  least squared error of the map is taken (correlation, the similarity of small maps, cannot tell
  one scale from another). That is generous to the baselines, which have no scale of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.attribution import backward, kernel_map
from jaxinterp.errors import UserError
from jaxinterp.methods.kernel_measures import select_maps
from jaxinterp.methods.lane_inputs import fill_lanes
from jaxinterp.methods.layer_maps import layer_maps
from jaxinterp.metrics import map_similarity
from jaxinterp.models.folding import fold_batch_norm
from jaxinterp.models.network import Network
from jaxinterp.transform import Composite, deconvnet, guided_backprop

__all__ = [
    "BASELINES",
    "GAINS",
    "Baseline",
    "BaselineName",
    "Estimate",
    "best_gains",
    "kernel_signal",
]

BaselineName = Literal["guided_backprop", "deconvnet", "lrp"]

BASELINES: tuple[BaselineName, ...] = ("guided_backprop", "deconvnet", "lrp")

GAINS = np.geomspace(0.01, 10.0, 31).astype(np.float32)
"""The gains tried, ten a decade; at 1 the estimate has the original's root mean square."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Estimated inputs, one entry a job (a kernel and an image). NumPy arrays.

    Attributes:
      images: as RGB, float32 [jobs, h, w, 3]; not bounded to [0, 1].
      gain: the gain of each, relative as in `GAINS`, float32 [jobs]; 0 where no signal arrived.
    """

    images: np.ndarray
    gain: np.ndarray


def _rules(method: str) -> Composite:
    if method == "guided_backprop":
        return guided_backprop
    if method == "deconvnet":
        return deconvnet
    if method == "lrp":
        from jaxinterp.attribution.lrp.composites import epsilon_alpha2_beta1_flat

        return epsilon_alpha2_beta1_flat()
    raise ValueError(f"a baseline is one of {', '.join(BASELINES)}, not {method!r}")


def kernel_signal(
    network: Network, layer: str, method: BaselineName
) -> Callable[[Array, Array], Array]:
    """What a method sends down from a kernel's own map to the network's input.

    Args:
      network: its batch norms are folded for "lrp", which they would spoil.
      layer: a name or alias from its layer table.
      method: one of `BASELINES`; "lrp" is Zennit's EpsilonAlpha2Beta1Flat.

    Returns:
      `signal(inputs, kernels)`: inputs [n, h, w, c] as `network.preprocess` makes them and kernels
      int [n] to signals [n, h, w, c].

    Raises:
      UserError: an unknown layer, one whose values are no maps, or (from `signal`) a network that
        the method has no rules for.
      ValueError: an unknown method.
    """
    composite = _rules(method)
    row = network.layers.find(layer)
    if not row.is_map:
        raise UserError(f"The layer {layer!r} has no feature maps [n, h, w, kernels].")
    if method == "lrp" and network.blueprint is not None:
        network = fold_batch_norm(network)
    seed = kernel_map(row.name, channel_axis=row.channel_axis)

    def signal(params: Any, inputs: Array, kernels: Array) -> Array:
        found = backward(
            network.apply,
            params,
            inputs,
            seed,
            kernels[None],
            composite=composite,
            start="relevance",
        )
        return found.images[0]

    compiled = jax.jit(signal)
    return lambda inputs, kernels: compiled(network.params, inputs, kernels)


class Baseline:
    """Interprets kernels of one layer by a backward pass, a fixed number of lanes at a time.

    Compiled functions are kept, so every call after the first costs no compilation.

    Example:
      >>> baseline = Baseline(network, "relu3_3", "guided_backprop")
      >>> baseline(images, [3] * len(images)).images.shape
      (4, 32, 32, 3)
    """

    def __init__(
        self, network: Network, layer: str, method: BaselineName, *, lanes: int = 32
    ) -> None:
        """Prepares a layer.

        Args:
          network: whose kernels are interpreted.
          layer: a name or alias from its layer table.
          method: one of `BASELINES`.
          lanes: jobs at once; fewer are filled up.

        Raises:
          UserError: an unknown layer, or one without maps.
          ValueError: an unknown method.
        """
        self.network, self.layer, self.lanes = network, network.layers.find(layer), lanes
        self._signal = kernel_signal(network, layer, method)
        maps = layer_maps(network, layer)
        self._selected = jax.jit(
            lambda params, inputs, kernels: select_maps(maps(params, inputs), kernels)
        )
        self._judge = jax.jit(
            lambda before, after: (
                map_similarity(before, after)[1],
                jnp.square(before - after).mean((-2, -1)),
            )
        )

    def __call__(
        self,
        images: np.ndarray,
        kernels: Sequence[int] | np.ndarray,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Estimate:
        """Runs up to `lanes` jobs together.

        Args:
          images: the original RGB image of each job, float [jobs, h, w, 3] in [0, 1].
          kernels: the kernel of each job, [jobs].
          progress: called with (gains tried, gains to try) for all jobs together.

        Raises:
          UserError: a kernel that the layer does not have.
          ValueError: more jobs than lanes, or numbers of images and kernels that differ.
        """
        jobs, params = len(images), self.network.params
        inputs, index = fill_lanes(self.network, self.layer, images, kernels, lanes=self.lanes)
        before = self._selected(params, inputs, index)
        signal = self._signal(inputs, index)
        strength = _root_mean_square(signal)
        heard = strength > 0
        unit = signal * jnp.where(heard, _root_mean_square(inputs) / strength, 0)
        judged = []
        for gain in GAINS:
            judged.append(self._judge(before, self._selected(params, unit * gain, index)))
            if progress is not None:
                progress(len(judged), len(GAINS))
        best = best_gains(
            np.stack([similarity for similarity, _ in judged]),
            np.stack([error for _, error in judged]),
        )
        gain = np.where(np.asarray(heard).reshape(-1), GAINS[best], 0)
        estimated = self.network.preprocess.invert(unit * gain[:, None, None, None])
        return Estimate(np.asarray(estimated)[:jobs], gain[:jobs].astype(np.float32))


def best_gains(similarity: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Which gain is the best for each job.

    Args:
      similarity: of the selected map at each gain, float [gains, jobs]; NaN is never chosen.
      error: its mean squared error, same shape.

    Returns:
      Indices of gains, int [jobs]: of those whose similarity is within 0.01 of the highest, the one
      with the least error.
    """
    similarity = np.nan_to_num(similarity, nan=-np.inf)
    near = similarity >= similarity.max(0) - 0.01
    return np.argmin(np.where(near & ~np.isnan(error), error, np.inf), axis=0)


def _root_mean_square(x: Array) -> Array:
    """Of each example: [n, h, w, c] -> [n, 1, 1, 1]."""
    return jnp.sqrt(jnp.square(x).mean((1, 2, 3), keepdims=True))
