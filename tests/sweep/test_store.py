"""The run folder: what is kept, what counts as finished, and what every fault costs."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import stored_runs as runs
from object_store import object_store

from jaxinterp.errors import UserError
from jaxinterp.sweep.folder import locks, place as place_module, table
from jaxinterp.sweep.folder.place import LocalPlace, find_place
from jaxinterp.sweep.folder.writer import BackgroundWriter
from jaxinterp.sweep.plan import Plan, job_id
from jaxinterp.sweep.store import FORMAT, RunFolder
from jaxinterp.sweep.summary import shown_jobs, summarise


def reopened(address, **options):
    """(done, duplicates) of a folder as it is now."""
    folder = RunFolder.existing(str(address))
    with folder.results(runs.plan(), folder.arrays, create=False, **options) as results:
        return np.flatnonzero(results.done).tolist(), results.duplicates


def journal_lines(folder, process=0):
    return (folder / "journal" / f"{process}.jsonl").read_bytes().splitlines(keepends=True)


# The plan.


def test_a_plan_is_worked_out_as_it_was_written_out():
    """Every job again, slowly; its id over a dictionary with the whole identity."""
    common = {"method": "m", "model": "é", "settings": {"b": [1], "a": None}, "weights": "w"}
    digests = list(runs.IMAGES.values())
    plan = Plan(common, runs.KERNELS, digests)
    expected = [
        (layer, kernel, image)
        for layer, kernels in runs.KERNELS.items()
        for kernel in kernels
        for image in range(2)
    ]
    assert len(plan) == runs.JOBS == len(expected)
    for index, (job, place) in enumerate(zip(plan, expected, strict=True)):
        assert (job.index, job.layer, job.kernel, job.image) == (index, *place)
        identity = common | {"layer": job.layer, "kernel": job.kernel, "image": digests[job.image]}
        assert job.id == job_id(identity)
    assert plan.layers == {"relu1": range(6), "relu2": range(6, 10)}
    assert plan[-1] == plan[9]
    assert plan[2:8:3] == [plan[2], plan[5]]
    assert plan.kernel_jobs("relu1", 7) == range(4, 6)
    assert not plan.kernel_jobs("relu2", 7)
    with pytest.raises(IndexError):
        plan[10]


def test_a_plan_of_a_hundred_million_jobs_is_made_at_once():
    plan = Plan(
        dict.fromkeys(("method", "model", "settings", "weights")),
        {"a": range(10_000), "b": range(10_000)},
        ["x" * 64] * 5_000,
    )
    assert len(plan) == 10**8
    assert (plan[10**8 - 1].layer, plan[10**8 - 1].kernel) == ("b", 9_999)
    assert plan[5 * 10**7].layer == "b"


# What is kept.


@pytest.fixture(params=["disk", "memory", "s3"])
def address(request, tmp_path):
    if request.param == "s3":
        with object_store() as (spec, _):
            yield spec
    else:
        yield str(tmp_path / "run") if request.param == "disk" else f"memory://{tmp_path}/run"


def test_a_folder_gives_back_what_it_was_given(address):
    """On a disk, in TensorStore's memory, and in an S3 server on this machine."""
    plan = runs.plan()
    with RunFolder(runs.config(address)) as folder:
        assert folder.manifest is None
        assert folder.write_manifest(runs.manifest())["format"] == FORMAT
        with folder.results(plan, runs.specs()) as results:
            runs.write(results, [8, 1])
            results.flush()
            runs.write(results, [4], "silent")
            results.flush()
            assert results.counts() == {"done": 2, "silent": 1, "failed": 0}
            folder.compact(results)
    assert reopened(address) == ([1, 4, 8], 0)
    with RunFolder(runs.config(address)) as folder:
        assert folder.manifest["weights_sha256"] == "w" * 64
        with folder.results(plan, runs.specs()) as results:
            assert [r["index"] for r in results.records()] == [1, 4, 8], "in the plan's order"
            assert results.record(8) == runs.record(8)
            assert results.record(4) == runs.record(4, "silent")
            assert results.counts(plan.layers["relu1"]) == {"done": 1, "silent": 1, "failed": 0}
            assert results.missing(plan.layers["relu1"]).tolist() == [0, 2, 3, 5]
            for index in (1, 8):
                np.testing.assert_array_equal(results.read("images", index), runs.image(index))
            assert results.read_many("traces", [8, 1])[:, 0, 0].tolist() == [8, 1]
            assert not len(results.verify())
            with pytest.raises(KeyError):
                results.record(0)
            runs.write(results, [8])
    assert reopened(address) == ([1, 4, 8], 1)
    assert "jobs.parquet" in find_place(address).names()


