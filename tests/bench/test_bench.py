"""What the measurements are made of: sections, tables, turns, plans. No PyTorch, no measuring."""

import dataclasses
import datetime
import math
import re
import sys

import numpy as np
import pytest
from command_line import refused, runner

from jaxinterp.bench import (
    CASES,
    BenchSettings,
    BenchTable,
    Machine,
    replace_section,
    write_section,
)
from jaxinterp.bench.devices import DevicesRow, devices_table
from jaxinterp.bench.equal_loss import EqualLossRow, equal_loss_table, steps_to
from jaxinterp.bench.machine import this_machine
from jaxinterp.bench.problems import EQUAL_LOSS_PROBLEMS, STEP_PROBLEMS, choose, make_problem
from jaxinterp.bench.refill import RefillRow, refill_table
from jaxinterp.bench.section import section
from jaxinterp.bench.step import StepRow, step_table
from jaxinterp.bench.sweep import SweepRow, sweep_plan, sweep_table
from jaxinterp.bench.turns import median_ratio, take_turns, warm
from jaxinterp.errors import UserError
from jaxinterp.methods.layer_maps import layer_maps
from jaxinterp.models.describe import describe_classifier
from jaxinterp.models.registry import find_architecture

NAN = (math.nan,) * 3
ROWS = {
    "step": [
        StepRow("small", "JAX", 0.01, 8, 10**9, 2e11, 3.0, (1.0, 1.0, 1.0), ("a note",)),
        StepRow("small", "torch NCHW", 0.02, 8, 10**9, 2e11, 0.0, (2.0, 1.9, 2.2), ("a note",)),
        StepRow("small", "torch other", 0.015, 8, 10**9, 2e11, 9.0, (1.5, 1.4, 1.6), ("a note",)),
    ],
    "equal-loss": [
        EqualLossRow(
            *("small", "same optimiser", "torch NCHW", 0.5, 20, 1.0, 3.0, 0.5),
            *(25, 2.0, 0.0, 0.49, (2.0, 1.9, 2.1), 0.5),
        ),
        EqualLossRow(
            *("small", "paper's recipe", "torch NCHW", 0.4, None, math.nan, 3.0, 0.5),
            *(2000, 60.0, 0.0, 0.4, NAN, math.nan),
        ),
    ],
    "sweep": [SweepRow("JAX", 4224, 416, 1200.0, 60.0, 32, 201)],
    "refill": [
        RefillRow("small", "fixed batches", 64, 30.0, 5000, (9, 80, 200), 0.4, (1.8, 1.7, 1.9))
    ],
    "devices": [DevicesRow("small", 2, 16, 400, 4.0, 3.0, 20, 2e-6, 1e-7)],
}


