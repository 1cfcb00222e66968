"""Streams: refilled lanes give every job what it gets alone; snapshots; devices; occupancy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinterp.optimize import Found, Lanes, LaneStatus, Snapshot, Start, Stream, Task, minimise

GENERATOR = np.random.default_rng(0)
JOBS = 23
TARGETS = GENERATOR.normal(size=(JOBS, 3, 4)).astype(np.float32)
STARTS = GENERATOR.normal(size=(JOBS, 3, 4)).astype(np.float32)
OFFSETS = np.linspace(0.5, 2, JOBS).astype(np.float32)
SCALE = jnp.float32(0.5)
NOTHING_TO_DO = -1.0


def quadratic(shared, inputs, data):
    distance = (shared * (inputs - data["target"]) ** 2).sum((1, 2))
    return distance + data["offset"], {"distance": distance}


def begin(shared, jobs):
    data = {"target": jobs["target"], "offset": jobs["offset"]}
    return Start(jobs["start"], data, jobs["offset"] != NOTHING_TO_DO)


def end(shared, jobs, found: Found):
    return {
        **found._asdict(),
        "left": jnp.abs(found.inputs - jobs["target"]).sum((1, 2)) * shared,
    }


def job(key):
    return {"start": STARTS[key], "target": TARGETS[key], "offset": OFFSETS[key]}


def stream(lanes, width=8, **options):
    return Stream(Task(lanes, begin, end), SCALE, job(0), width=width, **options)


def collected(runs):
    """All that ended, by key."""
    found = {}
    for events in runs:
        for ended in events:
            for place, key in enumerate(ended.keys):
                assert key not in found, "a job ended twice"
                own = jax.tree.map(lambda leaf, place=place: leaf[place], ended.results)
                own["trace"] = {name: values[place] for name, values in ended.trace.items()}
                found[key] = own
    return found


# Momentum makes the optimiser's state matter; the tolerance lets jobs end at different times.
MIXED = Lanes(quadratic, optax.sgd(0.05, momentum=0.5), 120, patience=5, tolerance=1e-3)
FIXED = Lanes(quadratic, optax.adam(0.1), 30)


def alone(lanes):
    own = {"target": TARGETS, "offset": OFFSETS}
    return minimise(lanes, STARTS, own, shared=SCALE)


@pytest.mark.parametrize("lanes", [MIXED, FIXED], ids=["mixed", "fixed"])
@pytest.mark.parametrize("width", [1, 5, 8, 32])
def test_every_job_gets_what_it_gets_without_refills(lanes, width):
    wanted = alone(lanes)
    runs = stream(lanes, width)
    found = collected(runs.run(range(JOBS), job))
    assert sorted(found) == list(range(JOBS))
    for key, own in found.items():
        np.testing.assert_allclose(own["inputs"], wanted.inputs[key], atol=1e-5)
        np.testing.assert_allclose(own["loss"], wanted.loss[key], rtol=1e-5)
        assert own["steps"] == wanted.steps[key]
        assert own["status"] == wanted.status[key]
        # `end` sees the job's own arrays and what is shared.
        left = 0.5 * np.abs(own["inputs"] - TARGETS[key]).sum()
        np.testing.assert_allclose(own["left"], left, rtol=1e-5)
        for name, values in own["trace"].items():
            assert values.shape == (lanes.steps,)
            rows = wanted.trace[name][:, key]
            np.testing.assert_allclose(values[: len(rows)], rows, rtol=1e-5, atol=1e-6)
            assert np.isnan(values[len(rows) :]).all()


def test_jobs_are_drawn_only_as_lanes_fall_idle():
    drawn = []

    def keys():
        for key in range(JOBS):
            drawn.append(key)
            yield key

    runs = stream(FIXED, 8).run(keys(), job)
    next(runs)
    assert drawn == list(range(8))
    collected(runs)
    assert drawn == list(range(JOBS))


def test_refilled_lanes_are_busier_than_batches():
    """Counted in evaluations: a batch runs until its slowest job ends."""
    steps = alone(MIXED).steps
    assert len(set(steps.tolist())) > 3, "the jobs are of different difficulty"
    runs = stream(MIXED, 4, segment=4)
    collected(runs.run(range(JOBS), job))
    counts = runs.counts
    assert counts.used == (steps + 1).sum()
    assert counts.evaluations == counts.segments * 4 * runs.length
    batches = sum(4 * (steps[start : start + 4].max() + 1) for start in range(0, JOBS, 4))
    assert counts.evaluations < batches
    assert counts.occupancy == counts.used / counts.evaluations


def test_a_failing_job_does_not_touch_the_lane_s_next_job():
    offsets = OFFSETS.copy()
    offsets[[0, 9]] = np.nan
    found = collected(stream(FIXED, 4).run(range(JOBS), lambda k: job(k) | {"offset": offsets[k]}))
    wanted = alone(FIXED)
    for key, own in found.items():
        if key in (0, 9):
            assert own["status"] == LaneStatus.FAILED
            assert own["loss"] == np.inf
        else:
            np.testing.assert_allclose(own["inputs"], wanted.inputs[key], atol=1e-5)


@pytest.mark.parametrize("skipped", [{3}, {0, 1, 2, 3, 9, 22}, set(range(JOBS))])
def test_jobs_that_need_nothing_take_no_step(skipped):
    def some(key):
        return job(key) | ({"offset": np.float32(NOTHING_TO_DO)} if key in skipped else {})

    runs = stream(FIXED, 4)
    found = collected(runs.run(range(JOBS), some))
    assert sorted(found) == list(range(JOBS))
    wanted = alone(FIXED)
    for key, own in found.items():
        if key in skipped:
            assert (own["status"], own["steps"]) == (LaneStatus.SKIPPED, 0)
            assert np.isnan(own["trace"]["loss"]).all()
        else:
            np.testing.assert_allclose(own["inputs"], wanted.inputs[key], atol=1e-5)
    assert runs.counts.used == (JOBS - len(skipped)) * (FIXED.steps + 1)


@pytest.mark.parametrize("width", [3, 5, 8])
@pytest.mark.parametrize("at", [2, 5])
def test_a_stream_goes_on_from_a_snapshot(at, width):
    """Also with fewer lanes, and with more, than it was taken with."""
    taken = []
    first = stream(MIXED, 5, segment=4)
    before = []
    for events in first.run(range(JOBS), job, after_segment=lambda take: taken.append(take())):
        before.append(events)
        if len(taken) == at:
            break
    snapshot = taken[-1]
    done = {key for events in before for ended in events for key in ended.keys}
    # What is done counts; what is in the snapshot goes on; the rest begins.
    held = [None if key in done else key for key in snapshot.keys]
    rest = [key for key in range(JOBS) if key not in done and key not in held]
    second = stream(MIXED, width, segment=4)
    after = second.run(rest, job, resume=snapshot._replace(keys=held))
    found = collected([*before, *after])
    wanted = alone(MIXED)
    assert sorted(found) == list(range(JOBS))
    for key, own in found.items():
        np.testing.assert_allclose(own["inputs"], wanted.inputs[key], atol=1e-5)
        assert own["steps"] == wanted.steps[key]
        rows = wanted.trace["loss"][:, key]
        whole = own["trace"]["loss"][: len(rows)]
        if not (np.isnan(whole).any() and width < 5):  # a job without room begins anew
            np.testing.assert_allclose(whole, rows, rtol=1e-5)
    # Jobs of the snapshot are not done again from their start.
    spared = sum(int(np.asarray(snapshot.state.step)[i]) for i, k in enumerate(held) if k in held)
    assert second.counts.used <= sum(wanted.steps[k] + 1 for k in [*rest, *held] if k is not None)
    if width >= 5:
        assert spared > 0
        assert second.counts.used < sum(
            wanted.steps[k] + 1 for k in [*rest, *held] if k is not None
        )


def test_a_second_run_compiles_nothing():
    compilations = []

    def listen(event, seconds, **_):
        if "backend_compile" in event:
            compilations.append(event)

    runs = stream(FIXED, 5)
    collected(runs.run(range(JOBS), job))
    jax.monitoring.register_event_duration_secs_listener(listen)
    collected(runs.run(range(JOBS), job))
    assert not compilations


def test_snapshots_are_numpy():
    taken = []
    list(stream(FIXED, 4).run(range(4), job, after_segment=lambda take: taken.append(take())))
    assert isinstance(taken[0], Snapshot)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(taken[0].state))
    assert taken[0].keys == [0, 1, 2, 3]


def test_no_jobs_are_no_work():
    runs = stream(FIXED, 4)
    assert list(runs.run([], job)) == [[]]
    assert runs.counts.segments == 0


def test_a_stream_without_lanes_is_an_error():
    with pytest.raises(ValueError, match="at least one lane"):
        stream(FIXED, 0)