@pytest.mark.parametrize(
    ("dtype", "error"), [("float32", 0), ("bfloat16", 2**-9), ("uint8", 0.5 / 255 + 1e-6)]
)
def test_smaller_types_round(tmp_path, dtype, error):
    runs.fill(tmp_path / "run", [0, 3], dtype=dtype)
    with RunFolder.existing(str(tmp_path / "run")).results(runs.plan(), runs.specs(dtype)) as found:
        values = found.read("images", 3)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, runs.image(3), atol=error, rtol=0)
    size = {"float32": 4, "bfloat16": 2, "uint8": 1}[dtype]
    assert runs.chunk(tmp_path / "run", "images", 3).stat().st_size == 48 * size + 4
    with pytest.raises(UserError, match=f"images in .* are stored as {dtype}"):
        RunFolder.existing(str(tmp_path / "run")).results(
            runs.plan(), runs.specs("uint8" if dtype != "uint8" else "float32")
        )


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_job_without_a_finite_value_is_stored_too(tmp_path, dtype):
    """Its chunk holds nothing but what an absent one stands for."""
    with RunFolder(runs.config(tmp_path / "run")) as folder:
        folder.write_manifest(runs.manifest())
        with folder.results(runs.plan(), runs.specs(dtype)) as results:
            nothing = {name: np.full_like(v, np.nan) for name, v in runs.arrays([2]).items()}
            results.write([2], nothing, [runs.record(2, "failed")])
    assert reopened(tmp_path / "run") == ([2], 0)


def test_arrays_may_be_reused_after_a_write(tmp_path):
    with RunFolder(runs.config(tmp_path / "run")) as folder:
        folder.write_manifest(runs.manifest())
        with folder.results(runs.plan(), runs.specs()) as results:
            own = runs.arrays([6])
            results.write([6], own, [runs.record(6)])
            own["images"][:] = -1
            results.flush()
            np.testing.assert_array_equal(results.read("images", 6), runs.image(6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, r: a.pop("traces"), "the arrays are"),
        (lambda a, r: a.update(images=a["images"][:, :2]), r"images holds \(4, 4, 3\) a job"),
        (lambda a, r: a.update(images=a["images"][:1]), "different lengths"),
        (lambda a, r: r[0].update(id="0" * 16), "is of another"),
        (lambda a, r: r[0].update(status="odd"), "has the status 'odd'"),
    ],
)
def test_what_does_not_fit_is_not_stored(tmp_path, change, message):
    with RunFolder(runs.config(tmp_path / "run")) as folder:
        folder.write_manifest(runs.manifest())
        with folder.results(runs.plan(), runs.specs()) as results:
            own, records = runs.arrays([1, 2]), [runs.record(1), runs.record(2)]
            change(own, records)
            with pytest.raises(ValueError, match=message):
                results.write([1, 2], own, records)
    assert reopened(tmp_path / "run") == ([], 0)


def test_shares_of_processes_are_the_missing_jobs(tmp_path):
    runs.fill(tmp_path / "run", [0, 7])
    folder = RunFolder.existing(str(tmp_path / "run"))
    with folder.results(runs.plan(), runs.specs()) as results:
        for jobs in (range(6), range(6, 10)):
            shares = [results.missing(jobs, process, 3).tolist() for process in range(3)]
            assert sorted(itertools.chain(*shares)) == results.missing(jobs).tolist()
        assert results.missing(range(6), 0, 2).tolist() == [2, 4]
        assert results.missing(range(6, 10), 1, 2).tolist() == [9]


# Chunks that are damaged.


