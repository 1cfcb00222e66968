"""Whole runs in an object store: an S3 server on this machine."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_store import object_store
from sweep_runs import config

from jaxinterp.sweep.config import KernelChoice, LayerConfig, ReportConfig
from jaxinterp.sweep.recorded_run import open_recorded
from jaxinterp.sweep.run import run


def small(output):
    """Two jobs, of a kernel that is chosen by its activity."""
    layers = (LayerConfig("relu1_1", KernelChoice(most_active=1)),)
    return config(output, layers=layers, report=ReportConfig(figures=1))


def records(address):
    with open_recorded(address) as found:
        return list(found.results.records()), found.results.read_many("images", [0, 1])


@pytest.mark.filterwarnings("error")
def test_a_run_in_an_object_store_is_that_on_a_disk(tmp_path):
    local = run(small(tmp_path / "run"))
    with object_store() as (address, server):
        result = run(small(address))
        assert (result.jobs, result.left) == (local.jobs, 0) == (2, 0)
        assert result.page == "s3://bucket/runs/demo/index.html"
        for one, other in zip(records(address), records(str(tmp_path / "run")), strict=True):
            if isinstance(one, list):
                assert one == other
            else:
                np.testing.assert_array_equal(one, other)
        files = {
            path.relative_to(tmp_path / "run").as_posix()
            for path in (tmp_path / "run").rglob("*")
            if path.is_file()
        }
        objects = {key.removeprefix("runs/demo/") for key in server.objects}
        assert {name for name in files ^ objects if "zarr" not in name} == {
            *("journal/0.jsonl", "locks/0.lock", "locks/guard"),
            *(name for name in objects if name.startswith("journal/0/")),
        }
        assert b"astronaut" in server.objects["runs/demo/index.html"]
        table = pq.read_table(pa.BufferReader(server.objects["runs/demo/jobs.parquet"]))
        assert table.num_rows == 2
        # One image is lost: its job alone is done again.
        del server.objects["runs/demo/images.zarr/c.1.0.0.0"]
        before = dict(server.objects)
        run(small(address))
        new = set(server.objects) - set(before)
        (journal,) = [key for key in new if "journal" in key]
        assert [json.loads(line)["index"] for line in server.objects[journal].splitlines()] == [1]
        np.testing.assert_allclose(
            records(address)[1], records(str(tmp_path / "run"))[1], atol=1e-5
        )
