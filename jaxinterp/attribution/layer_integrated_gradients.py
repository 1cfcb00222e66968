"""Integrated gradients of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxinterp.attribution.backward import as_images
from jaxinterp.attribution.conductance import LayerAttributions, check_layers, conductance
from jaxinterp.attribution.micro_batches import MEMORY
from jaxinterp.attribution.parts import as_layers, values_below
from jaxinterp.attribution.paths import Forward, Integrals, as_baselines, integrate
from jaxinterp.attribution.plans import remember
from jaxinterp.attribution.seeds import Seed, spread_targets
from jaxinterp.errors import UserError
from jaxinterp.transform import capture, tail

__all__ = ["layer_integrated_gradients"]


def layer_integrated_gradients(
    fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    images: jax.Array,
    seed: Seed,
    targets: Any,
    layers: Sequence[str],
    *,
    path: Literal["layer", "input"] = "layer",
    derivative: Literal["exact", "difference"] = "exact",
    baselines: Any = 0.0,
    n_steps: int = 50,
    method: str = "gauss_legendre",
    batch_size: int | None = None,
    memory: int = MEMORY,
) -> LayerAttributions:
    """Integrated gradients of the units of layers.

    Two paths are in use, and their results differ:

    - "layer": the straight line, in the layer's own space, from its values at the baseline to those
      at the image. Only the network above the layer is evaluated on it. Values that skip around the
      layer keep the image's own, as in Captum's `LayerIntegratedGradients`.
    - "input": the straight line of images; see `conductance`, which serves all layers in one pass.

    Args:
        fn: The network, `fn(params, images) -> outputs`, for any number of images.
        params: Its parameters, a pytree of arrays.
        images: [n, h, w, c], floating point.
        seed: What is explained.
        targets: A pytree of int arrays, [t] (every target on every image) or [t, n] (each image its
            own).
        layers: The taps, below the seed's layer.
        path: "layer" or "input".
        derivative: Of "input" only; see `conductance`.
        baselines: Images where the lines begin: a number, or an array that broadcasts to `images`.
        n_steps: The number of points on a line, at least 1.
        method: As in `integrated_gradients`.
        batch_size: How many (image, step, target) are sent back at a time; as in
            `integrated_gradients`, and unless given another number for each layer.
        memory: Bytes that these may take.

    Returns:
        The attributions. With "layer", `baseline_score` is the score where the layer has its
        baseline value and whatever skips around it the image's, so that `delta` is the error of
        integration. It is the score of the baseline image if nothing skips around the layer
        (`transform.tail` reports that as `full_cut`).

    Raises:
        UserError: As `integrated_gradients`; no layers; a layer that the seed does not depend on.
        UnknownTapError: A layer is not tapped.

    Example:
        >>> result = layer_integrated_gradients(apply, params, images, logit(), [3], ["relu5_3"])
        >>> result.attributions["relu5_3"].shape
        (1, 8, 14, 14, 512)
    """
    if path == "input":
        return conductance(
            fn,
            params,
            images,
            seed,
            targets,
            layers,
            derivative=derivative,
            baselines=baselines,
            n_steps=n_steps,
            method=method,
            batch_size=batch_size,
            memory=memory,
        )
    if path != "layer":
        raise UserError(f'path must be "layer" or "input", not {path!r}.')
    images = as_images(images)
    baselines = as_baselines(baselines, images)
    targets = spread_targets(targets, len(images))
    layers = as_layers(layers)
    remember(_check, (fn, seed.layer, tuple(layers)), params, images)

    def of_layer(name: str) -> Integrals:
        return integrate(
            _LineInLayer(fn, seed.layer, name),
            params,
            images,
            baselines,
            seed,
            targets,
            n_steps=n_steps,
            method=method,
            batch_size=batch_size,
            memory=memory,
        )

    found = {name: of_layer(name) for name in layers}
    return LayerAttributions(
        {name: integrals.attributions for name, integrals in found.items()},
        {name: integrals.delta for name, integrals in found.items()},
        found[layers[0]].score,
        {name: integrals.baseline_score for name, integrals in found.items()},
    )


def _check(
    key: tuple[Callable[[Any, jax.Array], jax.Array], str | None, tuple[str, ...]],
    params: Any,
    images: jax.ShapeDtypeStruct,
) -> None:
    fn, seed_layer, layers = key
    below = values_below(fn, seed_layer, params, images, layers=layers)
    check_layers(below, params, images, layers)


@dataclass(frozen=True)
class _LineInLayer:
    """From a layer's value at the baseline to that at the image, through the network above it."""

    fn: Callable[[Any, jax.Array], jax.Array]
    seed_layer: str | None
    layer: str

    def ends(
        self, params: Any, image: jax.Array, baseline: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        ends = jnp.stack([baseline, image])
        start, end = capture(self.fn, [self.layer])(params, ends)[self.layer]
        return start, end

    def forward(self, params: Any, image: jax.Array) -> Forward:
        below = values_below(self.fn, self.seed_layer, params, image[None], layers=[self.layer])
        above = tail(below.compute, below.name(self.layer), params, image[None])
        # The tail belongs to one image: what skips around the layer is computed once for all points
        # (and not at all if nothing does).
        return jax.vmap(lambda point: above.fn(point[None])[0])