def flipped(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["images", "traces"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes() + b"more"),
    ],
    ids=["missing", "cut", "empty", "longer"],
)
def test_a_chunk_that_is_not_whole_is_noticed_when_the_folder_is_opened(tmp_path, name, damage):
    runs.fill(tmp_path / "run", [0, 1, 2])
    damage(runs.chunk(tmp_path / "run", name, 1))
    assert reopened(tmp_path / "run")[0] == [0, 2]


@pytest.mark.parametrize("place", [0, 77, 191, 192, 195])
def test_a_changed_byte_is_noticed_when_it_is_read(tmp_path, place):
    """In the values or in their checksum (the last four)."""
    folder = tmp_path / "run"
    runs.fill(folder, [0, 1, 2])
    flipped(runs.chunk(folder, "images", 1), place)
    assert reopened(folder)[0] == [0, 1, 2]
    with RunFolder.existing(str(folder)).results(runs.plan(), runs.specs()) as results:
        values, bad = results.read_whole([0, 1])
        assert bad.tolist() == [False, True]
        assert np.isnan(values["images"][1]).all()
        with pytest.raises(UserError, match=r"images\.zarr in .* is damaged at job 1: "):
            results.read_many("images", [0, 1, 2])
        assert np.flatnonzero(results.done).tolist() == [0, 2]
    assert reopened(folder)[0] == [0, 2], "it stays missing until it is done again"
    runs.fill(folder, [1])
    assert reopened(folder) == ([0, 1, 2], 1)


def test_verifying_finds_every_damaged_job(tmp_path):
    folder = tmp_path / "run"
    runs.fill(folder, range(runs.JOBS))
    for index in (2, 9):
        flipped(runs.chunk(folder, "traces", index), 5)
    with RunFolder.existing(str(folder)).results(runs.plan(), runs.specs()) as results:
        assert results.verify().tolist() == [2, 9]
        assert not len(results.verify())
        assert results.missing(range(runs.JOBS)).tolist() == [2, 9]


# Journals that are damaged.


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"\xff\xfe\x00\n",
        b"[1, 2]\n",
        b"7\n",
        b'{"index": 4}\n',
        b'{"index": true, "id": "0", "status": "done"}\n',
        b'{"index": "4", "id": "0", "status": "done"}\n',
        b'{"index": 400, "id": "0", "status": "done"}\n',
        b'{"index": -1, "id": "0", "status": "done"}\n',
        b'{"index": 4, "id": "0000000000000000", "status": "done"}\n',
        b'{"index": 4, "id": ["0"], "status": ["done"]}\n',
    ],
)
def test_lines_that_are_none_are_passed_over(tmp_path, line):
    folder = tmp_path / "run"
    runs.fill(folder, [4, 5])
    _, second = journal_lines(folder)
    (folder / "journal" / "0.jsonl").write_bytes(line + second + line)
    assert reopened(folder) == ([5], 0)


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_a_torn_line_is_passed_over_and_never_glued_to_the_next(tmp_path, cut):
    folder = tmp_path / "run"
    runs.fill(folder, [4, 5])
    first, second = journal_lines(folder)
    (folder / "journal" / "0.jsonl").write_bytes(first + second[:cut])
    assert reopened(folder) == ([4], 0)
    runs.fill(folder, [6])
    # A line that only lacked its end is whole again.
    assert reopened(folder) == ([4, 5, 6] if cut == -1 else [4, 6], 0)
    with RunFolder.existing(str(folder)).results(runs.plan(), runs.specs()) as results:
        assert results.record(6) == runs.record(6)


def test_of_two_lines_of_a_job_the_later_one_counts(tmp_path):
    """By their times; process 1's journal is read last."""
    folder = tmp_path / "run"
    runs.fill(folder, [4])
    own = runs.record(4, note="later", finished=2e9)
    (folder / "journal" / "0.jsonl").write_text(json.dumps(own) + "\n")
    early = runs.record(4, note="early", finished=1e9)
    (folder / "journal" / "1.jsonl").write_text(json.dumps(early) + "\n")
    with RunFolder.existing(str(folder)).results(runs.plan(), runs.specs()) as results:
        assert results.duplicates == 1
        assert results.record(4)["note"] == "later"
        assert "finished" not in results.record(4)
        assert results.finished[4] == 2e9


