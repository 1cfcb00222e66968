"""A few steps of training on made images: it learns, stops, and resumes as if undisturbed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import jaxinterp
from jaxinterp.config import build, load_config
from jaxinterp.data.cifar10 import read_cifar10
from jaxinterp.errors import UserError
from jaxinterp.evaluate.run import evaluate
from jaxinterp.models.preprocess import CIFAR10
from jaxinterp.models.registry import ARCHITECTURES, Architecture
from jaxinterp.models.vgg import VGG
from jaxinterp.train.config import PhaseConfig, TrainConfig
from jaxinterp.train.loop import train
from jaxinterp.weights.formats.safetensors_file import read_safetensors


def construct(classes):
    # Hidden layers and a grid: the file's dense weight after the flattening is in another order.
    return VGG(((4,), (6,)), batch_norm=True, classes=classes, hidden=(16,), grid=2)


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """A network that trains in seconds, under the name `tiny`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "tiny", Architecture("tiny", construct, 1000, CIFAR10, ""))
        yield


def make_config(colours, output, **changes):
    config = TrainConfig(
        data=str(colours),
        output=str(output),
        model="tiny",
        phases=(PhaseConfig(2, 16, 0), PhaseConfig(2, 32, 4)),
        batch_size=16,
        peak_rate=0.05,
        seed=3,
    )
    return dataclasses.replace(config, **changes)


def log_of(folder):
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def trained(colours, tmp_path_factory):
    """(config, weights' path, reported lines) of an undisturbed run."""
    config = make_config(colours, tmp_path_factory.mktemp("trained") / "run")
    lines = []
    return config, train(config, report=lines.append), lines


def test_the_loss_falls(trained):
    _, weights, lines = trained
    log = log_of(weights.parent)
    assert [record["epoch"] for record in log] == [1, 2, 3, 4]
    assert [record["crop"] for record in log] == [16, 16, 32, 32]
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert log[-1]["accuracy"] > log[0]["accuracy"]
    *epochs, judged = lines
    assert [line.partition(":")[0] for line in epochs] == [f"epoch {i}/4" for i in (1, 2, 3, 4)]
    assert judged.startswith("accuracy on 30 test images: ")
    assert f"loss {log[0]['loss']:.3f}" in lines[0]
    assert (weights.parent / "config.toml").is_file()


def test_the_weights_load_and_are_better_than_chance(trained):
    config, weights, _ = trained
    network = jaxinterp.load("tiny", weights=weights, classes=10)
    for name, value in network.params.items():
        np.testing.assert_array_equal(value, np.float32(np.float16(value)), err_msg=name)
    data = read_cifar10(config.data, "train")
    found = evaluate(network, data)
    # It must predict what it did in training: a wrong order of the weights would guess.
    assert found.top1.value > 0.6
    random = jaxinterp.load("tiny", weights="random", classes=10)
    assert found.top1.value > evaluate(random, data).top1.value


def test_the_accuracy_on_the_test_images_is_that_of_evaluate(trained):
    config, weights, lines = trained
    network = jaxinterp.load("tiny", weights=weights, classes=10)
    found = evaluate(network, read_cifar10(config.data, "test")).top1
    written = json.loads((weights.parent / "test.json").read_text(encoding="utf-8"))
    assert written == {
        "images": 30,
        "correct": found.successes,
        "accuracy": pytest.approx(found.value, abs=1e-4),
    }
    assert f"{found.value:.2%}" in lines[-1]


def test_the_weights_file_says_how_it_was_made_and_not_where(trained):
    config, weights, _ = trained
    _, metadata = read_safetensors(weights)
    assert metadata["model"] == "tiny"
    assert "peak_rate = 0.05" in metadata["config"]
    content = weights.read_bytes()
    assert config.data.encode() not in content
    assert config.output.encode() not in content
    assert b"/tmp" not in content


class Killed(Exception):
    pass


def killed_after(epoch):
    def report(line):
        if line.startswith(f"epoch {epoch}/"):
            raise Killed

    return report


def test_a_resumed_run_equals_an_undisturbed_one(trained, tmp_path):
    config, weights, _ = trained
    output = tmp_path / "run"
    config = dataclasses.replace(config, output=str(output))
    with pytest.raises(Killed):
        train(config, report=killed_after(2))
    assert not (output / "weights.safetensors").exists()
    lines = []
    resumed = train(config, report=lines.append)
    assert lines[0] == "resuming after epoch 2 of 4"
    expected, actual = read_safetensors(weights)[0], read_safetensors(resumed)[0]
    assert set(actual) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)
    kept = [{k: v for k, v in record.items() if k != "seconds"} for record in log_of(output)]
    whole = [{k: v for k, v in r.items() if k != "seconds"} for r in log_of(weights.parent)]
    assert kept == whole
    # A finished run does nothing more, and gives its weights again.
    content = resumed.read_bytes()
    again = []
    assert train(config, report=again.append).read_bytes() == content
    assert again[0] == "resuming after epoch 4 of 4"
    assert again[1:] == lines[-1:]  # the accuracy


