"""Figures, tables, page and files of a dissection, each against a second derivation."""

from __future__ import annotations

import dataclasses
import functools
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import spearmanr

from jaxinterp.errors import UserError
from jaxinterp.report import dissection_page
from jaxinterp.report.dissection_ablation import (
    ablated_accuracies,
    ablation_curves_figure,
    ablation_figure,
)
from jaxinterp.report.dissection_data import (
    Completeness,
    DissectionReport,
    ExamplePicture,
    UnitExample,
)
from jaxinterp.report.dissection_detectors import concept_figure, detector_figure
from jaxinterp.report.dissection_entanglement import entanglement, entanglement_figure
from jaxinterp.report.dissection_files import read_dissection, write_dissection
from jaxinterp.report.dissection_page import write_dissection_page
from jaxinterp.report.dissection_relevance import relevance_figure
from jaxinterp.report.dissection_scatter import effect_figure, relevance_scatter_figure
from jaxinterp.report.dissection_style import category_colours, png
from jaxinterp.report.dissection_tables import summary_tables, unit_rows
from jaxinterp.report.dissection_units import lit_picture, unit_figure

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)> $x^{$\\alpha 中'
SHARES = (0.01, 0.03)


def ablation_rows(classes: int, rng: np.random.Generator, draws: int = 4) -> list[dict[str, Any]]:
    original = rng.uniform(0.6, 1.0, classes)
    variants = [(w, s, t, None) for w in ("most", "least") for s in SHARES for t in range(classes)]
    variants += [("random", s, None, d) for s in SHARES for d in range(draws)]
    rows = []
    for which, share, target, draw in variants:
        for index in range(classes):
            correct = int(rng.integers(0, 100))
            drop = float(original[index] - correct / 100)
            rows.append(
                dict(which=which, share=share, target_class=target, draw=draw, images=100)
                | {"class": index, "correct": correct, "accuracy": correct / 100, "drop": drop}
                | {"low": drop - 0.1, "high": drop + 0.2}
            )
    return rows


def example(layer: str, rng: np.random.Generator, side: int = 12) -> UnitExample:
    pictures = tuple(
        ExamplePicture(
            f"image {i}",
            rng.integers(0, 256, (2 * side, 2 * side, 3)).astype(np.uint8),
            rng.random((side, side)).astype(np.float32),
            rng.random((side, side)) > 0.5,
        )
        for i in range(2)
    )
    return UnitExample(layer, 1, "concept 2", 0.1, 0.8, pictures)


def make(
    layers: dict[str, int] | None = None,
    concepts: int = 9,
    classes: int = 3,
    name: str = "",
    **changes: Any,
) -> DissectionReport:
    rng = np.random.default_rng(0)
    layers = layers or {"relu1": 6, "relu2": 11}
    kinds = ("object", "part", f"strange {name}")
    iou = {k: rng.beta(0.5, 20, (n, concepts)).astype(np.float32) for k, n in layers.items()}
    relevance = {k: rng.gamma(0.5, 1, (n, classes)).astype(np.float32) for k, n in layers.items()}
    effects = {k: rng.normal(0, 0.1, (n, classes)) for k, n in list(layers.items())[1:]}
    values: dict[str, Any] = dict(
        title=f"Title {name}",
        network=f"network {name}",
        concepts=tuple((f"concept {i} {name}".strip(), kinds[i % 3]) for i in range(concepts)),
        iou=iou,
        thresholds={k: rng.random(n).astype(np.float32) for k, n in layers.items()},
        images=40,
        relevance=relevance,
        class_names=tuple(f"class {i} {name}".strip() for i in range(classes)),
        class_concepts=tuple(i % max(concepts, 1) if i != 1 else -1 for i in range(classes)),
        class_images=(10,) * classes,
        agreement={
            "rows": [{"layer": k, "correlation": 0.5, "classes": 3} for k in layers],
            "summary": {"measures": {"overlap": {"mean": 0.25, "p_value": 0.125}}, "compared": 6},
            "note": f"note {name}",
        },
        ablation=tuple(ablation_rows(classes, rng)),
        effects=effects,
        completeness=tuple(Completeness(k, 40, 0.001, 0.01) for k in layers),
        examples=tuple(example(k, rng) for k in layers),
        facts=((f"fact {name}", f"value {name}"),),
        notes=(f"note {name}",),
    )
    return DissectionReport(**(values | changes))


def best_concepts(report: DissectionReport) -> dict[tuple[str, int], tuple[int, float]]:
    """The detectors, found one value at a time: (layer, unit) -> (concept, IoU)."""
    found = {}
    for layer, values in report.iou.items():
        for unit, row in enumerate(values):
            best, at = -1.0, -1
            for concept, value in enumerate(row):
                if value > best:  # the first of equal ones; NaN never is
                    best, at = float(value), concept
            if best > report.cutoff:
                found[layer, unit] = at, best
    return found


def test_the_bars_are_the_detectors_of_each_layer_and_category():
    report = make({"relu1": 40, "relu2": 60}, concepts=12)
    report.iou["relu1"][0, 3] = np.nan
    report.iou["relu1"][5] = np.nan
    found = best_concepts(report)
    assert 10 < len(found) < 90
    above, below = detector_figure(report).axes[:2]
    heights = [bar.get_height() for bar in above.patches]
    unique = [bar.get_height() for bar in below.patches]
    expected, expected_unique = [], []
    for category in report.categories:
        for layer in report.layers:
            concepts = [
                concept
                for (name, _), (concept, _) in found.items()
                if name == layer and report.concepts[concept][1] == category
            ]
            expected.append(len(concepts))
            expected_unique.append(len(set(concepts)))
    assert heights == expected
    assert unique == expected_unique
    tops = np.zeros(2)
    for bar, (layer, height) in zip(above.patches, enumerate_cyclic(heights, 2), strict=True):
        assert bar.get_y() == tops[layer]  # each stands on those before
        tops[layer] += height
    colours = category_colours(report.categories)
    assert len(set(colours.values())) == len(report.categories)


def enumerate_cyclic(values: list[float], count: int) -> list[tuple[int, float]]:
    return [(index % count, value) for index, value in enumerate(values)]


def test_the_concepts_with_the_most_detectors_come_first():
    report = make({"relu1": 80}, concepts=7)
    counts: dict[int, int] = {}
    for concept, _ in best_concepts(report).values():
        counts[concept] = counts.get(concept, 0) + 1
    axes = concept_figure(report, most=4).axes[0]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == sorted(counts.values(), reverse=True)[:4]
    for label, width in zip(axes.get_yticklabels(), widths, strict=True):
        assert counts[int(label.get_text().split()[1])] == width


@pytest.mark.parametrize("per_class", [False, True])
def test_the_heat_map_holds_the_sum_over_units(per_class: bool):
    report = make()
    assert report.relevance is not None
    report.relevance["relu2"][2, 1] = np.nan
    expected = np.zeros((3, 2))
    for column, layer in enumerate(report.layers):
        for row in range(3):
            values = report.relevance[layer][:, row]
            expected[row, column] = sum(float(v) for v in values if not np.isnan(v))
    if per_class:
        expected = np.array([row / max(row) for row in expected])
    axes = relevance_figure(report, per_class=per_class).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), expected, rtol=1e-6)
    assert len(axes.texts) == 6