def test_what_others_finish_is_seen_after_a_refresh(tmp_path):
    folder = tmp_path / "run"
    runs.fill(folder, [0])
    own = RunFolder(runs.config(folder), process=0, processes=2)
    with own, own.results(runs.plan(), runs.specs()) as results:
        runs.fill(folder, [1], process=1, processes=2)
        runs.write(results, [2])
        results.flush()
        assert np.flatnonzero(results.done).tolist() == [0, 2]
        results.refresh()
        assert np.flatnonzero(results.done).tolist() == [0, 1, 2]
        assert results.duplicates == 0
        assert results.record(1) == runs.record(1)


# Disks that are full, processes that are killed.


def mounted(folder):
    """A file system of one MiB, if this process may mount one."""
    folder.mkdir()
    if os.geteuid() != 0:
        return False
    options = ("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    return subprocess.run(["mount", *options], capture_output=True).returncode == 0


def test_a_full_disk_is_an_error_of_the_system_and_loses_nothing(tmp_path):
    if not mounted(tmp_path / "small"):
        pytest.skip("mounting a small file system needs privileges")
    folder = tmp_path / "small" / "run"
    try:
        runs.fill(folder, [0, 1])
        (tmp_path / "small" / "ballast").write_bytes(bytes(_free(folder) - 8192))
        with pytest.raises(OSError, match="No space left on device"):
            runs.fill(folder, range(2, runs.JOBS))
        done, _ = reopened(folder)
        assert {0, 1} <= set(done) < set(range(runs.JOBS))
        (tmp_path / "small" / "ballast").unlink()
        runs.fill(folder, [i for i in range(runs.JOBS) if i not in done])
        assert reopened(folder)[0] == list(range(runs.JOBS))
        with RunFolder.existing(str(folder)).results(runs.plan(), runs.specs()) as results:
            assert not len(results.verify())
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)


def _free(folder):
    found = os.statvfs(folder)
    return found.f_bavail * found.f_bsize


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_journal_that_cannot_be_written_is_told_at_once(tmp_path):
    with RunFolder(runs.config(tmp_path / "run")) as folder:
        folder.write_manifest(runs.manifest())
        results = folder.results(runs.plan(), runs.specs())
        (tmp_path / "run" / "journal" / "0.jsonl").symlink_to("/dev/full")
        runs.write(results, [0])
        with pytest.raises(OSError, match="No space left"):
            results.flush()
        with pytest.raises(OSError, match="No space left"):
            runs.write(results, [1])
        with pytest.raises(OSError, match="No space left"):
            results.close()
        assert not results.done.any()


def test_an_object_store_that_fails_is_an_error_of_the_system():
    with object_store() as (spec, server), RunFolder(runs.config(spec)) as folder:
        folder.write_manifest(runs.manifest())
        results = folder.results(runs.plan(), runs.specs())
        server.full = True
        runs.write(results, [0])
        with pytest.raises(OSError, match="images"):
            results.flush()
        assert not any("journal" in key for key in server.objects)


def test_the_first_error_of_a_writer_stays(tmp_path):
    stored, entered, let_go = [], threading.Event(), threading.Event()

    def commit(items):
        entered.set()
        let_go.wait()
        if "bad" in items:
            raise OSError("broken")
        stored.extend(items)

    writer = BackgroundWriter(commit, most=2)
    writer.put("good")
    entered.wait()
    with ThreadPoolExecutor(1) as pool:
        more = pool.submit(lambda: [writer.put(item) for item in ("bad", "lost", "lost")])
        time.sleep(0.05)
        assert not more.done(), "the queue is full"
        let_go.set()
        more.exception()
    with pytest.raises(OSError, match="broken"):
        writer.flush()
    with pytest.raises(OSError, match="broken"):
        writer.put("late")
    with pytest.raises(OSError, match="broken"):
        writer.close()
    assert stored == ["good"]


def child(code, *arguments):
    """A process that has the helpers of these tests at hand."""
    head = "import sys, time\nimport stored_runs as runs\n"
    paths = [str(Path(runs.__file__).parent), *sys.path]
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )


_WRITES_ON_AND_ON = """
from jaxinterp.sweep.store import RunFolder
with RunFolder(runs.config(sys.argv[1])) as folder:
    folder.write_manifest(runs.manifest())
    with folder.results(runs.plan(), runs.specs()) as results:
        print("begun", flush=True)
        while True:
            for index in range(runs.JOBS):
                runs.write(results, [index])
"""


