"""A job to show, which tests change as they need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jaxinterp.report import JobView, MapView


@pytest.fixture
def job() -> Callable[..., JobView]:
    """Makes a `JobView`; keywords replace its fields."""
    return make_job


def make_job(**changes: Any) -> JobView:
    rng = np.random.default_rng(0)
    image = rng.random((32, 32, 3)).astype(np.float32)
    first, second = rng.random((2, 16, 16))
    values: dict[str, Any] = {
        "job": "0123456789abcdef",
        "layer": "relu2_1",
        "kernel": 3,
        "image": "astronaut",
        "original": image,
        "optimised": image * 0.5,
        "maps": (
            MapView("kernel 3", first, first * 0.9, True),
            MapView("kernel 7", second, second * 0.1, False),
            MapView("kernel 9", second, second * 0.2, False),
        ),
        "metrics": {"ssim": 0.91234, "correlation": None, "mse_rest": 0.0123},
        "status": "done",
        "trace": np.exp(-np.linspace(0, 5, 200))[:, None] * [1.0, 0.5],
        "trace_terms": ("preserve", "suppress"),
    }
    return JobView(**(values | changes))