def test_a_scatter_shows_every_unit_and_its_correlation():
    report = make({"relu1": 30, "relu2": 50})
    assert report.relevance is not None
    report.iou["relu1"][4, 0] = np.nan
    panels = [axes for axes in relevance_scatter_figure(report).axes if axes.get_title("left")]
    assert len(panels) == 2  # class 1 has no concept
    for axes, index in zip(panels, (0, 2), strict=True):
        points = np.concatenate([np.ma.filled(c.get_offsets(), np.nan) for c in axes.collections])
        iou = np.concatenate([v[:, report.class_concepts[index]] for v in report.iou.values()])
        relevance = np.concatenate([v[:, index] for v in report.relevance.values()])
        np.testing.assert_allclose(points[:, 0], iou, rtol=1e-6)
        high = (relevance > relevance.max() * 1e-4) & np.isfinite(iou)
        np.testing.assert_allclose(points[high, 1], relevance[high], rtol=1e-6)
        known = np.isfinite(iou)
        expected = spearmanr(iou[known], relevance[known]).statistic
        assert f"rank correlation {expected:+.2f}" in axes.get_title("left")
    panels = [axes for axes in effect_figure(report).axes if axes.get_title("left")]
    assert "n = 50 units" in effect_figure(report).get_supxlabel()  # relu1 has no effects
    assert len(panels) == 2