def test_a_process_that_is_killed_loses_nothing_finished_and_frees_its_lock(tmp_path):
    folder = tmp_path / "run"
    process = child(_WRITES_ON_AND_ON, folder)
    assert process.stdout.readline() == "begun\n"
    journal = folder / "journal" / "0.jsonl"
    while not (journal.exists() and len(journal.read_bytes().splitlines()) > 20):
        time.sleep(0.005)
    (alive,) = RunFolder.existing(str(folder)).others
    assert (alive.pid, alive.process, alive.processes) == (process.pid, 0, 1)
    with pytest.raises(UserError, match=f"in use by process 0 of 1 .pid {process.pid} on"):
        RunFolder(runs.config(folder))
    with pytest.raises(UserError, match="all must be told the same number of processes"):
        RunFolder(runs.config(folder), process=1, processes=2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert RunFolder.existing(str(folder)).others == []
    kept = {json.loads(line)["index"] for line in journal_lines(folder) if line.endswith(b"\n")}
    done, duplicates = reopened(folder)
    assert set(done) == kept
    assert duplicates > 0
    with RunFolder(runs.config(folder)) as own, own.results(runs.plan(), runs.specs()) as results:
        assert not len(results.verify())
        assert all(results.record(index) == runs.record(index) for index in done)
        runs.write(results, results.missing(range(runs.JOBS)).tolist())
    assert reopened(folder)[0] == list(range(runs.JOBS))


# Several processes, and who may use a folder.


def test_processes_with_numbers_of_their_own_work_together(tmp_path):
    with RunFolder(runs.config(tmp_path / "run"), process=0, processes=2) as first:
        with RunFolder(runs.config(tmp_path / "run"), process=1, processes=2) as second:
            assert [other.process for other in first.others] == [1]
            assert [other.process for other in second.others] == [0]
            with pytest.raises(UserError, match="in use by process 1 of 2"):
                RunFolder(runs.config(tmp_path / "run"), process=1, processes=2)
        assert first.others == []
    with RunFolder(runs.config(tmp_path / "run"), process=2, processes=3):
        pass


def test_the_first_to_come_records_and_the_others_take_what_it_recorded(tmp_path):
    """Also where they come together: each asks for another choice of kernels."""
    processes = 6
    folders = [
        RunFolder(runs.config(tmp_path / "run"), process=p, processes=processes)
        for p in range(processes)
    ]
    barrier = threading.Barrier(processes)

    def record(process):
        barrier.wait()
        return folders[process].write_manifest(runs.manifest(kernels={"relu1": [process]}))

    with ThreadPoolExecutor(processes) as pool:
        found = list(pool.map(record, range(processes)))
    assert all(one == found[0] for one in found)
    assert RunFolder.existing(str(tmp_path / "run")).manifest == found[0]
    with pytest.raises(UserError, match=r"begun the run in .* with other weights"):
        folders[1].write_manifest(runs.manifest(weights_sha256="other"))
    for folder in folders:
        folder.close()


def test_others_of_a_run_that_begins_must_have_its_config(tmp_path):
    """There is no manifest yet; alone, a corrected config takes the place of the first."""
    one = runs.config("any").layers[:1]
    with (
        RunFolder(runs.config(tmp_path / "run"), process=0, processes=2),
        pytest.raises(UserError, match="layers is"),
    ):
        RunFolder(runs.config(tmp_path / "run", layers=one), process=1, processes=2)
    with RunFolder(runs.config(tmp_path / "run", layers=one)) as folder:
        assert len(folder.config_content["layers"]) == 1


def test_a_file_is_created_once(tmp_path):
    place = LocalPlace(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: place.create("file", str(n)), range(64)))
    assert won.count(True) == 1
    assert (tmp_path / "file").read_text() == str(won.index(True))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(place_module.os, "link", refuse)
    place = LocalPlace(tmp_path)
    assert [place.create("file", text) for text in ("first", "second")] == [True, False]
    assert (tmp_path / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with (
        pytest.warns(UserWarning, match="has no locks"),
        RunFolder(runs.config(tmp_path / "run")) as folder,
    ):
        assert folder.others == []


# Folders of other versions, and what is none.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights_sha256": "w"}, "made by an older version of jaxinterp .format 1"),
        ({"format": FORMAT + 1}, "made by a newer version"),
        ({"format": FORMAT}, "keys are missing"),
        ({"format": "two"}, "is damaged"),
        ([], "is damaged"),
        (None, "is damaged"),
    ],
)
def test_a_folder_of_another_version_is_refused(tmp_path, content, message):
    runs.fill(tmp_path / "run", [0])
    text = "{" if content is None else json.dumps(content)
    (tmp_path / "run" / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=message):
        RunFolder(runs.config(tmp_path / "run"))
    with pytest.raises(UserError, match=message):
        RunFolder.existing(str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nowhere://bucket/run", "There is no place 'nowhere://bucket/run'"),
        ("{", "There is no place '{'"),
        ('{"driver": "s4"}', "There is no place"),
    ],
)
def test_addresses_that_lead_nowhere_are_named(address, message):
    with pytest.raises(UserError, match=message):
        RunFolder(runs.config(address))


