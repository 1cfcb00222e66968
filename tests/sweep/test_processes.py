"""Several processes, several devices, processes that are stopped, and too little memory."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from sweep_runs import JOBS, Batches, assert_equal_runs, assert_same_losses, config

from jaxinterp.config import to_toml
from jaxinterp.errors import UserError
from jaxinterp.methods.suppression import SuppressionSettings
from jaxinterp.optimize import Snapshot, Stream
from jaxinterp.sweep.checkpoints import LaneCheckpoints
from jaxinterp.sweep.config import LayerConfig, ReportConfig, StoreConfig
from jaxinterp.sweep.hosts import Hosts, find_hosts
from jaxinterp.sweep.lane_count import is_out_of_memory, usual_lanes
from jaxinterp.sweep.run import Stopped, run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    run(config(folder))
    return folder


def command(file, *options, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "jaxinterp.cli", "run", str(file), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )


def test_processes_one_after_the_other_share_a_run(tmp_path, undisturbed):
    folder = tmp_path / "run"
    heard = [Batches() for _ in range(3)]
    results = [
        run(config(folder), listener=listener, hosts=Hosts(process, 3))
        for process, listener in enumerate(heard)
    ]
    assert [result.left for result in results] == [8, 4, 0]
    assert [result.page is None for result in results] == [True, True, False]
    done = [record["index"] for listener in heard for record in listener.records]
    assert sorted(done) == list(range(JOBS))
    assert_equal_runs(folder, undisturbed)


def test_processes_may_come_and_go(tmp_path, undisturbed):
    """One of three never comes; the next time there are two."""
    folder = tmp_path / "run"
    for process in (0, 2):
        run(config(folder), hosts=Hosts(process, 3))
    first, second = Batches(), Batches()
    run(config(folder), listener=first, hosts=Hosts(1, 2))
    last = run(config(folder), listener=second, hosts=Hosts(0, 2))
    assert len(first.records) + len(second.records) == 4
    assert last.left == 0
    assert_equal_runs(folder, undisturbed)


def test_processes_at_the_same_time_on_several_devices(tmp_path, undisturbed):
    """Two real processes with four devices each, which begin a new folder together."""
    folder, file = tmp_path / "run", tmp_path / "run.toml"
    file.write_text(to_toml(config(folder)))
    flags = "--xla_force_host_platform_device_count=4"
    numbers = [("RANK", str(process)) for process in range(2)]
    both = [
        command(file, "--scheduler", **{name: number}, WORLD_SIZE="2", XLA_FLAGS=flags)
        for name, number in numbers
    ]
    said = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all("on 4 devices" in text for text in said)
    assert any("report: " in text for text in said)
    assert {path.name for path in (folder / "journal").iterdir()} == {"0.jsonl", "1.jsonl"}
    assert_same_losses(folder, undisturbed)


def long_config(folder):
    """Too long for the test to wait for: two kernels, a step at a time."""
    return config(
        folder,
        layers=(LayerConfig("relu2_1", (0, 3)),),
        suppression=SuppressionSettings(steps=3000),
        store=StoreConfig(checkpoint=2),
        report=ReportConfig(figures=0),
    )


def test_a_terminated_process_goes_on_where_it_stood(tmp_path):
    """SIGTERM, as machines that are pre-empted get it."""
    folder, file = tmp_path / "run", tmp_path / "run.toml"
    file.write_text(to_toml(long_config(folder)))
    process = command(file)
    checkpoints = folder / "checkpoints" / "0"
    while process.poll() is None and not any(checkpoints.glob("[0-9]*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "Stopped" in said
    with LaneCheckpoints(folder, 0) as saved:
        like = _state(long_config(folder))
        snapshot = saved.restore("relu2_1", like)
        assert saved.restore("relu1_1", like) is None
    steps = int(snapshot.state.step.max())
    assert 0 < steps < 3000
    assert np.isfinite(snapshot.trace["loss"][0, :steps]).all()
    result = run(long_config(folder))
    assert result.done == 4
    assert not checkpoints.exists()
    # What was done before is not done again.
    whole = run(long_config(tmp_path / "whole"))
    assert result.rate > 0
    assert_equal_runs(folder, tmp_path / "whole")
    assert whole.left == 0


def _state(own):
    from jaxinterp.methods.suppression import Suppressor
    from jaxinterp.weights.load import load

    network = load("vgg_cifar10", weights="random")
    return Suppressor(network, "relu2_1", own.suppression, lanes=4).stream((16, 16)).state


class StoppedAfter(Batches):
    """Sends this process SIGTERM when so many jobs' worth of work is under way."""

    def __init__(self, work):
        super().__init__()
        self.work, self.evaluations = work, 0

    def advanced(self, jobs):
        if self.work is not None and jobs >= self.work:
            self.work = None
            os.kill(os.getpid(), signal.SIGTERM)


def stopped_config(folder):
    settings = SuppressionSettings(steps=100)
    return config(folder, suppression=settings, layers=(LayerConfig("relu1_1", (3, 0)),))


def test_a_resumed_run_repeats_nothing_of_a_saved_lane(tmp_path, monkeypatch):
    counts = []
    original = Stream.run

    def counted(self, *arguments, **options):
        counts.append(self.counts)
        return original(self, *arguments, **options)

    monkeypatch.setattr(Stream, "run", counted)
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        run(stopped_config(folder), listener=StoppedAfter(work=2))
    run(stopped_config(folder))
    assert sum(count.used for count in counts) == 4 * 101
    run(stopped_config(tmp_path / "whole"))
    assert_equal_runs(folder, tmp_path / "whole")


