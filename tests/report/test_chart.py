"""The chart of the loss terms."""

from __future__ import annotations

import re

import numpy as np

from jaxinterp.report.chart import trace_chart


def test_the_chart_is_logarithmic_where_that_shows_more():
    decay = np.exp(-np.linspace(0, 9, 50))[:, None]
    assert "log scale" in trace_chart(decay, ("loss",))
    assert "linear scale" in trace_chart(decay - 0.1, ("loss",))
    assert "linear scale" in trace_chart(decay - decay[-1], ("loss",))  # ends at zero
    assert "linear scale" in trace_chart(decay * 0 + 2, ("loss",))


def test_the_chart_stays_small_and_leaves_gaps():
    trace = np.linspace(1, 2, 10_000)[:, None].repeat(2, 1)
    trace[5_000:6_000, 1] = np.nan
    chart = str(trace_chart(trace, ("whole", "gap")))
    whole, gap = re.findall(r'class="t\d" d="([^"]+)"', chart)
    assert whole.count("L") < 100
    assert (whole.count("M"), gap.count("M")) == (1, 2)
    assert "nan" not in chart


def test_the_chart_of_nothing_is_nothing():
    assert trace_chart(np.full((5, 1), np.nan), ("loss",)) == ""
    assert trace_chart(np.zeros((0, 1)), ("loss",)) == ""


def test_the_chart_names_last_values_and_escapes_terms():
    trace = np.array([[1.0, 4.0], [0.5, 3.0], [np.nan, 2.0]])
    chart = str(trace_chart(trace, ("a<b", "c")))
    assert "a&lt;b <b>0.500</b>" in chart
    assert "c <b>2.00</b>" in chart
    assert "a<b" not in chart
