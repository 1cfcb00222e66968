"""The cases without PyTorch, measured on a small problem: lanes refilled, and child processes."""

import dataclasses

import numpy as np
import pytest
from command_line import runner

from jaxinterp.bench import CASES, BenchSettings
from jaxinterp.bench.child import ChildSearch
from jaxinterp.bench.ours import JaxSearch
from jaxinterp.bench.problems import REFILL_PROBLEMS, choose, make_problem
from jaxinterp.bench.refill import measure_refill
from jaxinterp.errors import UserError
from jaxinterp.methods.suppression import SuppressionSettings

QUICK = BenchSettings(quick=True)
(PLAN,) = choose(REFILL_PROBLEMS, QUICK)


def test_both_ways_do_the_same_jobs():
    refilled, fixed = measure_refill(QUICK, lambda text: None)
    assert (refilled.way, fixed.way) == ("refilled lanes", "fixed batches")
    for row in (refilled, fixed):
        assert row.steps == refilled.steps > 0
        assert row.spread == refilled.spread
        assert 0 < row.occupancy <= 1
        assert row.seconds > 0
    assert refilled.ratio == (1.0, 1.0, 1.0)


@pytest.mark.slow
def test_devices_are_measured_and_written(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    path = tmp_path / "results.md"
    ended = runner(capfd, "bench")("devices", "--quick", "--write", path)
    assert ended.code == 0, ended.err
    assert CASES["devices"].title in ended.out
    rows = [line.split("|")[2:4] for line in path.read_text().splitlines() if "| vgg" in line]
    assert [(int(devices), int(lanes)) for devices, lanes in rows] == [(1, 4), (2, 4)]


@pytest.fixture(scope="module")
def child():
    plan = dataclasses.replace(PLAN, segment=3)
    with ChildSearch(plan, QUICK, devices=2, steps=10, on_cpu=True) as search:
        yield search


def test_a_child_on_two_devices_does_what_one_device_does(child):
    problem = dataclasses.replace(make_problem(PLAN, QUICK), segment=3)
    own = JaxSearch(problem, SuppressionSettings(steps=10))
    for search in (child, own):
        search.restart()
        search.advance(2)
    assert child.preparing > 0
    assert child.losses.shape == (6, PLAN.lanes)
    np.testing.assert_allclose(child.losses, own.losses, rtol=1e-4)
    pixels = problem.network.preprocess.invert(own.inputs)
    assert child.pixels.min() >= 0
    assert np.abs(child.pixels - pixels).max() < 1e-3
    first = child.losses[0]
    child.restart()
    child.advance(1)
    np.testing.assert_array_equal(child.losses[0], first)


def test_a_child_that_ends_says_why(child):
    with pytest.raises(UserError, match=r"2 devices ended: .*unexpected"):
        child._ask({"save": "losses", "path": "no folder/unexpected.npy"})
