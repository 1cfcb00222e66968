"""What `attribution.py` measures: each method here, in Captum, in Zennit and in plain PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import captum.attr
import jax
import jax.numpy as jnp
import numpy as np
import torch
from attribution_networks import Twins, below_layer, guided_relus, make_twins
from attribution_zennit import RULES, relevance_call, zennit_installed
from torch import nn

from jaxinterp import attribution

__all__ = ["CASES", "Call", "Case", "Options", "Results", "Rival"]

Results = list[np.ndarray]
Call = Callable[[], Results]

TARGET = 3
KERNELS = 32
SAMPLES = 50
LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


class Rival(NamedTuple):
    """Another program for the same task.

    Attributes:
        title: What it is.
        variants: Ways to call it, of which the quickest counts; none if it is not installed.
        goal: The ratio that is to be reached, if any.
        comparable: Whether the results are to be the same.
    """

    title: str
    variants: Mapping[str, Call]
    goal: float | None = None
    comparable: bool = True


class Case(NamedTuple):
    """A task, and who does it. Results are lists of arrays with channels last.

    Attributes:
        title: The task.
        ours: The call of this library.
        rivals: The others.
    """

    title: str
    ours: Call
    rivals: Sequence[Rival]


class Options(NamedTuple):
    """What may be chosen on the command line.

    Attributes:
        size: The images' side, in pixels.
        steps: The number of points on the paths of layers.
        images: The number of images of a single backward pass.
        quick: Whether PyTorch runs channels_last with large internal batches only.
    """

    size: int = 224
    steps: int = 10
    images: int = 2
    quick: bool = False


def kernels(options: Options, layer: str) -> Case:
    """Many kernels of one image by guided backpropagation."""
    twins = make_twins("vgg16", images=1, size=options.size)
    numbers = np.arange(KERNELS)
    seed = attribution.kernel_sum(layer)

    def ours(params: Any, images: Any) -> Any:
        return attribution.guided_backprop(twins.ours.apply, params, images, seed, numbers)[:, 0]

    below = below_layer(twins.theirs, twins.ours.layers.find(layer).alias)

    def captum_batch(network: nn.Module, images: torch.Tensor) -> Callable[[], Any]:
        method = captum.attr.GuidedBackprop(network)
        copies = images.expand(KERNELS, -1, -1, -1)
        return lambda: method.attribute(copies, torch.from_numpy(numbers))

    def captum_loop(network: nn.Module, images: torch.Tensor) -> Callable[[], Any]:
        method = captum.attr.GuidedBackprop(network)
        return lambda: torch.cat([method.attribute(images, int(number)) for number in numbers])

    def graph(network: nn.Module, images: torch.Tensor) -> Callable[[], Any]:
        guided = guided_relus(network)

        def repeated() -> torch.Tensor:
            pixels = images.clone().requires_grad_()
            sums = guided(pixels)[0]
            signals = [
                torch.autograd.grad(sums[number], pixels, retain_graph=True)[0]
                for number in numbers
            ]
            return torch.cat(signals)

        return repeated

    def batched_graph(network: nn.Module, images: torch.Tensor) -> Callable[[], Any]:
        guided = guided_relus(network)

        def batched() -> torch.Tensor:
            pixels = images.clone().requires_grad_()
            sums = guided(pixels)[0]
            signals = torch.eye(len(sums))[torch.from_numpy(numbers)]
            (found,) = torch.autograd.grad(sums, pixels, signals, is_grads_batched=True)
            return found[:, 0]

        return batched

    return Case(
        f"guided backprop, {KERNELS} kernels of `{layer}`, vgg16, {options.size} px",
        _ours(twins, ours),
        [
            Rival("Captum, one batch", _theirs(options, twins, captum_batch, below), goal=1.5),
            Rival("Captum, in a loop", _theirs(options, twins, captum_loop, below)),
            Rival("one graph, repeated backward", _theirs(options, twins, graph, below), goal=1.0),
            Rival("one graph, batched backward", _theirs(options, twins, batched_graph, below)),
        ],
    )


def saliency(options: Options, name: str) -> Case:
    """The gradient of one logit."""
    twins = make_twins(name, images=options.images, size=options.size)

    def ours(params: Any, images: Any) -> Any:
        seed = attribution.logit()
        return attribution.gradient(twins.ours.apply, params, images, seed, [TARGET])[0]

    def theirs(network: nn.Module, images: torch.Tensor) -> Callable[[], Any]:
        method = captum.attr.Saliency(network)
        return lambda: method.attribute(images.requires_grad_(), TARGET, abs=False)

    title = f"saliency, {name}, {options.images} images, {options.size} px"
    return Case(title, _ours(twins, ours), [Rival("Captum", _theirs(options, twins, theirs))])


def smooth_grad(options: Options, name: str) -> Case:
    """The mean gradient of noisy copies; each side draws its own noise."""
    twins = make_twins(name, images=1, size=options.size)
    sigma = 0.15

    def ours(params: Any, images: Any) -> Any:
        seed = attribution.logit()
        return attribution.smooth_grad(
            jax.random.key(0),
            twins.ours.apply,
            params,
            images,
            seed,
            [TARGET],
            n_samples=SAMPLES,
            sigma=sigma,
        )[0]

    def theirs(size: int) -> Any:
        def make(network: nn.Module, images: torch.Tensor) -> Callable[[], Any]:
            method = captum.attr.NoiseTunnel(captum.attr.Saliency(network))
            deviation = sigma * float(images.max() - images.min())
            return lambda: method.attribute(
                images,
                nt_type="smoothgrad",
                nt_samples=SAMPLES,
                nt_samples_batch_size=size,
                stdevs=deviation,
                target=TARGET,
                abs=False,
            )

        return make

    rival = Rival("Captum", _batches(options, twins, theirs, (5, 25)), comparable=False)
    return Case(
        f"SmoothGrad, {name}, {options.size} px, {SAMPLES} samples",
        _ours(twins, ours, path=True),
        [rival],
    )


def integrated_gradients(options: Options, name: str) -> Case:
    """Along a line of images."""
    twins = make_twins(name, images=1, size=options.size)

    def ours(params: Any, images: Any) -> Any:
        seed = attribution.logit()
        found = attribution.integrated_gradients(
            twins.ours.apply, params, images, seed, [TARGET], n_steps=SAMPLES
        )
        return found.attributions[0]

    def theirs(size: int) -> Any:
        def make(network: nn.Module, images: torch.Tensor) -> Callable[[], Any]:
            method = captum.attr.IntegratedGradients(network)
            return lambda: method.attribute(
                images, target=TARGET, n_steps=SAMPLES, internal_batch_size=size
            )

        return make

    rival = Rival("Captum", _batches(options, twins, theirs, (5, 25)))
    return Case(
        f"integrated gradients, {name}, {options.size} px, {SAMPLES} steps",
        _ours(twins, ours, path=True),
        [rival],
    )


def layer_paths(options: Options, name: str, path: str) -> Case:
    """All convolutions of a network, along a line of their own values or of images."""
    twins = make_twins(name, images=1, size=options.size)
    layers = [layer for layer in twins.ours.layers if layer.kind == "conv"]
    method = {
        "layer": captum.attr.LayerIntegratedGradients,
        "input": captum.attr.LayerConductance,
    }[path]

    def ours(params: Any, images: Any) -> Any:
        found = attribution.layer_integrated_gradients(
            twins.ours.apply,
            params,
            images,
            attribution.logit(),
            [TARGET],
            [layer.name for layer in layers],
            path=path,
            derivative="difference",
            n_steps=options.steps,
        )
        return [found.attributions[layer.name][0] for layer in layers]

    def theirs(size: int) -> Any:
        def make(network: nn.Module, images: torch.Tensor) -> Callable[[], Any]:
            methods = [method(network, network.get_submodule(layer.alias)) for layer in layers]
            return lambda: [
                one.attribute(
                    images, target=TARGET, n_steps=options.steps, internal_batch_size=size
                )
                for one in methods
            ]

        return make

    title = {"layer": "layer integrated gradients", "input": "conductance"}[path]
    goal = {"layer": 1.3, "input": 8.0 if name == "vgg16" else None}[path]
    rival = Rival("Captum, layer by layer", _batches(options, twins, theirs, (3, 11)), goal)
    return Case(
        f"{title}, {len(layers)} convolutions, {name}, {options.size} px, {options.steps} steps",
        _ours(twins, ours, path=True),
        [rival],
    )


def relevance(options: Options, name: str, rule: str) -> Case:
    """Layer-wise relevance propagation; batch norm is folded."""
    twins = make_twins(name, images=options.images, size=options.size, folded=True)
    low, high = twins.ours.preprocess.bounds(twins.images)
    composite = RULES[rule].ours(low, high)

    def ours(params: Any, images: Any) -> Any:
        found = attribution.lrp.lrp(
            twins.ours.apply, params, images, attribution.logit(), [TARGET], composite=composite
        )
        return found.images[0]

    def captum_call(network: nn.Module, images: torch.Tensor) -> Callable[[], Any]:
        method = captum.attr.LRP(network)
        return lambda: method.attribute(images, target=TARGET)

    def zennit_call(network: nn.Module, images: torch.Tensor) -> Callable[[], Any]:
        return relevance_call(network, images, rule, low, high, TARGET)

    rivals = []
    if rule == "epsilon" and not name.startswith("resnet"):
        rivals.append(Rival("Captum", _theirs(options, twins, captum_call), goal=1.0))
    variants = _theirs(options, twins, zennit_call) if zennit_installed() else {}
    rivals.append(Rival("Zennit", variants, goal=1.0))
    title = f"LRP, {RULES[rule].title}, {name}, {options.images} images, {options.size} px"
    return Case(title, _ours(twins, ours), rivals)


def _ours(twins: Twins, function: Callable[[Any, Any], Any], *, path: bool = False) -> Call:
    """A function of (params, images), jitted unless it walks along paths, which jits its steps."""
    called = function if path else jax.jit(function)
    params = jax.tree.map(jnp.asarray, twins.ours.params)
    images = jnp.asarray(twins.images)

    def call() -> Results:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(called(params, images))]

    return call


def _theirs(
    options: Options,
    twins: Twins,
    make: Callable[[nn.Module, torch.Tensor], Callable[[], Any]],
    network: nn.Module | None = None,
) -> dict[str, Call]:
    """A variant for each memory format: `make(network, images)` returns a call."""
    original = twins.theirs if network is None else network
    pixels = torch.from_numpy(np.ascontiguousarray(twins.images.transpose(0, 3, 1, 2)))

    def variant(memory_format: torch.memory_format) -> Call:
        own = copy.deepcopy(original).to(memory_format=memory_format)
        call = make(own, pixels.contiguous(memory_format=memory_format))

        def read() -> Results:
            result = call()
            tensors = result if isinstance(result, list | tuple) else [result]
            return [_channels_last(tensor.detach().numpy()) for tensor in tensors]

        return read

    chosen = list(LAYOUTS)[-1:] if options.quick else list(LAYOUTS)
    return {layout: variant(LAYOUTS[layout]) for layout in chosen}


def _batches(
    options: Options, twins: Twins, make: Callable[[int], Any], sizes: Sequence[int]
) -> dict[str, Call]:
    """Variants with different internal batches."""
    return {
        f"{layout}, {size} at a time": call
        for size in (sizes[-1:] if options.quick else sizes)
        for layout, call in _theirs(options, twins, make(size)).items()
    }


def _channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, -3, -1) if array.ndim >= 4 else array


CASES: dict[str, Callable[[Options], Case]] = {
    "kernels relu3_3": lambda options: kernels(options, "relu3_3"),
    "kernels relu4_3": lambda options: kernels(options, "relu4_3"),
    "conductance vgg16": lambda options: layer_paths(options, "vgg16", "input"),
    "conductance alexnet": lambda options: layer_paths(options, "alexnet", "input"),
    "layer ig vgg16": lambda options: layer_paths(options, "vgg16", "layer"),
    "layer ig alexnet": lambda options: layer_paths(options, "alexnet", "layer"),
    **{
        f"lrp {rule} {name}": lambda options, rule=rule, name=name: relevance(options, name, rule)
        for name in ("vgg16", "resnet50")
        for rule in RULES
    },
    **{
        f"{title} {name}": lambda options, make=make, name=name: make(options, name)
        for title, make, names in (
            ("saliency", saliency, ("vgg16", "resnet50")),
            ("ig", integrated_gradients, ("alexnet", "resnet18")),
            ("smooth_grad", smooth_grad, ("alexnet", "resnet18")),
        )
        for name in names
    },
}
"""By a short name, in the order of the table."""
