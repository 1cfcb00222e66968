"""Forward pass and input gradient of the networks, beside PyTorch.

    python benchmarks/zoo_throughput.py [--names resnet50 vgg16] [--images 4] [--repeats 5]

The same architecture and image size in both, random weights, float32, on the same cores (or both on
the GPU, where both see one). PyTorch runs NCHW and channels_last, and `torch.compile` if asked; the
better counts. Prints the least time of the repeats, the ratio PyTorch / JAX (above 1: JAX is
quicker), and what JAX's first calls took, which is mostly compilation. Needs PyTorch.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import torch

import jaxinterp

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from torch_networks import torch_network

NAMES = ("alexnet", "vgg16", "resnet18", "resnet50", "resnext50_32x4d", "vgg_f", "cifar_resnet20")


def least_seconds(call: Callable[[], None], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def time_jax(name: str, images: np.ndarray, repeats: int) -> tuple[float, float, float]:
    """(forward, gradient, first calls of both) in seconds."""
    network = jaxinterp.load(name, weights="random")
    inputs = network.preprocess(images)
    forward = jax.jit(network.apply)
    gradient = jax.jit(jax.grad(lambda x, params: network.apply(params, x)[:, 3].sum()))
    calls = (
        lambda: forward(network.params, inputs).block_until_ready(),
        lambda: gradient(inputs, network.params).block_until_ready(),
    )
    first = sum(least_seconds(call, 1) for call in calls)
    one, two = (least_seconds(call, repeats) for call in calls)
    return one, two, first


def time_torch(
    name: str, images: np.ndarray, repeats: int, *, compiled: bool
) -> tuple[float, float]:
    """(forward, gradient) in seconds, the better of the two memory formats for each."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        network = torch_network(name).eval().to(device).requires_grad_(False)
        network = network.to(memory_format=memory_format)
        inputs = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)
        inputs = inputs.to(memory_format=memory_format)
        apply = torch.compile(network) if compiled else network

        def wait() -> None:
            if device == "cuda":
                torch.cuda.synchronize()

        def forward(apply=apply, inputs=inputs) -> None:
            with torch.no_grad():
                apply(inputs)
            wait()

        def gradient(apply=apply, inputs=inputs) -> None:
            pixels = inputs.clone().requires_grad_()
            apply(pixels)[:, 3].sum().backward()
            wait()

        forward()
        gradient()
        found.append((least_seconds(forward, repeats), least_seconds(gradient, repeats)))
    return min(one for one, _ in found), min(two for _, two in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", nargs="*", default=NAMES)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    print(f"{jax.devices()[0].device_kind}, {options.images} images, milliseconds")
    print("| network | forward | PyTorch | | gradient | PyTorch | | first calls |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.names:
        preprocess = jaxinterp.load(name, weights="random").preprocess
        shape = options.images, preprocess.size, preprocess.size, preprocess.channels
        images = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
        ours = time_jax(name, images, options.repeats)
        theirs = time_torch(name, images, options.repeats, compiled=options.compile)
        parts = [
            f"{1e3 * a:.0f} | {1e3 * b:.0f} | {b / a:.2f}x"
            for a, b in zip(ours, theirs, strict=False)
        ]
        print(f"| {name} | {' | '.join(parts)} | {ours[2]:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
