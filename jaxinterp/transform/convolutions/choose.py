"""Which algorithm is quickest for a convolution on a CPU."""

from __future__ import annotations

from jaxinterp.transform.convolutions.apply import Choice
from jaxinterp.transform.convolutions.geometry import Geometry

__all__ = ["ALGORITHMS", "choose"]

ALGORITHMS = ("auto", "direct", "matmul", "winograd", "winograd2")


def choose(geometry: Geometry, algorithm: str) -> Choice:
    """The algorithms of both directions.

    `algorithm` is one of `ALGORITHMS`; where it does not apply, "direct" stands in.
    """
    dense = algorithm != "direct" and _is_dense_quicker(geometry)
    strided = geometry.strides != (1, 1)
    sole = geometry._replace(groups=1) if dense else geometry
    forward = _one(sole, algorithm)
    # Outside of loops XLA's own gradient of a strided convolution was quicker for 3x3 windows (by
    # a tenth) and for stems (16 ms to 46), not for 1x1.
    phases = algorithm != "auto" or sole.window == (1, 1)
    positive = min(min(pad) for pad in sole.padding) >= 0
    if strided and phases and sole.groups == 1 and positive:
        backward = "phases"
    elif strided or sole.groups > 1:
        backward = "xla"
    else:
        backward = _one(sole.gradient, algorithm)
    return Choice(forward, backward, dense)


def _one(geometry: Geometry, algorithm: str) -> str:
    wanted = _best(geometry) if algorithm == "auto" else algorithm
    return wanted if _applies(geometry, wanted) else "direct"


def _applies(geometry: Geometry, algorithm: str) -> bool:
    if geometry.groups != 1:
        return False
    if algorithm == "matmul":
        return geometry.window == (1, 1) and geometry.padding == ((0, 0), (0, 0))
    return geometry.window == (3, 3) and geometry.strides == (1, 1)


def _best(geometry: Geometry) -> str:
    if geometry.window == (1, 1):
        return "matmul"
    # Milliseconds of two cores, Winograd and XLA's convolution (with the option that keeps products
    # apart): 4 x 28 x 28 x 512: 25, 76; 4 x 56 x 56 x 256: 33, 74; 32 x 24 x 24 x 64: 5.8, 7.7;
    # 8 x 28 x 28 x 64: 2.1, 2.7; but 4 x 112 x 112 x 128: 79, 76. Large maps leave the caches.
    high, wide = geometry.out_size
    # Not by the number of images: lanes must not round otherwise when there are more or fewer.
    thin = min(geometry.channels, geometry.kernels)
    tiles = -(-high // 4) * -(-wide // 4)
    if thin >= 64 and 16 * tiles <= 1.5 * high * wide and high * wide <= 56 * 56:
        return "winograd"
    return "direct"


def _is_dense_quicker(geometry: Geometry) -> bool:
    return geometry.groups > 1 and geometry.channels * geometry.kernels <= 512 * 512