def test_a_damaged_checkpoint_costs_only_time(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        run(stopped_config(folder), listener=StoppedAfter(work=1))
    for file in (folder / "checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert run(stopped_config(folder)).done == 4
    run(stopped_config(tmp_path / "whole"))
    assert_equal_runs(folder, tmp_path / "whole")


def test_checkpoints_give_back_what_they_were_given(tmp_path):
    stream = _state(long_config(tmp_path))
    state = jax.tree.map(
        lambda leaf: np.random.default_rng(0).normal(size=leaf.shape).astype(leaf.dtype), stream
    )
    trace = {"loss": np.full((4, 7), np.nan, np.float32)}
    with LaneCheckpoints(tmp_path, 3) as saved:
        saved.save("relu2_1", Snapshot([5, None, 0, None], state, trace))
    with LaneCheckpoints(tmp_path, 3) as saved:
        found = saved.restore("relu2_1", stream)
    assert found.keys == [5, None, 0, None]
    jax.tree.map(np.testing.assert_array_equal, found.state, state)
    np.testing.assert_array_equal(found.trace["loss"], trace["loss"])


@pytest.mark.parametrize("error", [MemoryError(), "RESOURCE_EXHAUSTED: Out of memory allocating"])
def test_out_of_memory_is_tried_again_with_half_the_lanes(
    tmp_path, undisturbed, monkeypatch, error
):
    if isinstance(error, str):
        error = jax.errors.JaxRuntimeError(error)
    original = Stream.run

    def narrow(self, *arguments, **options):
        for number, events in enumerate(original(self, *arguments, **options)):
            if number == 1 and self.width > 2:
                raise error
            yield events

    monkeypatch.setattr(Stream, "run", narrow)
    heard = Batches()
    run(config(tmp_path / "run"), listener=heard)
    assert heard.notes == [
        f"{layer}: out of memory with 4 lanes; going on with 2." for layer in ("relu1_1", "relu2_1")
    ]
    assert_equal_runs(tmp_path / "run", undisturbed)


def test_other_errors_of_a_device_are_not_hidden(tmp_path, monkeypatch):
    def broken(self, *arguments, **options):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
        yield

    monkeypatch.setattr(Stream, "run", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        run(config(tmp_path / "run"))
    assert not is_out_of_memory(ValueError("RESOURCE_EXHAUSTED"))


def test_lanes_are_chosen_by_the_memory(tmp_path, undisturbed, monkeypatch):
    """A plan that does not fit is made anew for fewer lanes, before anything is allocated."""
    from jaxinterp.sweep import lane_count

    widths = []
    original = Stream.compile

    def watched(self):
        widths.append(self.width)
        return original(self)

    monkeypatch.setattr(Stream, "compile", watched)
    monkeypatch.setattr(Stream, "bytes_needed", property(lambda self: 100 * self.width))
    monkeypatch.setattr(lane_count, "_available", lambda devices: 350)
    run(config(tmp_path / "run", lanes="auto"))
    # (Of a run that was broken off in another test, a thread may still compile for four lanes.)
    assert 3 in widths
    assert 6 not in widths
    assert_equal_runs(tmp_path / "run", undisturbed)


@pytest.mark.parametrize(
    ("wanted", "jobs", "lanes"), [("auto", 1000, 32), ("auto", 7, 7), (5, 1000, 5), (5, 2, 2)]
)
def test_the_usual_number_of_lanes(wanted, jobs, lanes):
    assert usual_lanes(wanted, jobs, jax.devices("cpu")[:1]) == lanes


def test_images_may_be_stored_in_a_byte_a_value(tmp_path, undisturbed):
    from sweep_runs import stored

    run(config(tmp_path / "run", store=StoreConfig(images="uint8")))
    images, wanted = stored(tmp_path / "run")[1], stored(undisturbed)[1]
    assert images.dtype == np.uint8
    np.testing.assert_allclose(images / 255, wanted, atol=0.51 / 255)


@pytest.mark.parametrize(
    ("environment", "hosts"),
    [
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}, Hosts(3, 8)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "7",
                "SLURM_ARRAY_TASK_MIN": "5",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_PROCID": "0",
                "SLURM_NTASKS": "1",
            },
            Hosts(2, 4),
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "14",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_STEP": "2",
                "SLURM_ARRAY_TASK_COUNT": "8",
                "SLURM_PROCID": "1",
                "SLURM_NTASKS": "4",
            },
            Hosts(29, 32),
        ),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, Hosts(1, 2)),
        ({"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "2"}, Hosts(0, 2)),
    ],
)
def test_schedulers_say_which_process_this_is(environment, hosts):
    assert find_hosts(scheduler=True, environment=environment) == hosts
    assert find_hosts(environment=environment) == Hosts(0, 1), "only if asked to"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"process": 1}, "--process and --processes together"),
        ({"process": 4, "processes": 4}, "no process 4: of 4 processes"),
        ({"process": 0, "processes": 0}, "at least one process"),
        ({"scheduler": True}, "No scheduler is seen here"),
        ({"coordinator": "host:1"}, "for --distributed"),
    ],
)
def test_numbers_that_do_not_fit_are_named(options, message):
    with pytest.raises(UserError, match=message):
        find_hosts(**options, environment={})


def test_a_scheduler_s_nonsense_is_named():
    with pytest.raises(UserError, match="RANK is no whole number"):
        find_hosts(scheduler=True, environment={"RANK": "first", "WORLD_SIZE": "2"})


def test_the_journal_says_who_did_what(tmp_path):
    run(config(tmp_path / "run"), hosts=Hosts(1, 2))
    journal = (tmp_path / "run" / "journal" / "1.jsonl").read_text()
    assert {json.loads(line)["index"] % 2 for line in journal.splitlines()} == {1}
