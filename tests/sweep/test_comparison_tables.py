"""Tables from records alone: what counts, what the paper has beside."""

import csv
import io

import numpy as np
import pytest

from jaxinterp.data.images import ImagesConfig
from jaxinterp.methods.suppression import SuppressionSettings
from jaxinterp.sweep.comparison.config import ComparisonConfig, VariantConfig
from jaxinterp.sweep.comparison.paper import published
from jaxinterp.sweep.comparison.tables import (
    compared_layers,
    overview,
    to_csv,
    to_markdown,
)
from jaxinterp.sweep.config import LayerConfig


def config(variants, paper=None, layers=("low", "high")):
    return ComparisonConfig(
        output="unused",
        layers=tuple(map(LayerConfig, layers)),
        images=ImagesConfig(all_colours=True),
        variants=variants,
        paper=paper,
    )


LRP, OURS = VariantConfig("lrp", "L | RP"), VariantConfig("suppression")


def record(layer, kernel, variant, score, **changes):
    values = {
        "layer": layer,
        "kernel": kernel,
        "image": "one",
        "variant": variant.title,
        "tabled": True,
        "status": "done",
        "similarity_is": "ssim" if layer == "low" else "correlation",
        "similarity": score,
        "mse_rest": kernel + 1.0,
        "mse_selected": 0.5,
        "similarity_blank": 0.1,
        "mse_rest_blank": 0.2,
        "mse_selected_blank": 2.0,
        "mse_rest_original": 4.0 + kernel,
    }
    return values | changes


@pytest.fixture
def records():
    silent = dict.fromkeys(("similarity", "mse_rest", "mse_rest_original"))
    return [
        record("low", 0, LRP, 0.4),
        record("low", 2, LRP, 0.6),
        record("low", 5, LRP, None, status="silent", **silent),
        record("low", 0, OURS, 0.9),
        record("low", 2, OURS, 0.7),
        record("low", 5, OURS, None, status="silent", **silent),
        record("low", 9, OURS, 0.0, tabled=False),
        record("high", 1, LRP, 0.3),
        record("high", 1, OURS, None, status="failed"),
    ]


def test_rows_and_counts(records):
    low, high, together = compared_layers(config((LRP, OURS)), records, ["low", "high"])
    assert [row.title for row in low.rows] == ["original", "blank image", "L | RP", "Suppression"]
    assert [row.reference for row in low.rows] == [True, True, False, False]
    assert [row.jobs for row in low.rows] == [2, 2, 2, 2]
    assert low.rows[2].similarity == pytest.approx((0.5, 0.1))
    assert low.rows[3].mse_rest == pytest.approx((2, 1))
    assert low.rows[3].share == pytest.approx(2 / 5)
    assert (low.pairs, low.silent, low.failed) == (3, 1, 0)
    assert (high.pairs, high.silent, high.failed) == (1, 0, 1)
    assert high.rows[3].similarity is None
    assert "failed" in high.note
    assert "the correlation here" in high.note
    assert together.layer == "all layers"
    assert together.rows[2].jobs == 3
    assert together.rows[0].mse_rest == pytest.approx((np.mean([4, 6, 5]), np.std([4, 6, 5])))


def test_one_layer_has_no_table_of_all(records):
    low = [record for record in records if record["layer"] == "low"]
    (table,) = compared_layers(config((LRP, OURS), layers=("low",)), low, ["low"])
    assert table.layer == "low"


def test_texts(records):
    own = config((LRP, OURS), paper="table1")
    tables = compared_layers(own, records, ["low", "high"])
    columns, rows = overview(tables)
    assert len(columns) == 1 + 2 * 3
    assert rows[3][0] == ("Suppression", "0.800", "2.000", "-", "-", "0.800", "2.000")
    text = to_markdown(own, tables)
    for line in text.splitlines():
        if line.startswith("|"):
            cells = line.replace("\\|", "").strip("|").split("|")
            assert len(cells) in (7, 5)
    assert "**0.800 ± 0.100**" in text
    assert "L \\| RP" in text
    lines = list(csv.DictReader(io.StringIO(to_csv(tables))))
    assert [line["layer"] for line in lines] == [
        layer for layer in ("low", "high", "all layers") for _ in range(4)
    ]
    assert lines[2]["input"] == "L | RP"
    assert float(lines[2]["paper_similarity"]) == 0.43


def suppression(title, **settings):
    return VariantConfig("suppression", title, SuppressionSettings(**settings))


@pytest.mark.parametrize(
    ("variant", "paper", "layer", "expected"),
    [
        (LRP, "table1", 0, (0.43, 0.16)),
        (OURS, "table1", 3, (0.77, 0.07)),
        (VariantConfig("deconvnet"), "table1", 4, (0.11, 0.39)),
        (VariantConfig("guided_backprop"), "table1", 2, (0.22, 2.88)),
        (OURS, "table1", 5, None),
        (OURS, "table1", None, None),
        (OURS, None, 0, None),
        (OURS, "table2", None, (0.84, 0.25)),
        (OURS, "table2", 0, None),
        (suppression("a", beta=0), "table2", None, (0.82, 0.34)),
        (suppression("b", alpha=0), "table2", None, (0.89, 2.66)),
        (suppression("c", alpha=0, beta=0), "table2", None, None),
        (LRP, "table2", None, None),
    ],
)
def test_what_the_paper_has(variant, paper, layer, expected):
    found = published(config((variant,), paper), variant, layer)
    assert (found and (found.similarity, found.mse_rest)) == expected


def test_the_second_table_stands_beside_a_lone_layer():
    assert published(config((OURS,), "table2", ("low",)), OURS, 0) is not None
