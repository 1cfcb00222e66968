"""The command, called as a user calls it: what it prints, and with which code it ends."""

import hashlib
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from command_line import Ended, refused, runner
from PIL import Image

import jaxinterp
from jaxinterp.cli import main
from jaxinterp.cli.interruption import interrupts_kept
from jaxinterp.console.run import RunConsole
from jaxinterp.errors import UserError
from jaxinterp.models.describe import describe_classifier
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.preprocess import CIFAR10
from jaxinterp.models.registry import ARCHITECTURES, Architecture, find_architecture
from jaxinterp.models.vgg import VGG
from jaxinterp.sweep.run import RunResult


@pytest.fixture
def call(capfd, monkeypatch):
    """Runs the command; returns its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "80")
    return runner(capfd)


def test_version(call):
    assert call("--version") == Ended(0, f"jaxinterp {jaxinterp.__version__}\n", "")


def test_help_names_every_command(call):
    ended = call("--help")
    assert ended.code == 0
    for command in ("run", "models", "train", "evaluate"):
        assert re.search(rf"\b{command}\b", ended.out)
        one = call(command, "--help")
        assert one.code == 0
        assert f"jaxinterp {command}" in one.out
        assert "--debug" in one.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((), "models"),
        (("modles",), "models"),
        (("models", "--nmae", "vgg16"), "--nmae"),
        (("train",), "CONFIG.toml"),
        (("train", "a.toml", "--set"), "--set"),
        (("train", "a.toml", "b.toml"), "b.toml"),
        (("evaluate", "--images", "a", "--batch-size", "many"), "--batch-size"),
        (("evaluate", "--imagse", "a"), "--images"),
    ],
)
def test_what_cannot_be_parsed_ends_with_code_2(call, arguments, word):
    ended = call(*arguments)
    assert ended.code == 2
    assert word in ended.err
    assert "Traceback" not in ended.err + ended.out


def test_models_lists_every_network(call):
    lines = call("models").out.splitlines()
    for name, architecture in ARCHITECTURES.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert architecture.summary in line  # not wrapped


@pytest.mark.parametrize("name", ["vgg_cifar10", "vgg16_bn", "resnet50", "vgg_f"])
def test_models_prints_the_layer_table(call, name):
    ended = call("models", name)
    assert ended.code == 0
    found = {line.split()[0]: line.split() for line in ended.out.splitlines() if line.strip()}
    architecture = find_architecture(name)
    for layer in describe_classifier(Blueprint(architecture.build), architecture.preprocess):
        numbers = (layer.stride, layer.receptive_field, layer.padding)
        names = [layer.name, *([layer.alias] if layer.alias else []), layer.kind]
        expected = [*names, str(layer.channels)]
        expected += ["-" if number is None else str(number) for number in numbers]
        assert found[layer.name] == expected
    assert "…" not in ended.out
    assert max(map(len, ended.out.splitlines())) <= 82
    assert not re.search(r" $", ended.out, re.MULTILINE)  # another line in a narrow terminal


def test_a_misspelt_model(call):
    refused(call("models", "vgg61"), "no model 'vgg61'", "nearest: ", "vgg16")


def test_ctrl_c_while_libraries_load_is_not_lost():
    """Some libraries catch whatever is raised while they are imported."""
    code = """
import contextlib, signal
from jaxinterp.cli.arguments import loading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has it ignored
with loading(), contextlib.suppress(BaseException):
    signal.raise_signal(signal.SIGINT)
print("went on")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "\nInterrupted.\n")


def test_ctrl_c_in_a_callback_is_not_lost():
    """Python prints what a callback of its garbage collector raises, and goes on."""
    code = """
import gc, signal, time
from jaxinterp.cli.interruption import interrupts_kept
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt(phase, info):
    gc.callbacks.remove(interrupt)
    signal.raise_signal(signal.SIGINT)

gc.callbacks.append(interrupt)
try:
    with interrupts_kept():
        gc.collect()
        for _ in range(1000):
            time.sleep(0.01)
        print("lost")
except KeyboardInterrupt:
    print("found")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "found\n", "")


def test_what_else_a_callback_raises_is_still_printed(monkeypatch):
    class Broken:
        def __del__(self):
            raise RuntimeError("told")

    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_type))
    before = sys.unraisablehook
    with interrupts_kept():
        Broken()
    assert told == [RuntimeError]
    assert sys.unraisablehook is before


def test_after_ctrl_c_the_program_ends_at_once():
    """XLA may be compiling, and would crash if Python were taken down in order."""
    code = """
import atexit, sys
from jaxinterp.cli import main
from jaxinterp.cli.models import Models

def interrupt(self):
    print("begun")
    raise KeyboardInterrupt