def cells(markdown):
    """The table's lines, each a list of its cells."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_there_are_rows_of_every_case():
    assert ROWS.keys() == CASES.keys()


@pytest.mark.parametrize("name", ROWS)
def test_rows_become_a_rectangular_table(name):
    table = CASES[name].table(ROWS[name])
    lines = cells(table.markdown())
    assert len(lines) == 2 + len(ROWS[name])
    assert {len(line) for line in lines} == {len(table.columns)}
    assert "nan" not in table.markdown()


def test_step_table_marks_the_best_of_pytorch_and_leaves_ours_without_ratio():
    ours, slow, best = step_table(ROWS["step"]).rows
    assert ours[-1] == ""
    assert not slow[1].startswith("**")
    assert best[1] == "**torch other**"
    assert best[-1] == "**1.50 (1.40 to 1.60)**"
    # 10^9 operations in 10 ms are half of 2 x 10^11 a second; 8 lanes make 800 steps in it.
    assert ours[2:6] == ("10.00", "800", "100", "50%")
    assert step_table(ROWS["step"]).notes[1:] == ("a note",)


def test_a_goal_that_was_not_reached_is_said():
    reached, missed = equal_loss_table(ROWS["equal-loss"]).rows
    assert reached[4] == "20 in 1.00 s"
    assert missed[4] == "not reached"
    assert missed[6] == missed[7] == ""


def test_other_tables():
    assert refill_table(ROWS["refill"]).rows[0][4] == "128"
    (small,) = ROWS["devices"]
    again = dataclasses.replace(small, devices=4, lane_steps=200, pixels=3e-6)
    other = dataclasses.replace(small, problem="a")
    one, two, more = devices_table([other, small, again]).rows
    assert one[4] == two[4] == "1.00"  # of different problems
    assert more[4] == "0.50"
    assert [row[6] for row in (one, two, more)] == ["", "", "3.0e-06"]
    table = sweep_table(ROWS["sweep"])
    assert table.rows[0][2] == "416"
    assert "extrapolated" in table.notes[0]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 cells in 1 columns"):
        BenchTable(("a",), (("b", "c"),))


def test_a_bar_in_a_cell_begins_no_cell():
    assert cells(BenchTable(("a",), (("b|c",),)).markdown())[2] == [r"b\|c"]


MARKED = "<!-- bench:{0} -->\n{1}\n<!-- /bench:{0} -->"


def test_a_section_is_replaced_and_all_else_stays():
    one, two = MARKED.format("step:cpu", "old"), MARKED.format("step:gpu", "other")
    text = f"# Title\n\n{one}\n\nBetween.\n\n{two}\n\nEnd.\n"
    new = replace_section(text, "step", "cpu", "new\n")
    assert new == text.replace("old", "new")
    assert replace_section(new, "step", "cpu", "new") == new


def test_a_new_section_follows_the_last_one_or_ends_the_file():
    first = replace_section("# Title\n", "step", "cpu", "body")
    assert first == "# Title\n\n" + MARKED.format("step:cpu", "body") + "\n"
    second = replace_section(first + "\n## Other\n", "sweep", "cpu", "more")
    assert second == first + "\n" + MARKED.format("sweep:cpu", "more") + "\n\n## Other\n"
    anchored = replace_section("# Title\n\n<!-- bench -->\n\n## Other\n", "step", "cpu", "body")
    new = MARKED.format("step:cpu", "body")
    assert anchored == f"# Title\n\n<!-- bench -->\n\n{new}\n\n## Other\n"
    assert replace_section("", "step", "cpu", "b") == MARKED.format("step:cpu", "b") + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "<!-- bench:step:cpu -->",
        "<!-- /bench:step:cpu -->",
        "<!-- /bench:step:cpu --><!-- bench:step:cpu -->",
        2 * MARKED.format("step:cpu", "twice"),
    ],
)
def test_markers_that_do_not_pair_are_refused(text):
    with pytest.raises(UserError, match="bench:step:cpu"):
        replace_section(text, "step", "cpu", "body")


def test_a_file_is_made_or_changed_and_never_spoilt(tmp_path):
    path = tmp_path / "results.md"
    write_section(path, "step", "cpu", "body")
    write_section(path, "step", "cpu", "body two")
    assert path.read_text() == MARKED.format("step:cpu", "body two") + "\n"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        write_section(path, "step", "cpu", "body")
    assert path.read_bytes() == b"\xff\xfe"


def test_a_section_says_where_when_and_how():
    machine = Machine("Some CPU", 2, "NVIDIA H200", {"jax": "0.1"})
    text = section(
        "Steps", BenchTable(("a",), ()), command="jaxinterp bench", machine=machine,
        day=datetime.date(2026, 1, 2),
    )  # fmt: skip
    for word in (
        "### Steps",
        "`jaxinterp bench`",
        "NVIDIA H200",
        "2 cores",
        "jax 0.1",
        "2026-01-02",
    ):
        assert word in text
    assert machine.key == "nvidia-h200"
    assert Machine("Some (R) CPU", 2, None, {}).key == "some-r-cpu-2-cores"


def test_this_machine_is_described():
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.processor
    assert "jax" in machine.versions


@pytest.mark.parametrize(
    "plan", {(p.network, p.layer) for p in STEP_PROBLEMS + EQUAL_LOSS_PROBLEMS}
)
def test_problems_name_layers_with_maps(plan):
    name, layer = plan
    architecture = find_architecture(name)
    rows = describe_classifier(architecture.blueprint(), architecture.preprocess)
    assert layer in {row.name for row in rows if row.is_map}


def test_problems_are_chosen_by_their_names():
    asked = BenchSettings(only=("resnet18:layer2.1", "vgg16"))
    chosen = choose(STEP_PROBLEMS, asked)
    assert [(p.network, p.size) for p in chosen] == [
        ("resnet18", 112),
        ("resnet18", 224),
        ("vgg16", 224),
    ]
    assert choose(STEP_PROBLEMS, BenchSettings()) == STEP_PROBLEMS
    assert choose(STEP_PROBLEMS, BenchSettings(only=("resnet18:layer2.1:224",))) == chosen[1:2]
    with pytest.raises(UserError, match="resnet18"):
        choose(STEP_PROBLEMS, BenchSettings(only=("resnet17",)))
    with pytest.raises(UserError, match="vgg16"):
        choose(EQUAL_LOSS_PROBLEMS, BenchSettings(only=("vgg16",)))


def test_a_problem_has_the_most_active_kernels_on_two_pictures():
    (plan,) = choose(STEP_PROBLEMS, BenchSettings(quick=True))
    problem = make_problem(plan, BenchSettings())
    assert problem.images.shape == (plan.lanes, plan.size, plan.size, 3)
    assert problem.images.dtype == np.float32
    network = problem.network
    pictures = network.preprocess(problem.images[:2])
    maps = np.asarray(layer_maps(network, plan.layer)(network.params, pictures))
    activity = maps.mean((0, 1, 2))
    most = sorted(range(len(activity)), key=lambda kernel: -activity[kernel])
    assert problem.kernels.tolist() == [most[0], most[0], most[1], most[1]]


@pytest.mark.parametrize(
    "wrong", [{"rounds": 0}, {"rates": ()}, {"rates": (0.0,)}, {"precision": "half"}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UserError):
        BenchSettings(**wrong)


class Counted:
    """A search that notes what is asked of it."""

    segment, preparing = 5, 2.0

    def __init__(self, name, log):
        self.name, self.log = name, log

    def restart(self):
        self.log.append((self.name, "restart"))

    def advance(self, segments):
        self.log.append((self.name, segments))


@pytest.mark.parametrize("fresh", [False, True])
def test_variants_take_turns(fresh):
    log = []
    searches = {name: Counted(name, log) for name in "AB"}
    seconds = take_turns(searches, {"A": 3, "B": 4}, rounds=2, fresh=fresh)
    again = [("{}", "restart")] if fresh else []
    one = {n: [(n, 1), *[(n, "restart") for _ in again], (n, c)] for n, c in (("A", 3), ("B", 4))}
    assert log == 2 * (one["A"] + one["B"])
    assert {name: len(values) for name, values in seconds.items()} == {"A": 2, "B": 2}


def test_compilation_counts_what_came_before_the_first_segment():
    log = []
    first, _ = warm(Counted("A", log))
    assert first >= 2.0
    assert log[-1] == ("A", "restart")


def test_ratios_are_of_pairs():
    # The quotient of the medians would be 2 as well, but these ratios are 1, 2 and 4.
    assert median_ratio([1.0, 4.0, 16.0], [1.0, 2.0, 4.0]) == (2.0, 1.0, 4.0)


def test_steps_to_a_loss_by_hand():
    # Lane 0 falls, lane 1 rises after its second step and stops: its least loss counts.
    losses = np.array([[4.0, 4.0], [3.0, 2.0], [1.0, 9.0], [0.0, np.nan]])
    assert [steps_to(losses, goal) for goal in (4.0, 2.5, 1.5, 1.0, 0.9)] == [1, 2, 3, 4, None]


def test_a_sweep_measures_enough_kernels_of_every_layer():
    layers = {f"b{i}": width for i, width in enumerate((64, 64, 128, 128, *[256] * 3, *[512] * 6))}
    assert sum(layers.values()) == 4224
    for least in (1, 256, 1000, 4224, 10**6):
        plan = sweep_plan(layers, 32, least)
        ran = {layer: min(32 * plan[layer], count) for layer, count in layers.items()}
        assert min(plan.values()) >= 1
        assert sum(ran.values()) >= min(least, 4224)
    assert ran == layers


@pytest.fixture
def call(capfd, monkeypatch):
    """Runs `jaxinterp bench`; returns its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the command would leave it set
    return runner(capfd, "bench")


class WithoutTorch:
    """A machine on which PyTorch is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")


@pytest.mark.parametrize("case", [(), ("step",), ("equal-loss",), ("sweep",)])
def test_without_pytorch_one_sentence_says_so(call, monkeypatch, case):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [WithoutTorch(), *sys.meta_path])
    refused(call(*case), "PyTorch", "make bench", "jaxinterp[parity]")


def test_an_unknown_case_is_refused_before_anything_is_measured(call):
    refused(call("steps"), "'steps'", "step")


def test_help_has_the_cases_and_examples(call):
    ended = call("--help")
    assert ended.code == 0
    for word in (*CASES, "--quick", "jaxinterp bench step"):
        assert word in ended.out
