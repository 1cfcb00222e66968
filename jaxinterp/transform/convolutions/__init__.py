"""Algorithms for two-dimensional convolutions, written as ordinary JAX programs."""

from jaxinterp.transform.convolutions.apply import convolve as convolve
from jaxinterp.transform.convolutions.choose import ALGORITHMS as ALGORITHMS
from jaxinterp.transform.convolutions.geometry import (
    Geometry as Geometry,
    geometry_of as geometry_of,
    precision_of as precision_of,
)