def test_the_bars_of_an_ablation_are_its_accuracies():
    report = make()
    rows = report.ablation or ()
    panels = ablation_figure(report, 2).axes[: len(SHARES)]
    for axes, share in zip(panels, SHARES, strict=True):
        bars = np.array([bar.get_height() for bar in axes.patches]).reshape(4, 3)
        expected = np.zeros((4, 3))
        for index in range(3):
            of_class = [row for row in rows if row["class"] == index]
            expected[0, index] = of_class[0]["accuracy"] + of_class[0]["drop"]
            for place, which in enumerate(("most", "random", "least"), 1):
                values = [
                    row["accuracy"]
                    for row in of_class
                    if (row["which"], row["share"]) == (which, share)
                    and row["target_class"] in (None, 2)
                ]
                assert len(values) == (4 if which == "random" else 1)
                expected[place, index] = sum(values) / len(values)
        np.testing.assert_allclose(bars, 100 * expected)
    assert panels[-1].get_xticklabels()[2].get_fontweight() == "bold"


def test_intervals_are_those_of_the_draws_or_of_the_drop():
    report = make()
    rows = [r for r in report.ablation or () if r["share"] == 0.03 and r["class"] == 1]
    random = ablated_accuracies(report, "random", 0.03, None)[1]
    values = [row["accuracy"] for row in rows if row["which"] == "random"]
    assert (random.low, random.high) == tuple(np.percentile(values, (2.5, 97.5)))
    assert random.draws == 4
    most = ablated_accuracies(report, "most", 0.03, 2)[1]
    row = next(row for row in rows if row["which"] == "most" and row["target_class"] == 2)
    original = row["accuracy"] + row["drop"]
    np.testing.assert_allclose(
        (most.low, most.high), (original - row["high"], original - row["low"])
    )
    nothing = ablated_accuracies(report, "most", 0.5, 2)[1]
    assert np.isnan(nothing.mean)
    assert nothing.draws == 0


@pytest.mark.parametrize("share", [None, 0.01])
def test_the_matrix_holds_every_drop(share: float | None):
    report = make()
    expected = np.full((2, 4, 3), np.nan)
    random: list[list[float]] = [[], [], []]
    for row in report.ablation or ():
        if row["share"] != (share or 0.03):
            continue
        if row["which"] == "random":
            random[row["class"]].append(100 * row["drop"])
        else:
            where = ("most", "least").index(row["which"])
            expected[where, row["target_class"], row["class"]] = 100 * row["drop"]
    expected[:, 3] = [np.mean(values) for values in random]
    panels = entanglement_figure(report, share).axes[:2]
    for axes, matrix in zip(panels, expected, strict=True):
        drawn = axes.images[0].get_array()
        np.testing.assert_allclose(drawn, matrix, atol=1e-9)
        assert [text.get_text() for text in axes.texts] == [f"{round(v)}" for v in matrix.ravel()]
    np.testing.assert_allclose(entanglement(report, "most", share or 0.03), expected[0, :3])
    with pytest.raises(ValueError, match=r"no ablation of the share 0\.2"):
        entanglement_figure(report, 0.2)


def test_a_picture_is_lit_where_the_unit_is_active():
    activation, mask = np.zeros((20, 20)), np.zeros((20, 20), bool)
    activation[2:12, 2:12] = 1.0
    mask[8:18, 8:18] = True
    grey = np.full((40, 40, 3), 200, np.uint8)
    lit = lit_picture(ExamplePicture("a", grey, activation, mask), 0.5)
    assert lit.shape == (160, 160, 3)
    np.testing.assert_allclose(lit[40, 40], 200 / 255)  # active
    assert (lit[150, 20] < 0.5).all()  # neither
    assert (lit[120, 120] < 0.5).all()  # the mask alone is outlined, not lit
    yellow, blue = lit[17, 50], lit[120, 65]
    assert yellow[0] > 0.9
    assert yellow[2] < 0.1
    assert blue[2] > 0.9
    assert blue[0] < 0.1
    none = lit_picture(ExamplePicture("a", grey, activation, ~mask & mask), 2.0)
    assert none.max() < 0.5
    report = make()
    page = Image.open(io.BytesIO(unit_figure(report, report.examples)))
    assert page.width > 480


LONG = {
    f"layer{a}.{b}.a_long_block_name.relu{c}": 8 for a in range(5) for b in (0, 1) for c in (1, 2)
}


