"""PyTorch's device, the precision of its convolutions, and how many operations they take."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from jaxinterp.bench.settings import Precision
from jaxinterp.errors import UserError

__all__ = ["ceiling_work", "flops_of", "set_precision", "synchronise", "torch_device"]


def torch_device(platform: str) -> torch.device:
    """The device that JAX's default one corresponds to.

    Args:
      platform: of `jax.default_backend()`, such as "cpu" or "gpu".

    Raises:
      UserError: PyTorch does not see such a device.
    """
    if platform == "cpu":
        return torch.device("cpu")
    if platform in ("gpu", "cuda", "rocm") and torch.cuda.is_available():
        return torch.device("cuda")
    raise UserError(
        f"JAX runs on a {platform} that this PyTorch ({torch.__version__}) does not see: set "
        "JAX_PLATFORMS=cpu, or install a PyTorch for it."
    )


def set_precision(device: torch.device, precision: Precision) -> None:
    """TF32 or float32 in convolutions and products on a GPU; cuDNN tries its algorithms first."""
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def synchronise(device: torch.device) -> None:
    """Returns when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def flops_of(features: nn.Module, shape: tuple[int, int, int, int]) -> int:
    """Floating-point operations of one step: convolutions forward, and their input gradients.

    A multiplication and an addition are two. Everything else is little, and not counted.

    Args:
      features: from `torch_features`, on the CPU.
      shape: of the images, (n, c, h, w).
    """
    one = torch.zeros(1, *shape[1:], requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        features(one).sum().backward()
    return shape[0] * counter.get_total_flops()


def ceiling_work(
    device: torch.device, side: int, maps: tuple[int, ...], precision: Precision
) -> tuple[Callable[[], None], Callable[[], None]]:
    """A product and a convolution that return when the device has done them.

    Args:
      device: where.
      side: of the square matrices.
      maps: [n, h, w, 256], the convolution's input.
      precision: of both.
    """
    set_precision(device, precision)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    number, height, width, channels = maps
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    layout = torch.channels_last
    pixels = torch.ones(number, channels, height, width, dtype=dtype, device=device)
    weight = torch.ones(256, channels, 3, 3, dtype=dtype, device=device)
    pixels, weight = pixels.to(memory_format=layout), weight.to(memory_format=layout)

    def product() -> None:
        torch.mm(matrix, matrix)
        synchronise(device)

    def convolution() -> None:
        nn.functional.conv2d(pixels, weight, padding=1)
        synchronise(device)

    return product, convolution