Models.__call__ = interrupt
atexit.register(print, "taken down")
sys.argv = ["jaxinterp", "models"]
main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    message = "\nInterrupted; what was finished is kept.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "begun\n", message)


def test_debug_shows_where_an_error_came_from():
    with pytest.raises(UserError, match="no model 'vgg61'"):
        main(["models", "vgg61", "--debug"])


TRAIN = """
model = "tiny"
data = "{data}"
output = "{output}"
batch_size = 16
peak_rate = 0.02

[[phases]]
epochs = 1
crop = 16
pad = 0
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A config that trains a tiny network on a few made images in a second."""

    def construct(classes):
        return VGG(((4,),), batch_norm=True, classes=classes, hidden=(), grid=1)

    monkeypatch.setitem(ARCHITECTURES, "tiny", Architecture("tiny", construct, 10, CIFAR10, ""))
    folder = tmp_path / "data"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = random.integers(0, 256, (8, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / name).write_bytes(records.tobytes())
    path = tmp_path / "train.toml"
    path.write_text(TRAIN.format(data=folder, output=tmp_path / "run"), encoding="utf-8")
    return path


def test_train_and_evaluate(call, tiny):
    ended = call("train", tiny, "--set", "seed=4", "--set", "phases=[{epochs=1, crop=8, pad=0}]")
    weights = tiny.parent / "run" / "weights.safetensors"
    assert ended.code == 0, ended
    lines = ended.out.splitlines()
    assert lines[0].startswith("epoch 1/1: loss ")
    assert lines[1].startswith("accuracy on 8 test images: ")
    assert lines[2:] == [f"weights: {weights}"]  # and no empty lines of the progress bar
    recorded = (weights.parent / "config.toml").read_text(encoding="utf-8")
    assert "seed = 4" in recorded
    assert "crop = 8" in recorded

    ended = call(
        *("evaluate", "--images", tiny.parent / "data", "--model", "tiny", "--weights", weights)
    )
    assert ended.code == 0, ended
    assert f"{tiny.parent / 'data'}: CIFAR-10, split test, 8 images, 10 classes\n" in ended.out
    assert re.search(r"^top-1 \d+\.\d\d% \(95 % interval ", ended.out, re.MULTILINE)
    assert f"tiny, weights {hashlib.sha256(weights.read_bytes()).hexdigest()}\n" in ended.out
    refused(call("train", tiny), "another config")


def test_unusable_training_configs(call, tiny):
    refused(
        call("train", tiny.with_name("trian.toml")), "no config file", "nearest: ", "train.toml"
    )
    refused(call("train", tiny, "--set", "bacth_size=2"), "'bacth_size'; nearest: batch_size")
    refused(call("train", tiny, "--set", "batch_size=two"), "'batch_size' must be a whole number")
    refused(call("train", tiny, "--set", "batch_size"), "--set takes key=value")
    refused(call("train", tiny, "--set", "model=tyni"), "no model 'tyni'; nearest: tiny")
    refused(call("train", tiny, "--set", "data=/nowhere"), "No CIFAR-10 at /nowhere")
    refused(call("train", tiny, "--set", f"output={tiny}"), "cannot be used")
    refused(call("train", tiny.parent), "cannot be read")
    tiny.write_text("model = ", encoding="utf-8")
    refused(call("train", tiny), "not valid TOML")


EVALUATE = """
model = "tiny"
weights = "random"
images = "{images}"
batch_size = 2
worst = 1
"""


@pytest.fixture
def folders(tiny):
    """A config that evaluates `tiny` on two class folders, one image of which is broken."""
    images = tiny.parent / "images"
    for i, name in enumerate(["3/1.png", "3/2.png", "3/torn.png", "5/1.png"]):
        path = images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 32), (60 * i, 0, 0)).save(path)
    (images / "3" / "torn.png").write_bytes(b"")
    config = tiny.with_name("evaluate.toml")
    config.write_text(EVALUATE.format(images=images), encoding="utf-8")
    return config


def test_evaluate_by_a_config(call, folders):
    ended = call("evaluate", folders)
    assert ended.code == 0, ended
    images = folders.parent / "images"
    assert f"{images}: class folders, 4 images, 2 classes\n" in ended.out
    assert "classes are numbered by their logits; 10 logits\n" in ended.out
    assert "1 images could not be read and are in no accuracy:\n" in ended.out
    assert "  3/torn.png: the file is empty\n" in ended.out
    assert "the 1 worst of 2 classes; an output file has them all\n" in ended.out
    # Without a terminal, plain lines of progress and no bar.
    assert re.search(r"^2 of 4 images, \d+\.\d images/s$", ended.out, re.MULTILINE)
    assert "\x1b" not in ended.out


