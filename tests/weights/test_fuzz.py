"""Broken files of every format: a clean refusal or a correct load, and no code run.

A small case; `benchmarks/fuzz_checkpoints.py` reads ten thousand, with memory limited.
"""

import contextlib
import os
import pickle
import random

import pytest
from checkpoint_examination import Watch, assert_equal, examine
from checkpoint_files import Called, pickled
from checkpoint_mutations import OPERATIONS, mutate
from checkpoint_seeds import SEEDS
from hypothesis import given, settings, strategies as st

from jaxinterp.errors import UserError
from jaxinterp.weights.contents import WeightsContents
from jaxinterp.weights.formats.pickle_reader import read_pickle
from jaxinterp.weights.formats.unreadable import Unreadable


@pytest.fixture(scope="module")
def watch():
    return Watch()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def whole(folder):
    """What each seed holds. Reading them also imports what is imported on first use."""
    found = {}
    for name, seed in SEEDS.items():
        path = folder / name.replace(" ", "_")
        path.write_bytes(seed.join(seed.parts))
        found[name] = examine(path)
    return found


@pytest.mark.parametrize("name", SEEDS)
def test_the_seeds_are_whole_and_small(whole, name):
    assert isinstance(whole[name], WeightsContents)
    assert "conv1.weight" in whole[name].arrays
    seed = SEEDS[name]
    assert len(seed.join(seed.parts)) < 6000


@pytest.mark.parametrize("name", SEEDS)
def test_a_broken_file_is_refused_or_read(whole, watch, folder, name):
    path, sentinel = folder / "broken", folder / "ran"
    outcomes = {UserError: 0, WeightsContents: 0}

    @settings(max_examples=300)
    @given(st.integers(0, 2**32))
    def check(number):
        mutation = mutate(name, random.Random(number), sentinel)
        path.write_bytes(mutation.content)
        found = examine(path, watch)
        outcomes[type(found)] += 1
        if isinstance(found, WeightsContents) and mutation.must_equal_seed:
            assert_equal(found, whole[name])
        assert not sentinel.exists()

    check()
    assert outcomes[UserError] > 100


@settings(max_examples=500)
@given(st.lists(st.sampled_from(OPERATIONS) | st.binary(max_size=3)).map(b"".join))
def test_any_program_ends_cleanly(program):
    with contextlib.suppress(Unreadable):
        read_pickle(memoryview(b"\x80\x04" + program + b"."))


def test_the_watch_hears_what_it_should(watch, folder):
    """Otherwise the absence of events would mean nothing."""
    path = folder / "watched"
    path.write_bytes(b"1")
    for action in (
        lambda: os.system("true"),
        lambda: eval("1"),
        lambda: pickle.loads(pickle.dumps(os.system)),
        lambda: (folder / "other").read_bytes(),
        lambda: path.write_bytes(b""),
        lambda: os.mkdir(folder / "made"),
        lambda: __import__("antigravity"),
    ):
        with watch.listening(path), pytest.raises(PermissionError, match="reading caused"):
            action()
        assert len(watch.seen) == 1
    with watch.listening(path):
        path.read_bytes()
    assert not watch.seen


def test_a_reader_that_runs_pickles_would_be_found_out(watch, folder):
    """The payloads are live: `pickle` runs one, and the watch hears it."""
    sentinel = folder / "ran by pickle"
    program = pickled({"a": Called("posix.system", (f"touch '{sentinel}'",))})
    with watch.listening(folder), pytest.raises(PermissionError):
        pickle.loads(program)
    assert not sentinel.exists()
    pickle.loads(program)
    assert sentinel.exists()