@pytest.mark.parametrize(
    "draw",
    [
        detector_figure,
        concept_figure,
        relevance_figure,
        relevance_scatter_figure,
        entanglement_figure,
        ablation_curves_figure,
        lambda report: ablation_figure(report, 1),
    ],
)
@pytest.mark.parametrize("large", [False, True])
def test_texts_stay_inside_the_figure_and_apart(draw: Any, large: bool):
    name = "with a rather long name that goes on"
    report = make(LONG, 1200, 12, name=name) if large else make({"r": 3, "s": 2}, 2, 2)
    figure: Figure = draw(report)
    png(figure)  # places everything
    width, height = figure.bbox.width, figure.bbox.height
    boxes = []
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label]
        texts += [axes.yaxis.label]
        for text in texts:
            if text.get_text() and text.get_visible() and _on_axis(axes, text):
                box = text.get_window_extent()
                assert box.x0 > -2, text
                assert box.y0 > -2, text
                assert box.x1 < width + 2, text
                assert box.y1 < height + 2, text
        title = axes._left_title if hasattr(axes, "_left_title") else axes.title
        if title.get_text():
            boxes.append(title.get_window_extent())
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])


def _on_axis(axes: Any, text: Any) -> bool:
    """Whether a label is drawn: ticks beyond the ends of an axis are not."""
    if text in (axes.xaxis.label, axes.yaxis.label):
        return True
    x, y = text.get_transform().transform(text.get_position())
    box = axes.bbox.padded(1)
    return box.x0 <= x <= box.x1 if text in axes.get_xticklabels() else box.y0 <= y <= box.y1


