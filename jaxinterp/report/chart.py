"""The loss terms of one job over its steps, as an SVG that takes its colours from the page."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup

from jaxinterp.report.pixels import number

__all__ = ["trace_chart"]

_WIDTH, _HEIGHT = 300, 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 6, 8, 20
_MOST_POINTS = 80  # a page holds thousands of these charts
_LOG_FROM = 20.0  # the ratio of largest to smallest value from which a log axis shows more


def trace_chart(trace: np.ndarray, terms: tuple[str, ...]) -> Markup:
    """Lines of the terms against the number of the recorded point.

    The vertical axis is logarithmic if all values are positive and span more than a factor of 20;
    the chart says so. Values that are not finite leave a gap.

    Args:
      trace: float [points, terms].
      terms: a name per column; any text, it is escaped.

    Returns:
      SVG and a legend as HTML; nothing if there are no finite values.
    """
    finite = trace[np.isfinite(trace)]
    if not finite.size:
        return Markup("")
    ends = [_ends(trace[:, i]) for i in range(len(terms))]
    low, high = float(finite.min()), float(finite.max())
    logarithmic = low > 0 and high / low > _LOG_FROM
    if not logarithmic:
        low = min(low, 0.0)
    values = np.where(np.isfinite(trace), trace, np.nan).astype(np.float64)
    if logarithmic:
        values = np.log10(values)
        bottom, top = math.log10(low), math.log10(high)
    else:
        bottom, top = low, high
    if top <= bottom:
        top = bottom + 1.0

    picked = np.unique(np.linspace(0, len(trace) - 1, min(len(trace), _MOST_POINTS)).astype(int))
    xs = _LEFT + picked / max(1, len(trace) - 1) * (_WIDTH - _LEFT - _RIGHT)
    ys = _HEIGHT - _BOTTOM - (values[picked] - bottom) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM)
    scale = "log scale" if logarithmic else "linear scale"
    summary = "; ".join(
        f"{term} {first} to {last}" for term, (first, last) in zip(terms, ends, strict=True)
    )
    floor = _HEIGHT - _BOTTOM
    parts = [
        Markup('<svg class="trace" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            _WIDTH, _HEIGHT, f"Loss terms over the steps, {scale}: {summary}"
        ),
        Markup('<path class="axis" d="M{0} {1}V{2}H{3}"/>').format(
            _LEFT, _TOP, floor, _WIDTH - _RIGHT
        ),
        _label(_LEFT - 4, _TOP + 8, number(high), "end"),
        _label(_LEFT - 4, floor, number(low), "end"),
        _label(_LEFT, _HEIGHT - 6, "start", "start"),
        _label((_LEFT + _WIDTH) / 2, _HEIGHT - 6, scale, "middle"),
        _label(_WIDTH - _RIGHT, _HEIGHT - 6, "end", "end"),
    ]
    for i in range(len(terms)):
        # A term name is the user's; only its number goes into a class.
        parts.append(Markup('<path class="t{}" d="{}"/>').format(i % 6, _path(xs, ys[:, i])))
    parts.append(Markup('</svg><ul class="legend">'))
    for i, term in enumerate(terms):
        parts.append(Markup('<li class="t{}">{} <b>{}</b></li>').format(i % 6, term, ends[i][1]))
    parts.append(Markup("</ul>"))
    return Markup("").join(parts)


def _ends(values: np.ndarray) -> tuple[str, str]:
    """The first and the last finite value, as texts."""
    finite = values[np.isfinite(values)]
    return (number(float(finite[0])), number(float(finite[-1]))) if finite.size else ("-", "-")


def _label(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:g}" y="{:g}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _path(xs: np.ndarray, ys: np.ndarray) -> str:
    """A line that is interrupted where y is NaN."""
    steps, drawing = [], False
    for x, y in zip(xs, ys, strict=True):
        if math.isfinite(y):
            steps.append(f"{'L' if drawing else 'M'}{x:.0f} {y:.1f}")
        drawing = bool(math.isfinite(y))
    return "".join(steps)
