"""Dissections of folders: images that cannot be read, masks for relevance, groups of logits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxinterp.config import build
from jaxinterp.data.an8flower import render_many
from jaxinterp.data.an8flower.folders import write_folders
from jaxinterp.dissect.config import DissectionConfig
from jaxinterp.dissect.run import run_dissection
from jaxinterp.errors import UserError
from jaxinterp.report.dissection_files import read_dissection


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve flowers with masks of petals and core, as a segmentation folder."""
    folder = tmp_path_factory.mktemp("segmented")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    flowers = render_many("single-6c", 12, 32)
    for i, (image, parts) in enumerate(zip(flowers.images, flowers.parts, strict=True)):
        Image.fromarray(image).save(folder / "images" / f"{i:02}.png")
        Image.fromarray(np.where(parts < 3, parts, 0)).save(folder / "masks" / f"{i:02}.png")
    (folder / "labels.csv").write_text("index,name\n0,void\n1,petals\n2,core\n")
    return folder


def config(output: Path, source: Path, **changes: object) -> DissectionConfig:
    content = {
        "output": str(output),
        "method": "dissection",
        "size": 32,
        "batch_size": 4,
        "layers": ["relu3"],
        "examples": 1,
        "model": {"name": "flower_single", "weights": "random"},
        "concepts": [{"source": str(source)}],
    }
    return build(DissectionConfig, content | changes)


def test_a_broken_image_is_left_out_and_named(segmented: Path, tmp_path: Path) -> None:
    whole = run_dissection(config(tmp_path / "whole", segmented))
    assert whole.unreadable == ()
    copy = tmp_path / "copy"
    for path in sorted(segmented.rglob("*")):
        if path.is_file():
            target = copy / path.relative_to(segmented)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (copy / "images" / "11.png").write_bytes(b"no image")
    result = run_dissection(config(tmp_path / "run", copy))
    assert len(result.unreadable) == 1
    assert "images/11.png" in " ".join(result.unreadable[0])
    found = read_dissection(tmp_path / "run")
    assert found.images == 11
    # As if the image had never been there.
    for folder in ("images", "masks"):
        (copy / folder / "11.png").unlink()
    run_dissection(config(tmp_path / "without", copy))
    other = read_dissection(tmp_path / "without")
    np.testing.assert_array_equal(found.thresholds["relu3"], other.thresholds["relu3"])
    np.testing.assert_array_equal(found.iou["relu3"], other.iou["relu3"])


def test_relevance_on_concept_images_sums_over_their_masks(segmented: Path, tmp_path: Path) -> None:
    classes = [
        {"name": "warm", "logits": [0, 1, 2], "concept": "petals"},
        {"name": "cold", "logits": [4, 5], "concept": "core"},
    ]
    relevance = {"images": {"source": "concepts", "per_class": 6}, "steps": 2}
    settings = config(tmp_path / "run", segmented, classes=classes, relevance=relevance)
    run_dissection(settings)
    report = read_dissection(tmp_path / "run")
    assert report.class_names == ("warm", "cold")
    assert report.class_images == (6, 6)
    assert [report.concepts[i][0] for i in report.class_concepts] == ["petals", "core"]
    everywhere = config(
        tmp_path / "all", segmented, classes=classes, relevance=relevance | {"masks": "none"}
    )
    run_dissection(everywhere)
    over_all = read_dissection(tmp_path / "all")
    assert (report.relevance["relu3"] <= over_all.relevance["relu3"] + 1e-9).all()
    assert (report.relevance["relu3"].sum(0) < over_all.relevance["relu3"].sum(0)).all()


def test_class_folders_have_no_masks(tmp_path: Path) -> None:
    write_folders(tmp_path / "flowers", "single-6c", 24, size=32, test_share=0.5)
    relevance = {"images": {"source": str(tmp_path / "flowers" / "train")}, "steps": 2}
    with pytest.raises(UserError, match='masks must be "none"'):
        run_dissection(config(tmp_path / "run", tmp_path, concepts=[], relevance=relevance))
    ablation = {
        "images": {"source": str(tmp_path / "flowers" / "test")},
        "draws": 2,
        "shares": [0.02],
        "layers": ["relu3"],
        "value": "mean",
    }
    settings = config(
        tmp_path / "run",
        tmp_path,
        concepts=[],
        relevance=relevance | {"masks": "none"},
        ablation=ablation,
    )
    run_dissection(settings)
    report = read_dissection(tmp_path / "run")
    assert report.class_images == (2,) * 6
    assert {row["which"] for row in report.ablation} == {
        "none",
        "most",
        "least",
        "random",
        "random_mean",
    }
    assert all(row["images"] == 2 for row in report.ablation)
