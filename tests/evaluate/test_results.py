"""Results as files: everything is in them, and they are what they say."""

import csv
import errno
import json
import os
import re

import numpy as np
import pytest

from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.errors import UserError
from jaxinterp.evaluate.results import check_output, write_results
from jaxinterp.evaluate.run import evaluate


@pytest.fixture
def evaluation(lookup, numbered):
    """40 images of 7 classes, the first of which cannot be read; a class name with a comma."""
    logits = np.random.default_rng(0).integers(0, 6, (40, 7))

    def fail(position):
        if position == 0:
            raise UnreadableImage("torn")

    names = ["ant, red", "bee", "cät", "dog", "elk", "fox", "gnu"]
    return evaluate(
        lookup(logits, class_names=names), numbered(np.arange(40) % 7, classes=names, fail=fail)
    )


def test_json_holds_everything(evaluation, tmp_path):
    path = check_output(str(tmp_path / "new" / "results.json"))
    write_results(path, evaluation)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["model"] == "lookup"
    assert found["weights_sha256"] == "abc"
    assert (found["images_from"], found["kind"], found["split"]) == ("here", "made", None)
    assert found["label_rule"] == "classes are named as the network's"
    assert found["geometry"] == {"resize": 2, "size": 2, "channels": 3}
    assert (found["images"], found["logits"]) == (39, 7)
    for key, share in (("top1", evaluation.top1), ("top5", evaluation.top5)):
        low, high = share.interval
        assert found[key] == {
            "correct": share.successes,
            "share": share.successes / 39,
            "low": low,
            "high": high,
        }
    assert [own["index"] for own in found["classes"]] == list(range(7))
    assert [own["name"] for own in found["classes"]][:3] == ["ant, red", "bee", "cät"]
    assert sum(own["images"] for own in found["classes"]) == 39
    assert sum(own["top1"]["correct"] for own in found["classes"]) == evaluation.top1.successes
    assert sum(own["top5"]["correct"] for own in found["classes"]) == evaluation.top5.successes
    assert found["mean_class_top1"] == np.mean([own["top1"]["share"] for own in found["classes"]])
    assert found["unreadable"] == [{"name": "image 0", "reason": "torn"}]
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_csv_has_a_line_for_all_and_one_for_each_class(evaluation, tmp_path):
    path = check_output(str(tmp_path / "results.CSV"))
    path.write_text("older", encoding="utf-8")
    write_results(path, evaluation)
    with path.open(encoding="utf-8", newline="") as file:
        everything, *classes = csv.DictReader(file)
    assert (everything["class_index"], everything["class"]) == ("", "")
    assert everything["images"] == "39"
    assert float(everything["top1"]) == evaluation.top1.value
    assert float(everything["top5_high"]) == evaluation.top5.interval[1]
    assert [row["class"] for row in classes[:3]] == ["ant, red", "bee", "cät"]
    for row, own in zip(classes, evaluation.classes, strict=True):
        assert row["model"] == "lookup"
        assert row["images_from"] == "here"
        assert int(row["class_index"]) == own.index
        assert float(row["top1"]) == own.top1.value
        assert (float(row["top1_low"]), float(row["top1_high"])) == own.top1.interval


def test_unusable_outputs_are_refused_beforehand(tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "file").touch()
    for name, words in {
        "results.txt": "ends in .json or .csv",
        "results": "ends in .json or .csv",
        "folder.json": "cannot be written",
        "file/results.json": "cannot be written",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            check_output(str(tmp_path / name))
        assert re.search(re.escape(name), str(caught.value))


def test_a_disk_that_runs_full_leaves_nothing_and_is_named(evaluation, tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    path.write_text("older", encoding="utf-8")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"No space left on device: .*results\.json'"):
        write_results(path, evaluation)
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]
    assert path.read_text(encoding="utf-8") == "older"