class Rows(HTMLParser):
    """The rows of the table of units, as lists of cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self._inside = self._cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside |= ("id", "rows") in attrs
        if self._inside and tag == "tr":
            self.rows.append([])
        self._cell = self._inside and tag == "td"
        if self._cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "tbody"
        self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data


def test_the_page_lists_every_unit_once_and_fetches_nothing(tmp_path: Path):
    report = make()
    path = write_dissection_page(tmp_path / "new", report)
    text = path.read_text(encoding="utf-8")
    rows = Rows(text).rows
    assert [(r[0], int(r[1])) for r in rows] == [
        (layer, unit) for layer, units in report.units.items() for unit in range(units)
    ]
    detectors = best_concepts(report)
    assert len(re.findall('<tr class="detector">', text)) == len(detectors)
    assert report.relevance is not None
    for row in rows:
        layer, unit = row[0], int(row[1])
        if (layer, unit) in detectors:
            concept, iou = detectors[layer, unit]
            assert (row[2], row[3]) == report.concepts[concept]
            assert float(row[4]) == pytest.approx(iou, abs=1e-4)
        best = int(report.relevance[layer][unit].argmax())
        assert row[7] == report.class_names[best]
        assert bool(row[9]) == (
            layer == "relu2" and bool((report.effects["relu2"][unit] > 0).any())
        )  # type: ignore[index]
    drawn = sorted(p.name for p in (tmp_path / "new" / "figures").iterdir())
    fetched = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sorted(a.removeprefix("figures/") for a in fetched if a.startswith("figures/")) == drawn
    assert all(a.startswith(("data:", "#", "figures/")) for a in fetched)
    assert {"detectors.png", "units_1.png", "entanglement.png", "iou_effect.png"} <= set(drawn)
    assert "17 units" in text
    titles = [table.title for table in summary_tables(report)]
    assert titles[:2] == ["Layers", "Concepts with the most detectors"]
    assert all(title in text for title in titles)


def test_names_cannot_leave_their_place(tmp_path: Path):
    report = make({EVIL: 3, "s": 2}, classes=2, name=EVIL, config_toml=EVIL)
    text = write_dissection_page(tmp_path, report).read_text(encoding="utf-8")
    assert text.count("<script") == 1  # ours
    assert "onerror=alert(2)&gt;" in text
    assert "x onerror" in text
    assert Rows(text).tags.count("img") == len(list((tmp_path / "figures").iterdir()))


def test_a_large_network_shows_the_units_with_the_highest_iou():
    report = make({"a": 50, "b": 60})
    rows = unit_rows(report, most=20)
    assert len(rows) == 20
    values = sorted((np.nan_to_num(v).max() for r in report.iou.values() for v in r), reverse=True)
    assert min(row.iou for row in rows) == pytest.approx(values[19])
    assert [(r.layer, r.unit) for r in rows] == sorted((r.layer, r.unit) for r in rows)


@functools.cache
def drawn_once() -> bytes:
    return png(Figure(figsize=(1, 1)))


@pytest.mark.parametrize(
    "changes",
    [
        dict(cutoff=0.99),
        dict(relevance=None, effects=None, ablation=None, agreement=None, examples=()),
        dict(ablation=(), effects={}, relevance={}, completeness=(), class_images=()),
        dict(class_concepts=(-1, -1, -1)),
        dict(class_concepts=()),
    ],
)
def test_results_that_are_missing_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
):
    report = make(**changes)
    picture = drawn_once()
    monkeypatch.setattr(dissection_page, "png", lambda figure: picture)  # as this takes the time
    text = write_dissection_page(tmp_path, report).read_text(encoding="utf-8")
    assert len(Rows(text).rows) == 17
    write_dissection(tmp_path, report)
    assert_equal(read_dissection(tmp_path), report)


def test_degenerate_results_can_be_shown(tmp_path: Path):
    none = make(concepts=0, classes=1, class_concepts=(-1,))
    one = make({"only": 1}, concepts=1, classes=1)
    zeros = make(classes=2)
    for by_layer in (zeros.iou, zeros.relevance, zeros.effects):
        for values in (by_layer or {}).values():
            values[:] = 0
            values[1] = np.nan
    for index, report in enumerate((none, one, zeros)):
        text = write_dissection_page(tmp_path / str(index), report).read_text(encoding="utf-8")
        assert len(Rows(text).rows) == sum(report.units.values())
    nothing = DissectionReport("t", "n", (), {}, {})
    text = write_dissection_page(tmp_path, nothing).read_text(encoding="utf-8")
    assert "There are no units." in text
    assert "There is nothing to draw." in text


def assert_equal(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if dataclasses.is_dataclass(expected):
        for field in dataclasses.fields(expected):
            assert_equal(getattr(found, field.name), getattr(expected, field.name))
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_equal(found[key], value)
    elif isinstance(expected, tuple | list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


def test_files_give_back_the_report(tmp_path: Path):
    report = make({"file": 3, "layer1.0/relu": 5}, name="中 é $", config_toml="a = 1\n")
    report.iou["file"][1, 1] = np.nan
    (tmp_path / "config.toml").write_text("a = 1\n", encoding="utf-8")
    write_dissection(tmp_path, report)
    assert_equal(read_dissection(tmp_path), report)
    assert not list(tmp_path.glob(".*"))


def test_the_table_of_units_has_the_values_of_the_arrays(tmp_path: Path):
    import pyarrow.parquet as pq

    report = make()
    report.iou["relu1"][2] = np.nan
    write_dissection(tmp_path, report)
    rows = pq.read_table(tmp_path / "units.parquet").to_pylist()
    assert len(rows) == 17
    detectors = best_concepts(report)
    for row in rows:
        layer, unit = row["layer"], row["unit"]
        assert row["threshold"] == report.thresholds[layer][unit]
        assert row["detector"] == ((layer, unit) in detectors)
        for rank in range(1, 6):
            if np.isnan(report.iou[layer][unit]).all():
                assert row[f"concept_{rank}"] is row[f"iou_{rank}"] is None
                continue
            value = sorted(report.iou[layer][unit], reverse=True)[rank - 1]
            assert row[f"iou_{rank}"] == value
            index = [name for name, _ in report.concepts].index(row[f"concept_{rank}"])
            assert report.iou[layer][unit, index] == value
            assert row[f"category_{rank}"] == report.concepts[index][1]
        for index, name in enumerate(report.class_names):
            assert report.relevance is not None
            assert report.effects is not None
            assert row[f"relevance.{name}"] == report.relevance[layer][unit, index]
            effect = report.effects[layer][unit, index] if layer == "relu2" else None
            assert row[f"effect.{name}"] == effect


def test_a_folder_without_results_or_with_damaged_ones_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"no results of a dissection.*dissection\.json"):
        read_dissection(tmp_path)
    write_dissection(tmp_path, make())
    content = (tmp_path / "iou.npz").read_bytes()
    (tmp_path / "iou.npz").write_bytes(content[:100])
    with pytest.raises(UserError, match="are damaged"):
        read_dissection(tmp_path)
    (tmp_path / "dissection.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="are damaged"):
        read_dissection(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    for write in (write_dissection, write_dissection_page):
        with pytest.raises(UserError, match=r"cannot be written to .*file"):
            write(tmp_path / "file", DissectionReport("t", "n", (), {}, {}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(thresholds={}), "'relu1' has no thresholds"),
        (dict(iou={"relu1": np.zeros((6, 2))}), r"iou\['relu1'\] must have shape \(6, 9\)"),
        (dict(relevance={"pool": np.zeros((6, 3))}), "relevance has the layer 'pool'"),
        (dict(effects={"relu1": np.zeros((6, 2))}), r"effects\['relu1'\] must have shape"),
        (dict(class_concepts=(0,)), "class_concepts has 1 entries for 3 classes"),
        (dict(class_concepts=(0, 1, 9)), "class_concepts must be -1 or below 9"),
        (dict(ablation=({"target_class": 5, "class": 0},)), "target_class 5 is not one of 3"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        make(**changes)