def test_options_override_the_config(call, folders):
    for output in (folders.with_name("results.json"), folders.with_name("results.csv")):
        ended = call(
            *("evaluate", folders, "--worst", "5", "--limit", "2", "--output", output),
            *("--images", folders.parent / "images" / ".." / "data", "--split", "train"),
        )
        assert ended.code == 0, ended
        assert "CIFAR-10, split train, 2 of 40 images" in ended.out
        assert "worst of" not in ended.out
        assert f"results: {output}\n" in ended.out
        assert output.stat().st_size > 100


def test_unusable_evaluations(call, tiny, folders):
    data = ("evaluate", "--images", tiny.parent / "data", "--model", "tiny")
    refused(call("evaluate"), "Give --model, or a config file that has the key 'model'")
    refused(call("evaluate", "--model", "tiny"), "Give --images")
    refused(call(*data, "--weights", "absent"), "no weights file absent")
    refused(call(*data[:3], "--model", "vgg16"), "weights for 'vgg16'")
    refused(call(*data[:3], "--model", "vgg_cifar"), "nearest: vgg_cifar10")
    refused(call(*data, "--batch-size", "0"), "batch_size must be at least 1")
    refused(call(*data, "--output", "results.txt"), "ends in .json or .csv, not 'results.txt'")
    refused(call(*data, "--split", "val"), "splits train and test, not 'val'")
    refused(call("evaluate", folders.with_name("evalaute.toml")), "nearest: ", "evaluate.toml")
    refused(call("evaluate", folders, "--images", "tfds:mnits"), "no TFDS set", "nearest: mnist")
    folders.write_text("modle = 'tiny'\nmodel = 'tiny'\nimages = 'a'\n", encoding="utf-8")
    refused(call("evaluate", folders), "no key 'modle'; nearest: model")


def test_classes_without_logits_end_with_code_2(call, folders):
    ended = call("evaluate", folders, "--classes", "1")
    assert ended.code == 2
    assert ended.err.startswith("jaxinterp: ")
    assert "has the class 5, but the network has 1 logits" in ended.err
    assert "--classes" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "Interrupted; what was finished is kept."),
        (OSError(28, "No space left on device", "a/b"), 1, "No space left on device: 'a/b'"),
        (UserError("The thing."), 2, "jaxinterp: The thing.\n"),
    ],
    ids=["interrupted", "disk full", "unusable"],
)
def test_what_ends_a_command_sets_its_code(call, tiny, monkeypatch, error, code, words):
    def fail(config):
        raise error

    monkeypatch.setattr("jaxinterp.train.loop.train", fail)
    ended = call("train", tiny)
    assert ended.code == code
    assert words in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line_on_the_error_stream(call, tiny, monkeypatch):
    def odd(config):
        warnings.warn("The thing is odd.", stacklevel=1)
        return "w.safetensors"

    monkeypatch.setattr("jaxinterp.train.loop.train", odd)
    before = warnings.showwarning
    warned = "jaxinterp: warning: The thing is odd.\n"
    assert call("train", tiny) == Ended(0, "weights: w.safetensors\n", warned)
    assert warnings.showwarning is before
    with pytest.warns(UserWarning, match="odd"):  # in Python's own form, with its place
        assert call("train", tiny, "--debug").err == ""


def test_an_unforeseen_error_is_shown_whole(tiny, monkeypatch):
    def fail(config):
        raise RuntimeError("a bug")

    monkeypatch.setattr("jaxinterp.train.loop.train", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["train", str(tiny)])


def test_the_console_prints_names_as_they_are(capfd, tmp_path):
    name = "[/red] relu[1]"
    with RunConsole() as console:
        console.planned(3, 1)
        console.batch(name)
        console.advanced(0.0)
        console.advanced(0.5)
        console.finished([{"layer": name, "status": "failed"}, {"layer": name, "status": "done"}])
        console.note(f"left out: {name}")
        page = tmp_path / ("x" * 100) / "[b]" / "index.html"
        rows = {name: [("[/i]", "0.5", "0.1", "20 %")]}
        console.close_with(
            RunResult(
                folder=tmp_path,
                page=page,
                jobs=3,
                done=2,
                silent=0,
                failed=1,
                tables=rows,
                seconds=61,
                left=0,
                occupancy=0.98,
                rate=100.0,
                devices=1,
            )
        )
    out = capfd.readouterr().out
    assert "3 jobs, 1 of them done before" in out
    assert f"3/3 jobs, {name}, 1 failed" in out
    assert f"left out: {name}" in out
    assert "[/i]" in out
    assert f"report: {page}\n" in out
    assert "\x1b" not in out  # no terminal, no colours


def test_the_console_says_what_is_kept_when_a_run_breaks_off(capfd):
    def broken():
        with RunConsole() as console:
            console.planned(4, 1)
            console.finished([{"layer": "relu1", "status": "done"}])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert "2 of 4 jobs are stored; the same command does the rest." in capfd.readouterr().out
