"""A small run, what it left behind, and a listener that may break it off."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorstore as ts

from jaxinterp.data.images import ImagesConfig
from jaxinterp.methods.suppression import SuppressionSettings
from jaxinterp.sweep.config import KernelChoice, LayerConfig, ModelConfig, ReportConfig, RunConfig
from jaxinterp.sweep.run import Listener

JOBS = 12
"""Two layers, three kernels, two images, in four lanes."""


def config(output, **changes):
    settings = {
        "output": str(output),
        "layers": (
            LayerConfig("relu1_1", (3, 0, 7)),
            LayerConfig("relu2_1", KernelChoice(most_active=3)),
        ),
        "images": ImagesConfig(size=16, pictures=("astronaut",), all_colours=True),
        "model": ModelConfig(weights="random"),
        "lanes": 4,
        "suppression": SuppressionSettings(steps=6),
        "report": ReportConfig(figures=2),
    }
    return RunConfig(**(settings | changes))


def stored(folder):
    """Everything that a run found: records by job, images, traces."""
    rows = {row["id"]: row for row in pq.read_table(folder / "jobs.parquet").to_pylist()}
    arrays = [
        ts.open(
            {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder / name)}},
            open=True,
        )
        .result()
        .read()
        .result()
        for name in ("images.zarr", "traces.zarr")
    ]
    return rows, *arrays


def assert_equal_runs(first, second):
    """Within rounding: other neighbours, or another number of lanes, round otherwise."""
    rows, images, traces = stored(first)
    other_rows, other_images, other_traces = stored(second)
    assert rows.keys() == other_rows.keys()
    for key, row in rows.items():
        for name, value in row.items():
            other = other_rows[key][name]
            same = pytest.approx(other, rel=1e-3, abs=1e-5) if type(value) is float else other
            assert value == same, name
    np.testing.assert_allclose(images, other_images, atol=1e-5)
    np.testing.assert_allclose(traces, other_traces, atol=1e-5)


def assert_same_losses(first, second):
    """Within 1 %: other numbers of lanes a device round otherwise, and Adam amplifies it."""
    rows, images, _ = stored(first)
    other_rows, other_images, _ = stored(second)
    assert rows.keys() == other_rows.keys()
    for key, row in rows.items():
        assert row["status"] == other_rows[key]["status"]
        assert row["loss"] == pytest.approx(other_rows[key]["loss"], rel=0.01)
    assert np.abs(images - other_images).mean() < 1e-3


class Batches(Listener):
    """Keeps what it hears, and breaks off after so many jobs."""

    def __init__(self, most=None):
        self.most, self.records, self.notes, self.titles = most, [], [], []
        self.planned_with = None

    def planned(self, jobs, finished):
        self.planned_with = (jobs, finished)

    def note(self, text):
        self.notes.append(text)

    def batch(self, title):
        self.titles.append(title)

    def finished(self, records):
        self.records += records
        if self.most is not None and len(self.records) >= self.most:
            raise KeyboardInterrupt
