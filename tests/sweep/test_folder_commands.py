"""`jaxinterp status`, `export` and `merge`: what they say, write and refuse."""

import csv
import dataclasses
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import stored_runs as runs
from command_line import refused, runner
from object_store import object_store

from jaxinterp.methods.suppression import SuppressionSettings
from jaxinterp.sweep import export as export_module, merge as merge_module
from jaxinterp.sweep.comparison.config import ComparisonConfig, VariantConfig
from jaxinterp.sweep.comparison.plan import plan_of as comparison_plan
from jaxinterp.sweep.config import LayerConfig
from jaxinterp.sweep.folder.locks import LiveProcess
from jaxinterp.sweep.status import run_status
from jaxinterp.sweep.store import ArraySpec, RunFolder

DONE = [0, 1, 4, 7, 9]


@pytest.fixture
def call(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    return runner(capfd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five of ten jobs, one of them silent."""
    path = tmp_path_factory.mktemp("stored") / "run"
    with RunFolder(runs.config(path)) as run:
        run.write_manifest(runs.manifest())
        with run.results(runs.plan(), runs.specs()) as results:
            runs.write(results, [9, 1, 0, 7])
            runs.write(results, [4], "silent")
    return path


# Status.


def test_status_says_how_a_run_stands(call, folder):
    ended = call("status", folder)
    assert ended.code == 0
    rows = {line.split()[0]: line for line in ended.out.splitlines() if line.strip()}
    for layer, numbers in (
        ("relu1", (6, 2, 1, 0, 3)),
        ("relu2", (4, 2, 0, 0, 2)),
        ("all", (10, 4, 1, 0, 5)),
    ):
        assert [int(n) for n in re.findall(r"\b\d+\b", rows[layer])] == list(numbers)
    assert f"{folder} (A run)" in rows["run"]
    assert "suppression, tiny" in rows["method"]
    assert "2020-02-02" in rows["begun"]
    assert "no process" in rows["at"]
    assert "KiB on disk" in rows["size"]
    assert not {"twice", "damaged"} & rows.keys()
    assert "\x1b" not in ended.out


def test_status_verifies_and_the_damaged_count_as_missing(call, tmp_path):
    runs.fill(tmp_path / "run", [2, 5])
    runs.fill(tmp_path / "run", [5])
    path = runs.chunk(tmp_path / "run", "images", 2)
    path.write_bytes(bytes(len(path.read_bytes())))
    assert "damaged" not in call("status", tmp_path / "run").out
    out = call("status", tmp_path / "run", "--verify").out
    assert "damaged    1 jobs: removed, so that running again does them again" in out
    assert "twice      1 jobs were done more than once" in out
    assert run_status(str(tmp_path / "run")).total.missing == runs.JOBS - 1
    assert "damaged    0 jobs\n" in call("status", tmp_path / "run", "--verify").out


def test_status_sees_who_is_at_work_and_how_fast(tmp_path, call, monkeypatch):
    with RunFolder(runs.config(tmp_path / "run"), process=1, processes=3) as run:
        run.write_manifest(runs.manifest())
        out = call("status", tmp_path / "run").out
        assert re.search(r"at work    process 1 of 3 \(pid \d+ on ", out)
        assert "last job" not in out
        with run.results(runs.plan(), runs.specs()) as results:
            runs.write(results, [1, 3])
        assert "last job" in call("status", tmp_path / "run").out
    # An hour without work between two sessions is none of the rate's.
    times = {0: 1000.0, 1: 5000.0, 2: 5030.0, 3: 5060.0}
    lines = [runs.record(i, finished=time) for i, time in times.items()]
    journal = tmp_path / "run" / "journal" / "1.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for index in (0, 2):
        for name in ("images", "traces"):
            whole = runs.chunk(tmp_path / "run", name, 1).read_bytes()
            runs.chunk(tmp_path / "run", name, index).write_bytes(whole)
    status = run_status(str(tmp_path / "run"))
    assert status.last == 5060
    assert status.rate == pytest.approx(2)
    assert status.processes == ()
    live = LiveProcess(0, 1, 77, "host", 0.0)
    monkeypatch.setattr(RunFolder, "others", property(lambda self: [live]))
    out = call("status", tmp_path / "run").out
    assert "2 jobs/min in the last minutes of work, 3 min 00 s left" in out
    assert "process 0 of 1 (pid 77 on host)" in out


def test_status_of_a_run_that_has_only_begun(tmp_path, call):
    with RunFolder(runs.config(tmp_path / "run")) as run:
        run.write_manifest(runs.manifest())
    assert run_status(str(tmp_path / "run")).total.missing == runs.JOBS
    runs.fill(tmp_path / "run", [1])
    (tmp_path / "run" / "traces.zarr" / "zarr.json").unlink()
    assert run_status(str(tmp_path / "run")).total.missing == runs.JOBS


def test_status_of_an_object_store(call):
    with object_store() as (spec, _):
        runs.fill(spec, [1, 2])
        out = call("status", spec, "--verify").out
    assert "run        s3://bucket/runs/demo/ (A run)" in out
    assert "not known of an object store" in out
    assert "on disk" not in out


def comparison(path):
    variants = (VariantConfig("lrp"), VariantConfig("suppression", settings=SuppressionSettings()))
    base = runs.config(path)
    own = ComparisonConfig(str(path), base.layers, base.images, variants, title="Compared")
    identity = ("tiny", "w" * 64, runs.KERNELS, list(runs.IMAGES.values()))
    return own, comparison_plan(own, *identity, [])


def test_commands_take_comparisons_too(tmp_path, call):
    own, plan = comparison(tmp_path / "run")
    with RunFolder(own) as run:
        run.write_manifest(runs.manifest(pairs=[]))
        with run.results(plan, {"images": ArraySpec(runs.IMAGE)}) as results:
            job = plan[13]
            record = runs.record(1) | dataclasses.asdict(job) | {"image": "cat", "variant": "LRP"}
            results.write([13], {"images": runs.image(13)[None]}, [record])
    assert [row.missing for row in run_status(str(tmp_path / "run")).layers] == [12, 7]
    ended = call("export", tmp_path / "run", tmp_path / "out", "--layer", "relu2")
    assert "1 jobs, 7 are not finished" in ended.out
    with (tmp_path / "out" / "jobs.csv").open(newline="") as file:
        assert [row["variant"] for row in csv.DictReader(file)] == ["LRP"]


# Export.


@pytest.fixture
def small_blocks(monkeypatch):
    """Less than two jobs at a time."""
    monkeypatch.setattr(export_module, "_BLOCK_BYTES", 300)
    monkeypatch.setattr(merge_module, "_BLOCK_BYTES", 300)


def read(path, kind):
    if kind == "csv":
        with (path / "jobs.csv").open(newline="", encoding="utf-8") as file:
            return [dict(row) for row in csv.DictReader(file)]
    return pq.read_table(path / "jobs.parquet").to_pylist()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_export_writes_a_table_and_the_arrays_of_its_rows(
    call, folder, tmp_path, kind, small_blocks
):
    ended = call("export", folder, tmp_path / "out", "--format", kind)
    assert ended.code == 0
    assert "5 jobs, 5 are not finished" in ended.out
    rows = read(tmp_path / "out", kind)
    assert [int(row["index"]) for row in rows] == DONE
    expected = [runs.record(i, "silent" if i == 4 else "done") for i in DONE]
    for row, record in zip(rows, expected, strict=True):
        wanted = record if kind == "parquet" else {k: str(v or 0) for k, v in record.items()}
        found = row if kind == "parquet" else {k: v or "0" for k, v in row.items()}
        if kind == "csv":
            floats = [k for k, v in expected[1].items() if isinstance(v, float)]
            assert [float(found.pop(k)) for k in floats] == [float(wanted.pop(k)) for k in floats]
        assert found == wanted
    images = np.load(tmp_path / "out" / "images.npy", mmap_mode="r")
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, np.stack([runs.image(i) for i in DONE]))
    assert np.load(tmp_path / "out" / "traces.npy")[:, 0, 0].tolist() == DONE
    assert {path.name for path in tmp_path.iterdir()} == {"out"}, "no partial files are left"


def test_export_as_one_file(call, folder, tmp_path, small_blocks):
    assert call("export", folder, tmp_path / "out", "--format", "npz").code == 0
    with np.load(tmp_path / "out.npz") as file:
        assert file["index"].tolist() == DONE
        assert file["index"].dtype == np.int64
        assert file["layer"].tolist() == ["relu1"] * 3 + ["relu2"] * 2
        assert file["status"].tolist() == ["done", "done", "silent", "done", "done"]
        assert np.isnan(file["similarity"]).tolist() == [False, False, True, False, False]
        np.testing.assert_array_equal(file["images"][3], runs.image(7))
        assert file["images"].shape == (5, *runs.IMAGE)


@pytest.mark.parametrize(
    ("options", "indices"),
    [
        (("--layer", "relu2"), [7, 9]),
        (("--kernel", "0,3"), [0, 1]),
        (("--kernel", "5-7"), [4, 7]),
        (("--layer", "relu1", "--kernel", "7"), [4]),
        (("--layer", "relu1", "--layer", "relu2", "--kernel", "3,1"), [0, 1, 9]),
    ],
)
def test_export_of_a_choice(call, folder, tmp_path, options, indices):
    assert call("export", folder, tmp_path / "out", *options).code == 0
    assert [int(row["index"]) for row in read(tmp_path / "out", "csv")] == indices
    assert len(np.load(tmp_path / "out" / "images.npy")) == len(indices)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--layer", "relu3"), ("no layer 'relu3'", "nearest: relu")),
        (("--kernel", "8"), ("no job of kernel 8 in relu1, relu2", "the kernels are 0-1, 3, 5, 7")),
        (("--layer", "relu2", "--kernel", "3"), ("no job of kernel 3 in relu2", "are 1, 5")),
        (("--kernel", "x"), ("The kernels are 'x'",)),
        (("--kernel", "3-1"), ("The kernels are '3-1'",)),
        (("--layer", "relu1", "--kernel", "0"), ("None of the 2 jobs chosen",)),
    ],
)
def test_export_of_what_there_is_not(call, folder, tmp_path, options, words):
    refused(call("export", folder, tmp_path / "out", *options), *words)
    assert list(tmp_path.iterdir()) == []


def test_export_overwrites_nothing(call, folder, tmp_path):
    (tmp_path / "out.npz").write_text("years of work")
    refused(call("export", folder, tmp_path / "out", "--format", "npz"), "out.npz exists already")
    assert (tmp_path / "out.npz").read_text() == "years of work"


def test_export_of_damage_leaves_nothing_half_done(call, tmp_path):
    runs.fill(tmp_path / "run", [2, 5])
    path = runs.chunk(tmp_path / "run", "traces", 5)
    path.write_bytes(bytes(len(path.read_bytes())))
    refused(call("export", tmp_path / "run", tmp_path / "out"), "traces.zarr", "damaged at job 5")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert call("export", tmp_path / "run", tmp_path / "out").code == 0, "without that job"


# Merge.


def test_merge_puts_parts_together(call, tmp_path, small_blocks):
    runs.fill(tmp_path / "a", [0, 1, 2, 3], dtype="uint8")
    runs.fill(tmp_path / "b", [3, 7, 8, 9], dtype="uint8", title="Another title")
    path = runs.chunk(tmp_path / "b", "images", 8)
    path.write_bytes(bytes(len(path.read_bytes())))
    ended = call("merge", tmp_path / "a", tmp_path / "b", tmp_path / "whole")
    assert ended.code == 0
    assert f"4 jobs from {tmp_path / 'a'}\n2 jobs from {tmp_path / 'b'}\n" in ended.out
    assert "1 jobs were in several parts" in ended.out
    assert "1 damaged jobs were left out" in ended.out
    assert f"6 of 10 jobs: {tmp_path / 'whole'}" in ended.out
    assert run_status(str(tmp_path / "whole")).total.missing == 4
    for index in (1, 7):  # the very bytes
        chunks = [
            runs.chunk(tmp_path / name, "images", index).read_bytes()
            for name in ("a" if index == 1 else "b", "whole")
        ]
        assert chunks[0] == chunks[1]
    # The new folder is a run like any other: it is resumed, by a config with its `output`.
    with (
        RunFolder(runs.config(tmp_path / "whole")) as run,
        run.results(runs.plan(), runs.specs("uint8")) as results,
    ):
        assert results.missing(range(runs.JOBS)).tolist() == [4, 5, 6, 8]
        assert results.record(7) == runs.record(7)
    assert json.loads((tmp_path / "whole" / "manifest.json").read_text())["merged"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config": {"suppression": SuppressionSettings(steps=7)}}, ("suppression.steps is",)),
        ({"config": {"layers": (LayerConfig("relu1"),)}}, ("layers is",)),
        ({"manifest": {"weights_sha256": "other"}}, ("differ in the weights",)),
        ({"manifest": {"kernels": {"relu1": [3, 0], "relu2": [5, 1]}}}, ("differ in the kernels",)),
        ({"manifest": {"images": dict(reversed(runs.IMAGES.items()))}}, ("differ in the images",)),
    ],
)
def test_parts_of_different_runs_are_not_merged(call, tmp_path, changes, words):
    runs.fill(tmp_path / "a", [0])
    with RunFolder(runs.config(tmp_path / "b", **changes.get("config", {}))) as run:
        run.write_manifest(runs.manifest(**changes.get("manifest", {})))
    ended = call("merge", tmp_path / "a", tmp_path / "b", tmp_path / "c")
    refused(ended, str(tmp_path / "a"), "cannot be merged", *words)
    assert not (tmp_path / "c").exists()


def test_merging_needs_two_parts_and_a_new_folder(call, tmp_path):
    for name in "ab":
        runs.fill(tmp_path / name, [0])
    refused(call("merge", tmp_path / "a", tmp_path / "b"), "two run folders or more")
    ended = call("merge", tmp_path / "a", tmp_path / "b", tmp_path / "a")
    refused(ended, "exists already")
    own, _ = comparison(tmp_path / "c")
    with RunFolder(own) as run:
        run.write_manifest(runs.manifest(pairs=[]))
    ended = call("merge", tmp_path / "a", tmp_path / "c", tmp_path / "d")
    refused(ended, "different methods ('suppression' and 'comparison')")


# What is no run folder.


@pytest.mark.parametrize("command", [("status",), ("export", "OUT"), ("merge", "RUN", "OUT")])
def test_what_is_no_run_folder_is_refused(call, tmp_path, command):
    runs.fill(tmp_path / "demo", [0])
    (tmp_path / "empty").mkdir()
    name, *rest = command

    def ended(folder):
        places = {"OUT": tmp_path / "out", "RUN": tmp_path / "demo"}
        return call(name, folder, *(places[word] for word in rest))

    near = f"nearest: {tmp_path / 'demo'}"
    refused(ended(tmp_path / "dmeo"), "There is no run folder", near)
    refused(ended(tmp_path / "empty"), "is no run folder: it has no manifest.json")
    refused(ended("nowhere://x"), "There is no place")
    manifest = tmp_path / "demo" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 1}))
    refused(ended(tmp_path / "demo"), "made by an older version of jaxinterp")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("method = 'suppression'\nbeta = 1\n", "does not fit this version"),
        ("method = ", "is damaged"),
        (None, "has no config.toml"),
    ],
)
def test_a_damaged_config_is_named(call, tmp_path, content, words):
    runs.fill(tmp_path / "run", [0])
    file = tmp_path / "run" / "config.toml"
    file.unlink()
    if content is not None:
        file.write_text(content)
    refused(call("status", tmp_path / "run"), words)


@pytest.mark.parametrize("command", ["status", "export", "merge"])
def test_help_has_examples(call, command):
    ended = call(command, "--help")
    assert ended.code == 0
    assert f"jaxinterp {command} " in ended.out
    assert "Example" in ended.out
