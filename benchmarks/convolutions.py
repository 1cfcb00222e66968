"""Convolutions and steps of the suppression method by algorithm, beside PyTorch.

    python benchmarks/convolutions.py --network vgg16 --layer relu4_3 --size 224 --images 4
    python benchmarks/convolutions.py --network resnet18 --layer layer3.1 --size 112 --images 8
    python benchmarks/convolutions.py --network vgg_cifar10 --layer relu3_3 --size 48 --images 32

Random weights, float32, the same cores. First a row for each shape of convolution (forward, then
the input's gradient; milliseconds, and GFLOP/s of the convolution's own operations), then the loss
and the input's gradient up to the layer. "I" is the compiler option that keeps XLA's products
apart. Needs PyTorch.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

import jaxinterp
from jaxinterp.losses import suppression_reference
from jaxinterp.losses.suppression import ALPHA, BETA, suppression_terms
from jaxinterp.methods.suppression import layer_maps
from jaxinterp.transform import fast_convolutions, stage
from jaxinterp.transform.convolutions import Geometry, geometry_of
from jaxinterp.transform.program import trace
from jaxinterp.transform.walk import walk

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from torch_networks import torch_network  # pyright: ignore[reportMissingImports]

APART = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
FORMATS = {"torch NCHW": torch.contiguous_format, "torch channels_last": torch.channels_last}


def milliseconds(call: Callable[[], object], seconds: float) -> float:
    """The median of at least three calls, after two that do not count."""
    call()
    call()
    times: list[float] = []
    while len(times) < 3 or (len(times) < 15 and sum(times) < seconds):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 1e3 * float(np.median(times))


def time_jax(fn: Callable[..., Any], *args: Any, seconds: float, apart: bool) -> float:
    compiled = jax.jit(fn, compiler_options=APART if apart else None).lower(*args).compile()
    return milliseconds(lambda: jax.block_until_ready(compiled(*args)), seconds)


def torch_layer(
    geometry: Geometry,
    x: np.ndarray,
    w: np.ndarray,
    dy: np.ndarray,
    layout: torch.memory_format,
    seconds: float,
) -> tuple[float, float]:
    """(forward, input's gradient) of one convolution, milliseconds."""
    tx, tw, tdy = (
        torch.tensor(one).contiguous(memory_format=layout)
        for one in (x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), dy.transpose(0, 3, 1, 2))
    )
    padding = [geometry.padding[0][0], geometry.padding[1][0]]
    options = (None, list(geometry.strides), padding, [1, 1])
    gradient = torch.ops.aten.convolution_backward

    def backward() -> None:
        wanted = [True, False, False]
        gradient(tdy, tx, tw, *options, False, [0, 0], geometry.groups, wanted)

    with torch.no_grad():
        forward = milliseconds(lambda: torch.conv2d(tx, tw, *options, geometry.groups), seconds)
        return forward, milliseconds(backward, seconds)


def layer_rows(geometry: Geometry, seconds: float) -> None:
    """Prints one convolution's times, forward / gradient."""
    rng = np.random.default_rng(0)
    shape = (geometry.images, *geometry.size, geometry.channels)
    filters = (*geometry.window, geometry.channels // geometry.groups, geometry.kernels)
    out = (geometry.images, *geometry.out_size, geometry.kernels)
    x, w, dy = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in (shape, filters, out))
    giga = 2e-9 * np.prod(out) * np.prod(filters[:3])

    def apply(w: jax.Array, x: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x,
            w,
            geometry.strides,
            geometry.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=geometry.groups,
        )

    def backward(fn: Callable[..., Any]) -> Callable[..., Any]:
        return lambda w, x, dy: jax.vjp(lambda x: fn(w, x), x)[1](dy)[0]

    cells = {}
    for algorithm in ("XLA", "auto", "winograd"):
        for apart in (False, True):
            prepared, staged = w, apply
            if algorithm != "XLA":
                prepared, staged = stage(fast_convolutions(apply, algorithm=algorithm), w, x)
            cells[algorithm + (" I" if apart else "")] = (
                time_jax(staged, prepared, x, seconds=seconds, apart=apart),
                time_jax(backward(staged), prepared, x, dy, seconds=seconds, apart=apart),
            )
    (above, below), (left, right) = geometry.padding
    if above == below and left == right:
        for title, layout in FORMATS.items():
            cells[title] = torch_layer(
                geometry, np.array(x), np.array(w), np.array(dy), layout, seconds
            )
    size = f"{geometry.channels} -> {geometry.kernels}, {geometry.size}, {geometry.window}"
    for title, (one, two) in cells.items():
        rates = f"{1e3 * giga / one:.0f} / {1e3 * giga / two:.0f}"
        print(f"| {size} | {title} | {one:.1f} / {two:.1f} | {rates} |", flush=True)


