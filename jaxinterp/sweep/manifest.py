"""What a run stands on: recorded when its folder is new, compared when it is resumed."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from jaxinterp import __version__
from jaxinterp.data.images import NamedImage
from jaxinterp.errors import UserError
from jaxinterp.methods.layer_maps import layer_maps
from jaxinterp.models.layer_table import Layer
from jaxinterp.models.network import Network
from jaxinterp.sweep.config import LayerConfig
from jaxinterp.sweep.plan import choose_kernels, image_digest, needs_activity
from jaxinterp.sweep.store import RunFolder

__all__ = ["check_image_size", "choose_all_kernels", "kernel_activity", "new_manifest", "recorded"]

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "dm-pix")


def check_image_size(network: Network, side: int, *, key: str = "images.size") -> None:
    """Tries a network's shapes on images of so many pixels, without computing anything.

    Raises:
      UserError: they do not fit.
    """
    image = jax.ShapeDtypeStruct((1, side, side, network.preprocess.channels), np.float32)
    try:
        jax.eval_shape(network.apply, network.params, image)
    except ValueError as error:
        raise UserError(
            f"Images of {side} px ({key}) do not fit {network.name}: {error}."
        ) from None


def recorded(
    folder: RunFolder, network: Network, images: Sequence[NamedImage]
) -> dict[str, Any] | None:
    """The manifest of a folder that is resumed, or None in a new one.

    Raises:
      UserError: the folder was made with other weights or images, by another version, or its
        manifest is damaged.
    """
    manifest = folder.manifest
    if manifest is None:
        return None
    if manifest["weights_sha256"] != network.weights_sha256:
        raise UserError(
            f"The weights of {network.name!r} are not those that {folder.name} was made with "
            f"({network.weights_sha256[:12]} instead of {manifest['weights_sha256'][:12]}): "
            "give another `output`."
        )
    digests = {image.name: image_digest(image) for image in images}
    # In this order: it decides which job a stored array belongs to.
    if list(manifest["images"].items()) != list(digests.items()):
        raise UserError(
            f"The images are not those that {folder.name} was made with "
            f"({_difference(manifest['images'], digests)}): give another `output`."
        )
    return manifest


def new_manifest(
    network: Network, images: Sequence[NamedImage], kernels: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """A manifest: versions, devices, what the images and weights are, and the kernels chosen.

    The kernels are recorded: on another machine, rounding could order equally active ones
    otherwise.
    """
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            "jaxinterp": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
        },
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "model": network.name,
        "weights_sha256": network.weights_sha256,
        "images": {image.name: image_digest(image) for image in images},
        "kernels": {layer: list(chosen) for layer, chosen in kernels.items()},
    }


def choose_all_kernels(
    network: Network,
    layers: Sequence[Layer],
    wanted: Sequence[LayerConfig],
    images: Sequence[NamedImage],
    batch: int,
) -> dict[str, list[int]]:
    """The kernels of each layer that a config asks for, by the layer's name.

    Raises:
      UserError: as `choose_kernels`.
    """
    kernels = {}
    for layer, own in zip(layers, wanted, strict=True):
        mean, share = None, None
        if needs_activity(own):
            mean, share = kernel_activity(network, layer, images, batch)
        kernels[layer.name] = choose_kernels(own.kernels, layer, mean, share)
    return kernels


def kernel_activity(
    network: Network, layer: Layer, images: Sequence[NamedImage], batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """How active each kernel of a layer is, so many images at a time.

    Returns:
      (mean activation over all images and positions [kernels], share of the images on which the map
      is not zero everywhere, in [0, 1], [kernels]).
    """
    maps = layer_maps(network, layer.name)

    @jax.jit
    def measure(params: Any, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        values = maps(params, inputs)
        return values.mean((1, 2)), (values != 0).any((1, 2))

    total, active = np.zeros(layer.channels), np.zeros(layer.channels)
    for start in range(0, len(images), batch):
        pixels = np.stack([image.pixels for image in images[start : start + batch]])
        means, heard = measure(network.params, network.preprocess(pixels))
        total += np.asarray(means).sum(0)
        active += np.asarray(heard).sum(0)
    return total / len(images), active / len(images)


def _difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    kinds = {
        "missing": [name for name in old if name not in new],
        "new": [name for name in new if name not in old],
        "changed": [name for name in old if name in new and old[name] != new[name]],
    }
    parts = [f"{kind}: {', '.join(names[:4])}" for kind, names in kinds.items() if names]
    return "; ".join(parts) or "another order"
