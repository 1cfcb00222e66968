"""The grid that strides leave in guided backprop, and what stride-1 resampling does about it.

    python benchmarks/stride_artefacts.py --weights resnet18.safetensors --folder IMAGES

docs/stride.md explains it (`jaxinterp.transform.with_stride_one`; Oramas et al. 2019, section 3.3).
Without weights and a folder: random weights, and pictures that scikit-image ships. VGG-F always
has random weights. 224 px, the most active kernels of each layer. Two tables a network:

1. Seeds are whole kernel maps. How much of the signal at the image is grid: `grid_share` and
   `phase_variation` (jaxinterp.metrics.artefact) at the stride's frequencies; medians over images
   and kernels, and in brackets by how much each falls (the median of the ratios).
2. Seeds are single units (the map's maximum among those whose receptive field lies in the image).
   Where the heat map points, relative to the unit's receptive field; and in brackets where guided
   backprop does when blurred by the Gaussian that leaves the same share of grid in the signal of
   the same kernel's map. Means over images and kernels.

`--picture FILE` saves one kernel's signal instead. 16 minutes on two cores beside other work.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

import jaxinterp
from jaxinterp.attribution import Seed, gradient, kernel_map, unit
from jaxinterp.metrics.artefact import grid_share, phase_variation
from jaxinterp.models.layer_table import Layer
from jaxinterp.transform import (
    Composite,
    guided_backprop,
    stride_one,
    with_stride_one,
)

SIZE = 224
GRIDS: dict[str, dict[str, tuple[int, ...]]] = {
    "resnet": {"relu1": (2,), "maxpool": (2, 4), "layer1.1": (2, 4), "layer2.1": (2, 4)},
    "vgg_f": {"relu1": (4,), "relu2": (4, 8), "relu3": (4, 8)},
}
"""Seed layers, and the strides at whose frequencies the signal is looked at; the first layer's
stride comes first."""


PLAIN = "guided backprop"
METHODS: dict[str, Composite] = {
    PLAIN: guided_backprop,
    "stride 1": with_stride_one(guided_backprop, variant="paper"),
    "stride 1, pooling too": with_stride_one(guided_backprop, pooling=True, variant="paper"),
    "stride 1, first layer only": dataclasses.replace(
        guided_backprop, first=(("conv",), stride_one)
    ),
    "stride 1, centred": with_stride_one(guided_backprop),
}
PLACES = ("inside", "energy inside", "middle half", "offset, px", "spread, px")


shares = jax.jit(grid_share, static_argnums=1)


def signals(
    network: jaxinterp.Network, inputs: jax.Array, seed: Seed, targets: object, composite: Composite
) -> np.ndarray:
    """What arrives at the images, [kernels, images, h, w, 3]."""

    @jax.jit
    def send(params: object, inputs: jax.Array, targets: object) -> jax.Array:
        return gradient(network.apply, params, inputs, seed, targets, composite=composite)

    return np.asarray(send(network.params, inputs, targets))


def blur(signal: np.ndarray, sigma: float) -> np.ndarray:
    """[h, w, c], by a Gaussian of so many pixels."""
    return gaussian_filter(signal, (sigma, sigma, 0), mode="constant", truncate=5)


def sigma_to(signal: np.ndarray, share: float, stride: int) -> float:
    """The least blur, in pixels, that leaves no more than this share of grid."""
    low, high = 0.0, 5.0
    for _ in range(10):
        middle = (low + high) / 2
        above = float(shares(blur(signal, middle), stride)) > share
        low, high = (middle, high) if above else (low, middle)
    return high


class Field(NamedTuple):
    """Where the units of a layer look, in pixels: `Layer` with numbers for certain."""

    stride: int
    side: int
    padding: int

    @classmethod
    def of(cls, layer: Layer) -> Field:
        """That of a layer of a network here: the same along both axes."""
        numbers = (layer.stride, layer.receptive_field, layer.padding)
        assert all(isinstance(number, int) for number in numbers)
        return cls(*numbers)  # type: ignore[arg-type]


def best_units(field: Field, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column, [kernels, images], of each map's maximum, from maps [images, h, w, kernels].

    Only units count whose receptive field lies in the image; the middle one if there is none.
    """
    first = np.arange(maps.shape[1]) * field.stride - field.padding
    whole = np.flatnonzero((first >= 0) & (first + field.side <= SIZE))
    whole = whole if len(whole) else np.array([maps.shape[1] // 2])
    part = maps[:, whole][:, :, whole].reshape(len(maps), -1, maps.shape[-1])
    best = part.argmax(1).T
    return whole[best // len(whole)], whole[best % len(whole)]


def place(signal: np.ndarray, top: int, left: int, side: int) -> tuple[float, ...]:
    """Where a signal is, relative to a receptive field; the order is that of `PLACES`.

    The heat map is the signal's norm over the channels. Its share inside; the share of its square;
    its share in the middle half, each way; how far its centroid is from the field's centre; and its
    root mean square distance from there.
    """
    energy = (signal.astype(np.float64) ** 2).sum(-1)
    heat = np.sqrt(energy)
    energy, heat = energy / energy.sum(), heat / heat.sum()
    rows, columns = np.mgrid[: heat.shape[0], : heat.shape[1]]
    down, right = rows - (top + (side - 1) / 2), columns - (left + (side - 1) / 2)
    far = np.maximum(abs(down), abs(right))
    inside, middle = far <= side / 2, far <= side / 4
    return (
        float(heat[inside].sum()),
        float(energy[inside].sum()),
        float(heat[middle].sum()),
        float(np.hypot((heat * down).sum(), (heat * right).sum())),
        float(np.sqrt((heat * (down**2 + right**2)).sum())),
    )


def study(network: jaxinterp.Network, family: str, images: np.ndarray, kernels: int) -> None:
    """Prints both tables of one network."""
    inputs = network.preprocess(images)
    where: list[str] = []
    print("| seed layer | stride | measure | " + " | ".join(METHODS) + " |")
    print("| --- " * (3 + len(METHODS)) + "|")
    for name, strides in GRIDS[family].items():
        field = Field.of(network.layers.find(name))
        captured = jax.jit(jaxinterp.capture(network.apply, [name]))(network.params, inputs)[name]
        maps = np.asarray(captured)
        chosen = np.argsort(-maps.mean((0, 1, 2)))[:kernels]
        of_maps = {
            method: signals(network, inputs, kernel_map(name), jnp.asarray(chosen), composite)
            for method, composite in METHODS.items()
        }
        for stride in strides:
            for measure in (grid_share, phase_variation):
                values = {
                    method: np.asarray(measure(jnp.asarray(signal), stride))
                    for method, signal in of_maps.items()
                }
                cells = [
                    f"{np.median(value):.1e}"
                    + ("" if method == PLAIN else f" ({np.median(values[PLAIN] / value):.3g}x)")
                    for method, value in values.items()
                ]
                title = measure.__name__.replace("_", " ")
                print(f"| `{name}` | {stride} | {title} | " + " | ".join(cells) + " |", flush=True)
        row, column = best_units(field, maps[..., chosen])
        target = np.broadcast_to(chosen[:, None], row.shape), row, column
        of_units = {
            method: signals(network, inputs, unit(name), jax.tree.map(jnp.asarray, target), rules)
            for method, rules in METHODS.items()
        }
        for method in METHODS:
            found, blurred, widths = [], [], []
            for index in map(tuple, np.argwhere(of_units[PLAIN].any((-3, -2, -1)))):
                top, left = (int(at[index]) * field.stride - field.padding for at in (row, column))
                box = (top, left, field.side)
                found.append(place(of_units[method][index], *box))
                if method == PLAIN:
                    continue
                share = float(shares(of_maps[method][index], strides[0]))
                widths.append(sigma_to(of_maps[PLAIN][index], share, strides[0]))
                blurred.append(place(blur(of_units[PLAIN][index], widths[-1]), *box))
            cells = [f"{np.median(widths):.2f}" if widths else ""]
            for column_of in range(len(PLACES)):
                digits = 3 if column_of < 3 else 2
                cell = f"{np.mean(found, axis=0)[column_of]:.{digits}f}"
                if blurred:
                    cell += f" ({np.mean(blurred, axis=0)[column_of]:.{digits}f})"
                cells.append(cell)
            seed = f"`{name}`, {field.side} px, n = {len(found)}"
            where.append(f"| {seed} | {method} | " + " | ".join(cells) + " |")
    print("\n| seed unit's layer | method | sigma, px | " + " | ".join(PLACES) + " |")
    print("| --- " * (3 + len(PLACES)) + "|")
    print("\n".join(where) + "\n", flush=True)


def save_picture(network: jaxinterp.Network, layer: str, kernels: list[int], path: str) -> None:
    """A row a kernel: original, guided backprop, stride 1, blurred to the same share of grid."""
    named, _ = jaxinterp.load_images(jaxinterp.ImagesConfig(size=SIZE, pictures=("chelsea",)))
    inputs = network.preprocess(named[0].pixels[None])
    chosen = jnp.asarray(kernels)
    plain, smooth = (
        signals(network, inputs, kernel_map(layer), chosen, METHODS[method])[:, 0]
        for method in (PLAIN, "stride 1")
    )
    part = (slice(56, 128), slice(44, 116))
    original = named[0].pixels[part]
    rows = []
    for number in range(len(kernels)):
        sigma = sigma_to(plain[number], float(shares(smooth[number], 2)), 2)
        print(f"{layer}, kernel {kernels[number]}: blurred by {sigma:.2f} px")
        panels = [original]
        for signal in (plain[number], smooth[number], blur(plain[number], sigma)):
            heat = np.linalg.norm(signal, axis=-1, keepdims=True)[part]
            panels.append(np.clip(heat / np.quantile(heat, 0.99), 0, 1).repeat(3, -1))
        framed = [np.pad(panel, ((1, 1), (1, 1), (0, 0)), constant_values=1) for panel in panels]
        rows.append(np.concatenate(framed, axis=1))
    image = Image.fromarray((255 * np.concatenate(rows)).round().astype(np.uint8))
    image = image.resize((3 * image.width, 3 * image.height), Image.Resampling.NEAREST)
    image.quantize(128).save(path, optimize=True)


def main() -> None:
    """Measures, and prints tables."""
    parser = argparse.ArgumentParser(description="The grid that strides leave.")
    parser.add_argument("--network", default="resnet18", help="any of torchvision's ResNets")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--folder", help="images; unless given, pictures of scikit-image")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--kernels", type=int, default=6)
    parser.add_argument("--picture", help="where to save a picture instead")
    parser.add_argument("--layer", default="relu1", help="of the picture")
    parser.add_argument("--kernel", type=int, nargs="+", default=[19, 61], help="of the picture")
    options = parser.parse_args()

    network = jaxinterp.load(options.network, weights=options.weights)
    if options.picture:
        save_picture(network, options.layer, options.kernel, options.picture)
        return
    pictures = ("astronaut", "chelsea", "coffee", "rocket", "colorwheel", "retina")
    config = jaxinterp.ImagesConfig(
        size=SIZE,
        pictures=() if options.folder else pictures[: options.images],
        folder=options.folder,
        limit=options.images,
    )
    images = np.stack([image.pixels for image in jaxinterp.load_images(config)[0]])
    for family, model in (
        ("resnet", network),
        ("vgg_f", jaxinterp.load("vgg_f", weights="random")),
    ):
        print(f"## {model.name} ({model.weights_sha256[:12]}), {len(images)} images\n")
        started = time.perf_counter()
        study(model, family, images, options.kernels)
        print(f"{time.perf_counter() - started:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
