"""A whole run on a small scale: what it writes, how it resumes, what it refuses."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from sweep_runs import JOBS, Batches, assert_equal_runs, config, stored

from jaxinterp.cli import main
from jaxinterp.config import to_toml
from jaxinterp.data.images import ImagesConfig
from jaxinterp.errors import UserError
from jaxinterp.methods.suppression import SuppressionSettings
from jaxinterp.sweep.config import LayerConfig, ModelConfig
from jaxinterp.sweep.run import run
from jaxinterp.weights.formats.safetensors_file import write_safetensors
from jaxinterp.weights.layout import to_torch_layout
from jaxinterp.weights.load import load


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    listener = Batches()
    return folder, run(config(folder), listener=listener), listener


def test_a_run_writes_all_that_it_promises(undisturbed):
    folder, result, listener = undisturbed
    assert result.jobs == JOBS == result.done + result.silent + result.failed
    assert listener.planned_with == (JOBS, 0)
    assert sorted(record["index"] for record in listener.records) == list(range(JOBS))
    assert listener.titles == ["relu1_1, 6 jobs", "relu2_1, 6 jobs", "report"]
    assert result.left == 0
    assert result.page == folder / "index.html"
    assert "astronaut" in result.page.read_text(encoding="utf-8")
    assert len(list((folder / "figures").glob("*.png"))) == 2
    rows, images, traces = stored(folder)
    assert len(rows) == JOBS
    assert images.shape == (JOBS, 16, 16, 3)
    assert traces.shape == (JOBS, 6, 4)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["kernels"]) == {"relu1_1", "relu2_1"}
    assert manifest["kernels"]["relu1_1"] == [3, 0, 7]
    assert manifest["versions"]["jax"]
    for row in rows.values():
        if row["status"] == "done":
            assert np.isfinite(images[row["index"]]).all()
            assert row["loss"] <= traces[row["index"], 0, 0]


def test_running_again_does_nothing_again(undisturbed):
    folder, _, _ = undisturbed
    before = stored(folder)[0]
    journal = (folder / "journal" / "0.jsonl").read_bytes()
    listener = Batches()
    result = run(config(folder, title="Another title"), listener=listener)
    assert listener.records == []
    assert listener.planned_with == (JOBS, JOBS)
    assert (folder / "journal" / "0.jsonl").read_bytes() == journal
    assert stored(folder)[0] == before
    assert "Another title" in result.page.read_text(encoding="utf-8")


@pytest.mark.parametrize("after", [1, 7])
def test_an_interrupted_run_ends_as_an_undisturbed_one(tmp_path, undisturbed, after):
    folder = tmp_path / "run"
    first = Batches(most=after)
    with pytest.raises(KeyboardInterrupt):
        run(config(folder), listener=first)
    rest = Batches()
    run(config(folder), listener=rest)
    kept, done = (sorted(r["index"] for r in one.records) for one in (first, rest))
    assert rest.planned_with == (JOBS, len(kept))
    assert sorted(kept + done) == list(range(JOBS)), "no job is lost, none is done twice"
    assert_equal_runs(folder, undisturbed[0])


def test_a_torn_journal_is_mended(tmp_path, undisturbed):
    """A crash in the middle of writing: one line whole, the next one cut."""
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(config(folder), listener=Batches(most=4))
    journal = folder / "journal" / "0.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text(lines[0] + lines[1][:25])
    rest = Batches()
    run(config(folder), listener=rest)
    assert rest.planned_with == (JOBS, 1)
    assert len(rest.records) == JOBS - 1
    assert_equal_runs(folder, undisturbed[0])


def test_the_number_of_lanes_may_change(tmp_path, undisturbed):
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(config(folder), listener=Batches(most=2))
    run(config(folder, lanes=3))
    assert_equal_runs(folder, undisturbed[0])


def test_a_killed_process_loses_nothing_finished(tmp_path, undisturbed):
    """SIGKILL, at no moment of our choosing, while a real command runs."""
    folder, file = tmp_path / "run", tmp_path / "run.toml"
    file.write_text(to_toml(config(folder)))
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxinterp.cli", "run", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal = folder / "journal" / "0.jsonl"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = [json.loads(line)["id"] for line in journal.read_text().splitlines()]
    assert kept
    rest = Batches()
    run(config(folder), listener=rest)
    assert rest.planned_with == (JOBS, len(kept))
    done_again = {record["id"] for record in rest.records}
    assert not done_again & set(kept)
    assert_equal_runs(folder, undisturbed[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suppression": SuppressionSettings(steps=7)}, "suppression.steps is 6 there and 7 here"),
        ({"layers": (LayerConfig("relu1_1"),)}, "layers is"),
        ({"model": ModelConfig(weights="elsewhere.safetensors")}, "elsewhere"),
    ],
)
def test_another_config_is_refused_with_the_difference(undisturbed, change, message):
    """(The last one fails before the folder is looked at: its weights are not there.)"""
    with pytest.raises(UserError, match=message):
        run(config(undisturbed[0], **change))


def test_other_weights_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"

    def save(seed):
        params = load("vgg_cifar10", weights="random", seed=seed).params
        params = {name: np.asarray(value) for name, value in params.items()}
        write_safetensors(path, to_torch_layout(params, flattened={}))

    own = config(
        tmp_path / "run",
        model=ModelConfig(weights=str(path)),
        layers=(LayerConfig("relu1_1", "0"),),
    )
    save(0)
    run(own)
    save(1)
    with pytest.raises(UserError, match="weights of 'vgg_cifar10' are not those"):
        run(own)


def test_other_images_are_refused(tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (20, 20), "red").save(folder / "a.png")
    own = config(
        tmp_path / "run",
        images=ImagesConfig(size=16, folder=str(folder)),
        layers=(LayerConfig("relu1_1", "0"),),
    )
    run(own)
    Image.new("RGB", (20, 20), "blue").save(folder / "b.png")
    with pytest.raises(UserError, match=r"images are not those .*new: b"):
        run(own)
    (folder / "b.png").unlink()
    Image.new("RGB", (20, 20), "blue").save(folder / "a.png")
    with pytest.raises(UserError, match="changed: a"):
        run(own)


def test_a_bad_file_among_good_ones_is_named_and_the_others_done(tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.effect_noise((40, 40), 90).convert("RGB").save(folder / "good.png")
    whole = (folder / "good.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image")
    listener = Batches()
    result = run(
        config(
            tmp_path / "run",
            images=ImagesConfig(size=16, folder=str(folder)),
            layers=(LayerConfig("relu1_1", "0-1"),),
        ),
        listener=listener,
    )
    assert result.jobs == 2
    assert len(listener.notes) == 2
    assert any("truncated.png" in note for note in listener.notes)
    assert any("text.jpg" in note for note in listener.notes)


def test_a_corrected_config_takes_the_place_of_a_refused_one(tmp_path):
    """A kernel out of range is noticed when the folder is there already."""
    with pytest.raises(UserError, match="no kernel 999"):
        run(config(tmp_path / "run", layers=(LayerConfig("relu1_1", (999,)),)))
    assert run(config(tmp_path / "run", layers=(LayerConfig("relu1_1", (9,)),))).jobs == 2


def test_the_optimisers_own_settings_are_recorded(tmp_path, monkeypatch):
    """So that a run is not finished by another version with other defaults."""
    from jaxinterp.optimize import RECIPES

    usual = dataclasses.replace(RECIPES["relative"], steps=6)
    monkeypatch.setitem(RECIPES, "relative", usual)
    own = config(
        tmp_path / "run", layers=(LayerConfig("relu1_1", "0"),), suppression=SuppressionSettings()
    )
    run(own)
    assert f"rate = {usual.rate}" in (tmp_path / "run" / "config.toml").read_text()
    monkeypatch.setitem(RECIPES, "relative", dataclasses.replace(usual, rate=0.3))
    with pytest.raises(UserError, match=rf"suppression\.rate is {usual.rate} there and 0\.3 here"):
        run(own)


def test_equal_images_are_jobs_of_their_own(tmp_path):
    own = config(
        tmp_path / "run",
        images=ImagesConfig(size=16, pictures=("coffee", "coffee")),
        layers=(LayerConfig("relu1_1", "0"),),
    )
    run(own)
    again = Batches()
    assert run(own, listener=again).jobs == 2
    assert again.planned_with == (2, 2)
    names = [row["image"] for row in pq.read_table(tmp_path / "run" / "jobs.parquet").to_pylist()]
    assert names == ["coffee", "coffee-2"]


def test_a_lost_image_is_made_again(tmp_path, undisturbed):
    folder = tmp_path / "run"
    shutil.copytree(undisturbed[0], folder)
    (chunk,) = (folder / "images.zarr").rglob("*5.0.0.0")
    chunk.unlink()
    again = Batches()
    run(config(folder), listener=again)
    assert again.planned_with == (JOBS, JOBS - 1)
    assert [record["index"] for record in again.records] == [5]
    assert_equal_runs(folder, undisturbed[0])


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty and no run folder"):
        run(config(tmp_path))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"run folder .* cannot be written: Not a directory"):
        run(config(tmp_path / "file" / "run"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_write_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        run(config(tmp_path / "run"))


def command(capsys, *arguments):
    """Exit code, stdout and stderr of the command."""
    code = 0
    try:
        main(list(arguments))
    except SystemExit as stop:
        code = stop.code
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("layers=[{name='relu1_2'}]", "no layer 'relu1_2'; nearest: relu"),
        ("layers=[{name='relu1_1', kernels=[32]}]", "no kernel 32 in relu1_1"),
        ("layers=[{name='relu1_1', kernel=[1]}]", "kernels"),
        ("model.name=vgg_cifar", "nearest: vgg_cifar10"),
        ("supression.steps=3", "nearest: suppression"),
        ("suppression.steps=many", "suppression.steps"),
        ("suppression.alpha=-1", "alpha"),
        ("images.folder=/nowhere", "/nowhere"),
        ("images.pictures=['astronout']", "astronaut"),
        ("lanes=0", "lanes"),
        ("lanes=many", "'lanes' must be a whole number or 'auto'"),
        ("devices=0", "devices must be at least 1"),
        ("devices=9", "9 devices are asked for, and this process has"),
        ("store.images=uint16", "'store.images'"),
        ("store={images='uint8'}", "suppression.bounded is false"),
        ("images.size=4", "Images of 4 px (images.size) do not fit vgg_cifar10"),
        ("report.figures=-1", "figures must be at least 0"),
        ("output=", "must not be empty"),
        ("layers.0.kernels=all", "'layers' is a list"),
        ("title=\udcff", "no UTF-8"),
    ],
)
def test_bad_input_ends_in_a_sentence_and_2(tmp_path, capsys, setting, message):
    file = tmp_path / "run.toml"
    unbounded = SuppressionSettings(steps=6, bounded=False)
    file.write_text(to_toml(config(tmp_path / "run", suppression=unbounded)))
    code, _, err = command(capsys, "run", str(file), "--set", setting)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_the_command_says_what_it_did(capsys, undisturbed, tmp_path):
    folder, _, _ = undisturbed
    file = tmp_path / "run.toml"
    file.write_text(to_toml(config(folder)))
    code, out, _ = command(capsys, "run", str(file))
    assert code == 0
    assert f"{JOBS} jobs, {JOBS} of them done before" in out
    assert "blank image" in out
    assert str(folder / "index.html") in out.replace("\n", "")


def test_interrupting_the_command_keeps_what_is_finished(capsys, tmp_path, monkeypatch):
    folder, file = tmp_path / "run", tmp_path / "run.toml"
    own = config(folder, layers=(LayerConfig("relu1_1", "0-3"),), lanes=4)
    file.write_text(to_toml(own))
    from jaxinterp.console.run import RunConsole

    original = RunConsole.finished

    def interrupt(self, records):
        original(self, records)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunConsole, "finished", interrupt)
        code, out, err = command(capsys, "run", str(file))
    assert code == 130
    assert "4 of 8 jobs are stored" in out
    assert "Interrupted" in err
    rest = Batches()
    run(dataclasses.replace(own), listener=rest)
    assert rest.planned_with == (8, 4)