def test_another_config_in_the_same_folder_is_refused(trained):
    config, weights, _ = trained
    before = weights.read_bytes()
    with pytest.raises(UserError, match="holds a training run with another config"):
        train(dataclasses.replace(config, peak_rate=0.1))
    assert weights.read_bytes() == before


def test_training_stops_after_so_many_steps(colours, tmp_path):
    config = make_config(colours, tmp_path / "run", max_steps=1)
    lines = []
    assert train(config, report=lines.append).is_file()
    assert len(lines) == 2  # an epoch and the accuracy
    assert len(log_of(tmp_path / "run")) == 1


def test_what_cannot_be_trained_leaves_no_folder(colours, tmp_path):
    output = tmp_path / "run"
    wrong = [
        ({"batch_size": 49}, "48 images do not fill a batch of 49"),
        ({"data": str(tmp_path / "absent")}, "No CIFAR-10 at .*absent"),
        ({"model": "tny"}, "no model 'tny'; nearest: tiny"),
        ({"model": "mnist"}, "mnist takes grey images: it cannot be trained on RGB images"),
        (
            {"phases": (PhaseConfig(1, 37, 2),)},
            "A crop of 37 px does not fit in images of 32 px with 2 px of padding on each side",
        ),
        ({"data": "an8flower:single"}, "no variant of an8Flower 'single'; nearest: single-6c"),
        ({"model": "vgg16"}, "vgg16 needs crops of at least 32 px, got 16"),
    ]
    for changes, message in wrong:
        with pytest.raises(UserError, match=message):
            train(make_config(colours, output, **changes))
        assert not output.exists()


def test_an_output_that_is_a_file_is_named(colours, tmp_path):
    (tmp_path / "run").write_text("")
    for output in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(UserError, match=r"The output folder .*run.* cannot be used"):
            train(make_config(colours, output))


def test_a_full_disk_is_no_usage_error(colours, tmp_path, monkeypatch):
    def full(path, *arguments, **options):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("jaxinterp.train.loop.write_safetensors", full)
    with pytest.raises(OSError, match="No space left"):
        train(make_config(colours, tmp_path / "run", max_steps=1), report=lambda line: None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"phases": []}, "config: training needs at least one of"),
        ({"phases": [{"epochs": 0}]}, r"phases\[0\]: a phase needs at least 1 epoch"),
        ({"phases": [{"epochs": 1, "crop": 7}]}, r"phases\[0\]: .* a crop from 8 px"),
        ({"phases": [{"epochs": 1, "crop": 8, "pad": -1}]}, "pad from 0"),
        ({"phases": [{"epoch": 1}]}, r"no key 'phases\[0\].epoch'; nearest: phases\[0\].epochs"),
        ({"phases": [{"epochs": 1, "restart_rate": 0.1}]}, "first phase has no restart_rate"),
        ({"phases": [{"epochs": 1, "restart_rate": -0.1}]}, "restart_rate must be a number from"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"peak_rate": -0.1}, "peak_rate must be a number above 0"),
        ({"peak_rate": float("nan")}, "peak_rate must be a number above 0"),
        ({"warmup": 1.5}, "warmup must lie between 0 and 0.99"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1"),
        ({"label_smoothing": -0.1}, "label_smoothing must be at least 0 and below 1"),
        ({"weight_decay": -1.0}, "weight_decay must be a number from 0"),
        ({"seed": -1}, "seed must not be negative"),
        ({"train_images": -1}, "train_images must not be negative"),
        ({"test_images": -1}, "test_images must not be negative"),
        ({"max_steps": -1}, "max_steps must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_named(content, message):
    with pytest.raises(UserError, match=message):
        build(TrainConfig, {"data": "a", "output": "b"} | content)


def test_a_phase_with_a_restart_rate_begins_a_cycle():
    phases = (PhaseConfig(2), PhaseConfig(3), PhaseConfig(4, restart_rate=0.2), PhaseConfig(1))
    config = TrainConfig("a", "b", phases=phases, peak_rate=0.5)
    assert config.cycles == ((5, 0.5), (5, 0.2))


def test_flowers_are_rendered_and_learnt_from_and_named_in_the_file(tmp_path):
    config = TrainConfig(
        data="an8flower:single-6c",
        output=str(tmp_path / "run"),
        model="tiny",
        phases=(PhaseConfig(1, 36, 2),),
        train_images=24,
        test_images=12,
        mirror=False,
        batch_size=8,
    )
    lines = []
    weights = train(config, report=lines.append)
    assert lines[-1].startswith("accuracy on 12 test images")
    network = jaxinterp.load("tiny", weights=weights, classes=6)
    assert network.params["classifier.3.bias"].shape == (6,)
    _, metadata = read_safetensors(weights)
    assert 'data = "an8flower:single-6c"' in metadata["config"]
    assert str(tmp_path) not in metadata["config"]


def test_the_recipes_of_the_package_are_valid():
    found = sorted((Path(__file__).parents[2] / "configs").glob("train_*.toml"))
    assert len(found) >= 4
    for path in found:
        config = load_config(TrainConfig, path)
        preprocess = ARCHITECTURES[config.model].preprocess
        assert all(phase.crop <= preprocess.size + 2 * phase.pad for phase in config.phases)
