"""Integration over [0, 1]: points and weights."""

from __future__ import annotations

import numpy as np

from jaxinterp.attribution.micro_batches import whole_number
from jaxinterp.errors import UserError, nearest

__all__ = ["METHODS", "quadrature"]

METHODS = (
    "gauss_legendre",
    "gauss_legendre_squared",
    "riemann_left",
    "riemann_right",
    "riemann_middle",
    "riemann_trapezoid",
)


def quadrature(method: str, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points in [0, 1], ascending, and their weights, as in Captum.

    Gauss-Legendre with n points is exact for polynomials of degree 2 n - 1. Its squared form, which
    Captum lacks, integrates over t with the path at t^2: the points lie closer together near the
    baseline, where a network's answer to a growing signal changes fastest if the baseline is 0 in
    its own input. It is exact for polynomials of degree n - 1. The Riemann sums weigh
    every point by 1 / n. The trapezoid rule is Captum's: n points from 0 to 1, both ends included,
    1 / n each and half of that at the ends, so that its weights add up to 1 - 1 / n only.

    Args:
        method: One of `METHODS`.
        n_steps: The number of points n, at least 1; at least 2 for the trapezoid rule.

    Returns:
        Points and weights, float64 [n].

    Raises:
        UserError: An unknown method, or points that are too few or no whole number.
    """
    if method not in METHODS:
        raise UserError(nearest(method, METHODS, kind="method of integration"))
    n_steps = whole_number("n_steps", n_steps)
    fewest = 2 if method == "riemann_trapezoid" else 1
    if n_steps < fewest:
        raise UserError(f"n_steps must be at least {fewest} for {method}, not {n_steps}.")
    if method == "gauss_legendre":
        points, weights = np.polynomial.legendre.leggauss(n_steps)
        return (1 + points) / 2, weights / 2
    if method == "gauss_legendre_squared":
        points, weights = np.polynomial.legendre.leggauss(n_steps)
        points = (1 + points) / 2
        return points**2, points * weights
    weights = np.full(n_steps, 1 / n_steps)
    if method == "riemann_trapezoid":
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, n_steps), weights
    shift = {"riemann_left": 0, "riemann_middle": 0.5, "riemann_right": 1}[method]
    return (np.arange(n_steps) + shift) / n_steps, weights