def torch_features(network: jaxinterp.Network, name: str, layer: str) -> nn.Module:
    """The same architecture up to a layer, as PyTorch modules."""
    if name.startswith("resnet"):
        whole, (number, block) = torch_network(name), layer.removeprefix("layer").split(".")
        parts = [whole.conv1, whole.bn1, whole.relu, whole.maxpool]
        parts += [getattr(whole, f"layer{i}") for i in range(1, int(number))]
        return nn.Sequential(*parts, getattr(whole, f"layer{number}")[: int(block) + 1])
    modules, channels = [], 3
    for row in network.layers:
        if row.kind == "conv":
            modules.append(nn.Conv2d(channels, row.channels, 3, padding=1))
            channels = row.channels
        elif row.kind == "batch_norm":
            modules.append(nn.BatchNorm2d(row.channels))
        else:
            modules.append(nn.ReLU() if row.kind == "relu" else nn.MaxPool2d(2))
        if row.name == layer:
            break
    return nn.Sequential(*modules)


def torch_step(features: nn.Module, x: np.ndarray, layout: torch.memory_format) -> Callable:
    features = features.eval().requires_grad_(False)
    features = features.to(memory_format=layout)  # pyright: ignore[reportCallIssue]
    pixels = torch.tensor(x.transpose(0, 3, 1, 2)).contiguous(memory_format=layout)
    lanes = torch.arange(len(x))
    with torch.no_grad():
        before = features(pixels)
    selected = 0.9 * before[lanes, lanes % 8]
    norm, rest = selected.flatten(1).norm(dim=1) + 1e-9, before.abs().sum((1, 2, 3))
    pixels.requires_grad_()

    def step() -> None:
        pixels.grad = None
        maps = features(pixels)
        own = maps[lanes, lanes % 8]
        difference = (own - selected).square().sum((1, 2)).add(1e-12).sqrt()
        others = maps.abs().sum((1, 2, 3)) - own.abs().sum((1, 2))
        size = pixels.abs().sum((1, 2, 3)) / (pixels.shape[2] * pixels.shape[3])
        (difference / norm + ALPHA * others / rest + BETA * size).sum().backward()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", default="vgg16")
    parser.add_argument("--layer", default="relu4_3")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2.0, help="spent on one time")
    parser.add_argument("--step-only", action="store_true", help="leave out the layers")
    options = parser.parse_args()
    name, seconds = options.network, options.seconds
    network = jaxinterp.load(name, weights="random")
    rng = np.random.default_rng(0)
    shape = (options.images, options.size, options.size, 3)
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    maps = layer_maps(network, options.layer)

    found: dict[Geometry, None] = {}

    def visit(level: Any, index: int, equation: Any) -> bool:
        if equation.primitive.name == "conv_general_dilated":
            geometry = geometry_of(equation)
            if geometry is not None:
                found[geometry] = None
        return True

    if not options.step_only:
        print("| convolution | by | ms | GFLOP/s |\n| --- | --- | --- | --- |")
        walk(trace(maps, (network.params, x), {}).body, visit)
        for geometry in found:
            layer_rows(geometry, seconds)

    kernels = jnp.arange(options.images) % 8
    reference = jax.jit(lambda p: suppression_reference(0.9 * maps(p, x), kernels))(network.params)

    def gradient(fn: Callable[..., Any]) -> Callable[..., Any]:
        def total(x: jax.Array, params: Any) -> jax.Array:
            terms = suppression_terms(fn(params, x), x, reference)
            loss = terms.preservation + ALPHA * terms.suppression + BETA * terms.regularization
            return loss.sum()

        return jax.value_and_grad(total)

    rows = {}
    for algorithm in ("XLA", "direct", "auto", "winograd"):
        params, fn = network.params, maps
        if algorithm != "XLA":
            params, fn = stage(fast_convolutions(maps, algorithm=algorithm), params, x)
        for apart in (False, True):
            title = algorithm + (" I" if apart else "")
            rows[title] = time_jax(gradient(fn), x, params, seconds=seconds, apart=apart)
    for title, layout in FORMATS.items():
        features = torch_features(network, name, options.layer)
        rows[title] = milliseconds(torch_step(features, np.array(x), layout), seconds)
    best = min(value for title, value in rows.items() if title.startswith("torch"))
    print(
        f"\n| {name} {options.layer}, {shape} | ms | against the better torch |\n"
        "| --- | --- | --- |"
    )
    for title, value in rows.items():
        print(f"| {title} | {value:.1f} | {best / value:.2f}x |")


if __name__ == "__main__":
    main()