def test_file_addresses_are_paths(tmp_path):
    runs.fill(f"file://{tmp_path}/a%20run", [0])
    assert reopened(tmp_path / "a run") == ([0], 0)


# Tables.


def test_records_become_a_table_in_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_ROWS", 4)
    rows = [
        {"index": n, "id": f"{n:x}", "text": None, "late": None if n < 7 else 0.5, "mixed": n}
        for n in range(10)
    ]
    rows[9] |= {"mixed": 0.5, "flag": True}
    table.write_parquet(tmp_path / "t.parquet", lambda: rows)
    file = pq.ParquetFile(tmp_path / "t.parquet")
    assert file.metadata.num_row_groups == 3
    expected = [{"flag": None} | row for row in rows]
    assert file.read().to_pylist() == [{**row, "flag": row.pop("flag")} for row in expected]
    with pytest.raises(TypeError, match="'a' is of the types int, str"):
        table.columns_of([{"a": 1}, {"a": "x"}])
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_summaries_are_means_over_what_is_done():
    random = np.random.default_rng(0)
    records = []
    for index in range(runs.JOBS):
        values = {k: float(random.random()) for k, v in runs.record(1).items() if type(v) is float}
        records.append(runs.record(index) | values)
    records[2] = runs.record(2, "silent")
    records[9] = runs.record(9, "failed")
    found = summarise(iter(records), runs.KERNELS)
    assert found["relu1"].counts == {"done": 5, "silent": 1, "failed": 0}
    done = [r for r in records[:6] if r["status"] == "done"]

    def spread(name):
        values = [r[name] for r in done]
        return f"{np.mean(values):.3f} ± {np.std(values):.3f}"

    original, blank, optimised = found["relu1"].rows
    assert original == ("original", "1", spread("mse_rest_original"), "100.0%")
    assert blank[1:3] == (spread("similarity_blank"), spread("mse_rest_blank"))
    assert optimised[1:3] == (spread("similarity"), spread("mse_rest"))
    means = [np.mean([r[name] for r in done]) for name in ("mse_rest", "mse_rest_original")]
    assert optimised[3] == f"{means[0] / means[1]:.1%}"
    assert "1 failed" in found["relu2"].table("relu2").note
    assert summarise([], ["relu1"])["relu1"].rows == []


@pytest.mark.parametrize(("most", "counts"), [(100, (5, 4)), (7, (4, 3)), (2, (1, 1)), (8, (4, 4))])
def test_a_page_shows_as_many_jobs_of_each_layer(tmp_path, most, counts):
    done = [i for i in range(runs.JOBS) if i != 1]
    runs.fill(tmp_path / "run", done)
    plan = runs.plan()
    with RunFolder.existing(str(tmp_path / "run")).results(plan, runs.specs()) as results:
        shown = shown_jobs(plan, results, most)
    assert (sum(shown < 6), sum(shown >= 6)) == counts
    assert set(shown.tolist()) <= set(done)
    assert shown.tolist() == sorted(set(shown.tolist()))


def test_warnings_are_none():
    """Opening, writing and reading say nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs.fill("memory://quiet/run", [0])
