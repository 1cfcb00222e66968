"""The most operations a second that the device reaches: one large product, one large convolution.

Measured in the same run, by JAX and by PyTorch, so that a share of it is a share of what this
device did then.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxinterp.bench.settings import BenchSettings, Precision

__all__ = ["Ceiling", "measure_ceiling"]

_ROUNDS = 5


@dataclasses.dataclass(frozen=True)
class Ceiling:
    """Operations a second.

    Attributes:
      rates: by the name of what was timed.
      text: what was timed, in words.
    """

    rates: dict[str, float]
    text: str

    @property
    def most(self) -> float:
        """The greatest."""
        return max(self.rates.values())

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in self.rates.items())
        return f"Ceiling, GFLOP/s: {listed} ({self.text})."


def measure_ceiling(settings: BenchSettings) -> Ceiling:
    """Times a product of two square matrices and a 3x3 convolution, best of five each."""
    on_cpu = jax.default_backend() == "cpu"
    side = 512 if settings.quick else 2048 if on_cpu else 8192
    images = 1 if settings.quick else 4 if on_cpu else 64
    products, maps = 2 * side**3, (images, 56, 56, 256)
    convolutions = 2 * images * 56 * 56 * 256 * 256 * 9
    rates = {}
    for name, (product, convolution) in {
        "JAX": _jax_work(side, maps, settings.precision),
        "torch": _torch_work(side, maps, settings.precision),
    }.items():
        rates[f"{name} product"] = products / _best(product)
        rates[f"{name} convolution"] = convolutions / _best(convolution)
    text = f"{side} x {side} matrices; 3x3, 256 to 256 channels, {images} x 56 x 56 px"
    return Ceiling(rates, text)


def _best(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _jax_work(
    side: int, maps: tuple[int, ...], precision: Precision
) -> tuple[Callable[[], object], Callable[[], object]]:
    from jaxinterp.bench.ours import matmul_precision

    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    matrix, pixels = jnp.ones((side, side), dtype), jnp.ones(maps, dtype)
    weight = jnp.ones((3, 3, 256, 256), dtype)
    numbers = ("NHWC", "HWIO", "NHWC")
    product = jax.jit(lambda a: a @ a)
    convolution = jax.jit(
        lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)
    )

    def timed(function: Callable[..., Any], *arguments: Any) -> Callable[[], object]:
        def work() -> object:
            with matmul_precision(precision):
                return jax.block_until_ready(function(*arguments))

        return work

    return timed(product, matrix), timed(convolution, pixels, weight)


def _torch_work(
    side: int, maps: tuple[int, ...], precision: Precision
) -> tuple[Callable[[], object], Callable[[], object]]:
    from jaxinterp.bench.pytorch.device import ceiling_work, torch_device

    return ceiling_work(torch_device(jax.default_backend()), side, maps, precision)
