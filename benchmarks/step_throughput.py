"""Steps a second of the suppression method, beside the same algorithm in PyTorch.

    python benchmarks/step_throughput.py [--layer relu3_3] [--lanes 32] [--size 48] [--steps 20]

Both run the built-in network with the same weights, the same loss (relative normalization), one
Adam step a lane, on the same cores (or both on the GPU, where both see one). PyTorch runs NCHW and
channels_last, and `torch.compile` if asked: the ratio is to the better. JAX's compile time is said
apart. Needs PyTorch (`make parity` installs it).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import torch

import jaxinterp
from jaxinterp.losses import suppression_reference
from jaxinterp.losses.suppression import ALPHA, BETA
from jaxinterp.methods.suppression import layer_maps, suppression_objective
from jaxinterp.optimize import Lanes, find_recipe
from jaxinterp.weights.layout import to_torch_layout


def torch_features(network: jaxinterp.Network, layer: str) -> torch.nn.Sequential:
    """The built-in network up to a layer, as PyTorch modules with the same weights."""
    params = {name: np.asarray(value) for name, value in network.params.items()}
    state = {k: torch.tensor(v) for k, v in to_torch_layout(params, flattened={}).items()}
    modules: list[torch.nn.Module] = []
    for row in network.layers:
        name = row.alias
        if row.kind == "conv":
            weight = state[f"{name}.weight"]
            module: torch.nn.Module = torch.nn.Conv2d(
                weight.shape[1], weight.shape[0], 3, padding=1
            )
        elif row.kind == "batch_norm":
            module = torch.nn.BatchNorm2d(row.channels)
        else:
            module = torch.nn.ReLU() if row.kind == "relu" else torch.nn.MaxPool2d(2)
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        module.load_state_dict(own, strict=False)
        modules.append(module)
        if row.name == layer:
            break
    return torch.nn.Sequential(*modules).eval().requires_grad_(False)


def torch_step(
    features: torch.nn.Module, inputs: np.ndarray, kernels: np.ndarray, *, channels_last: bool
) -> Callable[[], None]:
    """One step of all lanes: loss, gradient, Adam."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    features = features.to(device).to(memory_format=layout)
    x = torch.tensor(inputs.transpose(0, 3, 1, 2), device=device).contiguous(memory_format=layout)
    lanes, index = torch.arange(len(kernels), device=device), torch.tensor(kernels, device=device)
    before = features(x)
    selected = before[lanes, index]
    norm = selected.flatten(1).norm(dim=1)
    rest = before.abs().sum((1, 2, 3)) - selected.abs().sum((1, 2))
    x = x.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.01, betas=(0.9, 0.9))

    def step() -> None:
        optimizer.zero_grad()
        maps = features(x)
        own = maps[lanes, index]
        difference = (own - selected).square().sum((1, 2)).add(1e-12).sqrt()
        others = maps.abs().sum((1, 2, 3)) - own.abs().sum((1, 2))
        pixels = x.abs().sum((1, 2, 3)) / (x.shape[2] * x.shape[3])
        (difference / norm + ALPHA * others / rest + BETA * pixels).sum().backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def seconds_a_step(step: Callable[[], object], steps: int) -> float:
    """The median over single steps, after two that do not count."""
    times = []
    for _ in range(steps + 2):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return float(np.median(times[2:]))


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layer", default="relu3_3")
    parser.add_argument("--lanes", type=int, default=32)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    options = parser.parse_args()

    network = jaxinterp.load("vgg_cifar10")
    named, _ = jaxinterp.load_images(
        jaxinterp.ImagesConfig(size=options.size, pictures=("astronaut", "coffee"))
    )
    pixels = np.stack([image.pixels for image in named])
    inputs = np.asarray(network.preprocess(np.resize(pixels, (options.lanes, *pixels.shape[1:]))))
    kernels = np.arange(options.lanes) % network.layers.find(options.layer).channels

    maps = layer_maps(network, options.layer)
    reference = suppression_reference(maps(network.params, inputs), jnp.asarray(kernels))
    objective = suppression_objective(network, options.layer, alpha=ALPHA, beta=BETA)
    lanes = Lanes(objective, find_recipe("adam").optimizer(), 10**6)
    state = lanes.start(inputs, reference)
    started = time.perf_counter()
    segment = lanes.segment(1)
    state, _ = segment(network.params, state)
    jax.block_until_ready(state.inputs)
    compile_seconds = time.perf_counter() - started

    def total(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return objective(params, x, reference)[0].sum()

    gradient = jax.jit(jax.grad(total, argnums=1)).lower(network.params, state.inputs).compile()
    flops = (gradient.cost_analysis() or {}).get("flops", float("nan"))

    def jax_step() -> None:
        nonlocal state
        state, trace = segment(network.params, state)
        jax.block_until_ready(trace)

    rows = {"JAX": seconds_a_step(jax_step, options.steps)}
    features = torch_features(network, options.layer)
    for title, channels_last in (("torch NCHW", False), ("torch channels_last", True)):
        step = torch_step(features, inputs, kernels, channels_last=channels_last)
        rows[title] = seconds_a_step(step, options.steps)
        if options.compile:
            rows[f"{title}, compiled"] = seconds_a_step(torch.compile(step), options.steps)
    best = min(value for title, value in rows.items() if title != "JAX")
    print(
        f"{options.layer}, {options.lanes} lanes, {options.size} px, "
        f"{jax.devices()[0].device_kind}; jax {version('jax')}, torch {torch.__version__}; "
        f"JAX compiled and took a first step in {compile_seconds:.1f} s\n"
    )
    print("| | ms a step | lane steps/s | GFLOP/s | against the best torch |")
    print("| --- | --- | --- | --- | --- |")
    for title, value in rows.items():
        print(
            f"| {title} | {1e3 * value:.1f} | {options.lanes / value:.0f} "
            f"| {flops / value / 1e9:.0f} | {best / value:.2f}x |"
        )


if __name__ == "__main__":
    main()
