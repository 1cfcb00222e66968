"""Whole dissections on rendered flowers, with random weights: what is written, and resuming."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxinterp.config import build
from jaxinterp.data.an8flower import render_many
from jaxinterp.data.an8flower.splits import SPLIT_SEEDS
from jaxinterp.data.concepts.batches import concept_batches
from jaxinterp.data.concepts.source import read_concepts
from jaxinterp.dissect.config import DissectionConfig
from jaxinterp.dissect.listener import DissectionListener
from jaxinterp.dissect.passes import PassFile
from jaxinterp.dissect.run import run_dissection
from jaxinterp.dissect.units import dissect_units
from jaxinterp.errors import UserError
from jaxinterp.methods.layer_maps import all_layer_maps
from jaxinterp.methods.upsampling import bilinear_matrix
from jaxinterp.report.dissection_files import read_dissection
from jaxinterp.sweep.folder.place import LocalPlace
from jaxinterp.weights.load import load

LAYERS = ("relu2", "relu3", "relu4")
CONTENT = {
    "method": "dissection",
    "size": 32,
    "batch_size": 8,
    "layers": list(LAYERS),
    "examples": 2,
    "model": {"name": "flower_single", "weights": "random"},
    "concepts": [{"source": "an8flower:single-6c:20:32"}],
    "relevance": {
        "images": {"source": "an8flower:single-6c:12", "split": "train"},
        "masks": "discriminative",
        "steps": 3,
    },
    "ablation": {
        "images": {"source": "an8flower:single-6c:12", "split": "test"},
        "shares": [0.03],
        "draws": 2,
        "units": True,
    },
}


def config(output: Path, **changes: object) -> DissectionConfig:
    return build(DissectionConfig, CONTENT | {"output": str(output)} | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dissection") / "run"
    run_dissection(config(folder))
    return folder


def test_iou_equals_a_slow_count_over_all_images(finished: Path) -> None:
    network = load("flower_single", weights="random")
    concepts = read_concepts("an8flower:single-6c:20:32")
    maps = jax.jit(all_layer_maps(network, LAYERS))
    values = {name: [] for name in LAYERS}
    masks = []
    for batch in concept_batches(concepts, size=32, mask_size=16, batch_size=4):
        found = maps(network.params, network.preprocess(batch.images.astype(np.float32) / 255))
        for name in LAYERS:
            values[name].append(np.asarray(found[name]))
        for labels in batch.labels:
            masks.append([(labels == c).any(0) for c in range(len(concepts.concepts))])
    masks = np.array(masks)
    report = read_dissection(finished)
    category = concepts.category_of
    carried = np.stack([masks[:, category == c].any((1, 2, 3)) for c in range(2)], 1)
    for name in LAYERS:
        own = np.concatenate(values[name])
        flat = np.sort(own.reshape(-1, own.shape[-1]), axis=0)[::-1]
        threshold = flat[int(0.005 * len(flat))]
        np.testing.assert_allclose(report.thresholds[name], threshold, rtol=1e-5, atol=1e-6)
        up = bilinear_matrix(own.shape[1], 16)
        large = np.einsum("ih,nhwu,jw->nuij", up, own, up)
        # The run's own threshold: a unit at the threshold must not be counted the other way.
        active = large > report.thresholds[name][:, None, None] + 1e-6
        expected = np.zeros((own.shape[-1], len(category)))
        for c in range(len(category)):
            common = (active & masks[:, None, c]).sum((0, 2, 3))
            where = carried[:, category[c]]
            union = active[where].sum((0, 2, 3)) + masks[:, c].sum() - common
            expected[:, c] = common / np.maximum(union, 1)
        np.testing.assert_allclose(report.iou[name], expected, atol=0.02)
        assert np.abs(report.iou[name] - expected).mean() < 1e-4


def test_without_a_folder_the_same_is_found(finished: Path) -> None:
    found = dissect_units(
        load("flower_single", weights="random"),
        read_concepts("an8flower:single-6c:20:32"),
        LAYERS,
        size=32,
        batch_size=8,
    )
    report = read_dissection(finished)
    for name in LAYERS:
        np.testing.assert_array_equal(found.thresholds.values[name], report.thresholds[name])
        np.testing.assert_array_equal(found.iou[name], report.iou[name])


def test_every_unit_has_a_row(finished: Path) -> None:
    table = pq.read_table(finished / "units.parquet").to_pylist()
    assert [(row["layer"], row["unit"]) for row in table] == [
        (name, unit)
        for name, units in zip(LAYERS, (64, 64, 96), strict=True)
        for unit in range(units)
    ]
    assert {"concept_1", "iou_1", "relevance.red", "effect.blue"} <= set(table[0])
    assert (finished / "index.html").stat().st_size > 1000


def test_the_completeness_of_every_image_is_kept(finished: Path) -> None:
    rows = pq.read_table(finished / "completeness.parquet").to_pylist()
    assert len(rows) == 12 * len(LAYERS)
    assert {row["image"] for row in rows} == {f"single-6c/train/{index}" for index in range(12)}
    summary = {one.layer: one for one in read_dissection(finished).completeness}
    for name in LAYERS:
        own = [row for row in rows if row["layer"] == name]
        assert summary[name].median == pytest.approx(np.median([abs(r["delta"]) for r in own]))
        assert all(0 <= row["score"] <= 1 for row in own)


class _Stops(DissectionListener):
    """Stops the run when a pass begins, or in its middle."""

    def __init__(self, title: str, after: int) -> None:
        self.title, self.after, self.now = title, after, ""

    def begins(self, title: str, total: int, done: int = 0, unit: str = "images") -> None:
        self.now = title

    def advanced(self, done: int) -> None:
        if self.now.startswith(self.title) and done >= self.after:
            raise KeyboardInterrupt


def test_a_run_that_is_stopped_four_times_ends_as_one_that_was_not(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jaxinterp.dissect.passes._SECONDS", -1.0)  # every batch is written
    settings = config(tmp_path / "run")
    for title in ("thresholds", "units x", "class-specific", "ablation"):
        with pytest.raises(KeyboardInterrupt):
            run_dissection(settings, listener=_Stops(title, 9))
    run_dissection(settings)
    one, other = read_dissection(finished), read_dissection(tmp_path / "run")
    for name in LAYERS:
        np.testing.assert_array_equal(one.iou[name], other.iou[name])
        np.testing.assert_allclose(one.relevance[name], other.relevance[name], rtol=1e-12)
        np.testing.assert_array_equal(one.effects[name], other.effects[name])
    assert one.ablation == other.ablation


def test_without_concepts_the_run_has_relevance_alone(tmp_path: Path) -> None:
    settings = dataclasses.replace(config(tmp_path / "run"), concepts=(), ablation=None)
    result = run_dissection(settings)
    report = read_dissection(tmp_path / "run")
    assert report.iou["relu2"].shape == (64, 0)
    assert np.isfinite(report.relevance["relu4"]).all()
    assert len(report.completeness) == 3
    assert result.units == 224


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": ["relu9"]}, "relu"),
        ({"concepts": [{"source": "an8flower:triple"}]}, "single-6c"),
        ({"classes": [{"name": "read"}]}, "red"),
        ({"classes": [{"name": "red", "concept": "rde"}]}, "red"),
        ({"classes": [{"name": "x", "logits": [6]}]}, "6"),
        ({"ablation": {"images": {"source": "concepts"}}}, "labelled images"),
        ({"dissection": {"mode": "v1", "mask_size": 13}}, "divides"),
        ({"ablation": CONTENT["ablation"] | {"shares": [0.1, 0.1]}}, "once"),
        ({"size": 8}, "8"),
        ({"relevance": {"images": {"source": "concepts"}, "masks": "discriminative"}}, "object"),
    ],
)
def test_what_cannot_be_used_is_named(changes: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        run_dissection(config(tmp_path / "run", **changes))


def test_several_logits_are_one_class(tmp_path: Path) -> None:
    network = load("flower_single")
    classes = [{"name": "warm", "logits": [0, 1, 2]}, {"name": "cold", "logits": [4, 5]}]
    settings = config(
        tmp_path / "run",
        model={"name": "flower_single"},
        classes=classes,
        concepts=[],
        relevance=CONTENT["relevance"] | {"masks": "none"},
        ablation=CONTENT["ablation"] | {"units": False},
        size=64,
    )
    run_dissection(settings)
    rows = read_dissection(tmp_path / "run").ablation
    flowers = render_many("single-6c", 12, 64, SPLIT_SEEDS["test"])
    logits = np.asarray(network.logits(flowers.images / np.float32(255)), np.float64)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    probability = odds / odds.sum(1, keepdims=True)
    for index, members in enumerate(([0, 1, 2], [4, 5])):
        own = np.isin(flowers.labels, members)
        expected = probability[own][:, members].sum(1).mean()
        (row,) = [r for r in rows if r["which"] == "none" and r["class"] == index]
        assert row["images"] == own.sum()
        assert row["probability"] == pytest.approx(expected, abs=1e-4)


def test_units_chosen_on_the_images_they_are_ablated_on_are_warned_of(tmp_path: Path) -> None:
    heard: list[str] = []

    class Hears(DissectionListener):
        def note(self, text: str) -> None:
            heard.append(text)

    same = {"images": {"source": "an8flower:single-6c:6"}, "shares": [0.03], "draws": 2}
    relevance = {"images": {"source": "an8flower:single-6c:12", "split": "test"}, "steps": 1}
    run_dissection(
        config(tmp_path / "run", concepts=[], relevance=relevance, ablation=same), listener=Hears()
    )
    assert [text for text in heard if text.startswith("warning: 6 of the 6 images")]


def test_passes_that_stand_on_others_are_done_again(tmp_path: Path) -> None:
    settings = config(tmp_path / "run", concepts=[])
    run_dissection(settings)
    first = read_dissection(tmp_path / "run").ablation
    passes = tmp_path / "run" / "passes"
    file = PassFile(LocalPlace(tmp_path / "run"), "relevance")
    saved = file.load()
    arrays = dict(saved.arrays)
    for name in LAYERS:  # other units are the most relevant ones
        arrays[f"sums/sum/{name}"] = arrays[f"sums/sum/{name}"][:, ::-1]
    file.save(arrays, position=saved.position, finished=True)
    assert (passes / "ablation.npz").is_file()
    run_dissection(settings)
    assert read_dissection(tmp_path / "run").ablation != first


def test_another_run_in_the_same_folder_is_refused(finished: Path) -> None:
    with pytest.raises(UserError, match="steps"):
        run_dissection(config(finished, relevance=CONTENT["relevance"] | {"steps": 4}))
