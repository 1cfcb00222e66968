"""A network of PyTorch and ours beside each other: the same weights, images, taps and gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

from jaxinterp.models.network import Network
from jaxinterp.transform import capture

__all__ = ["Comparison", "channels_first", "channels_last", "compare", "randomise", "save_state"]

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How far our network is from PyTorch's.

    Attributes:
      taps: the largest difference at each tap, as a share of the largest value there; not a number
        if PyTorch's values are all zero, or not finite.
      gradient: the same for the gradient of one logit with respect to the images.
      unseen: the modules of PyTorch's network whose output no tap was compared with.
    """

    taps: Mapping[str, float]
    gradient: float
    unseen: frozenset[str]

    @property
    def worst(self) -> str:
        """The tap with the largest difference; one that is not a number comes first."""
        return max(self.taps, key=lambda name: np.nan_to_num(self.taps[name], nan=np.inf))


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Fills a network in place: He-initialised weights, and batch norm that is not the identity."""
    random = np.random.default_rng(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                new = 3
            elif value.ndim > 1:
                scale = np.float32(np.sqrt(2 / value[0].numel()))
                new = scale * random.standard_normal(tuple(value.shape), np.float32)
            elif name.endswith("running_var"):
                new = random.uniform(0.3, 2, tuple(value.shape))
            elif name.endswith("weight"):
                new = random.normal(1, 0.2, tuple(value.shape))
            else:
                new = random.normal(0, 0.1, tuple(value.shape))
            value.copy_(torch.as_tensor(new))
    return network.requires_grad_(False)


def save_state(network: nn.Module, path: Path) -> None:
    """Writes the weights: `.safetensors`; `.pth`, a state dict; `.th`, one inside a checkpoint.

    Checkpoints of the CIFAR ResNets are of the last kind, their names from a wrapped network.
    """
    state = network.state_dict()
    if path.suffix == ".safetensors":
        save_file({name: value.numpy() for name, value in state.items()}, path)
    elif path.suffix == ".pth":
        torch.save(state, path)
    else:
        wrapped = {f"module.{name}": value for name, value in state.items()}
        torch.save({"state_dict": wrapped, "best_prec1": 91.7}, path)


def channels_first(images: np.ndarray) -> torch.Tensor:
    """NHWC -> a tensor, NCHW."""
    return torch.tensor(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def channels_last(value: torch.Tensor) -> np.ndarray:
    """A tensor, NCHW -> NHWC; vectors stay what they are."""
    array = value.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def compare(
    theirs: nn.Module,
    ours: Network,
    images: np.ndarray,
    *,
    target: int,
    dtype: type,
    optimize: bool = True,
) -> Comparison:
    """Compares every tap, and the gradient of the logit `target`, computed in `dtype`.

    Args:
      theirs: PyTorch's network, float32.
      ours: the network loaded from its weights.
      images: what both get, normalised, [n, h, w, c].
      target: the logit.
      dtype: np.float32 or np.float64.
      optimize: whether XLA's machine code is optimised, which for small networks takes longer than
        running them.
    """
    expected, expected_gradient = _torch_values(theirs, images.astype(dtype), target)
    with jax.enable_x64(dtype == np.float64):
        actual, gradient = _jax_values(ours, images.astype(dtype), target, optimize)
    taps, seen = {}, set()
    for layer in ours.layers:
        paths = {layer.name, layer.alias} & expected.keys()
        if not paths:
            raise LookupError(f"PyTorch's network has neither {layer.name!r} nor {layer.alias!r}")
        # `np.max`, unlike `max`, never loses a NaN.
        taps[layer.name] = float(
            np.max([_error(actual[layer.name], expected[path], layer.name) for path in paths])
        )
        seen |= paths
    return Comparison(
        taps, _error(gradient, expected_gradient, "gradient"), frozenset(expected.keys() - seen)
    )


def _error(actual: np.ndarray, expected: np.ndarray, name: str) -> float:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        described = [f"{value.dtype} {value.shape}" for value in (actual, expected)]
        raise ValueError(f"{name}: {described[0]} here, {described[1]} in PyTorch")
    largest = np.abs(expected).max()
    return float(np.abs(actual - expected).max() / largest) if largest else float("nan")


def _torch_values(network: nn.Module, images: np.ndarray, target: int) -> tuple[Arrays, np.ndarray]:
    """The output of every module by its path, and the gradient; NHWC."""
    found: Arrays = {}
    handles = [
        module.register_forward_hook(
            lambda module, inputs, output, path=path: found.__setitem__(path, channels_last(output))
        )
        for path, module in network.named_modules()
        if path
    ]
    pictures = channels_first(images).requires_grad_()
    try:
        network.to(pictures.dtype)(pictures)[:, target].sum().backward()
    finally:
        network.to(torch.float32)
        for handle in handles:
            handle.remove()
    assert pictures.grad is not None
    return found, channels_last(pictures.grad)


def _jax_values(
    network: Network, images: np.ndarray, target: int, optimize: bool
) -> tuple[Arrays, np.ndarray]:
    """Every tap, and the gradient."""
    names = [layer.name for layer in network.layers]
    captured = capture(network.apply, names, with_output=True)
    params = {name: np.asarray(value, images.dtype) for name, value in network.params.items()}

    def values(params, images):
        def logit(images):
            logits, maps = captured(params, images)
            return logits[:, target].sum(), maps

        return jax.grad(logit, has_aux=True)(images)

    options = {} if optimize else {"xla_backend_optimization_level": 0}
    gradient, maps = jax.jit(values, compiler_options=options)(params, images)
    return {name: np.asarray(value) for name, value in maps.items()}, np.asarray(gradient)
