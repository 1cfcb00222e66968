"""Figures and the page of a comparison."""

import io
import re

import matplotlib
import numpy as np
import pytest
from PIL import Image

from jaxinterp.errors import UserError
from jaxinterp.report.comparison_grid import (
    DifferenceCell,
    GridGroup,
    GridRow,
    MapCell,
    PictureCell,
    grid_figure,
    stretched,
)
from jaxinterp.report.comparison_joint import JointSeries, joint_figure
from jaxinterp.report.comparison_page import Drawing, write_comparison_page
from jaxinterp.report.views import ReportHead, Table, TableRow


def pixels_of(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def has_block(page, colour, side=20):
    """Whether a square of one colour is on the page."""
    same = (page == np.array(colour, np.uint8)).all(-1)
    windows = np.lib.stride_tricks.sliding_window_view(same, (side, side))
    return bool(windows[::4, ::4].all((-2, -1)).any())


def test_a_grid_shows_every_cell_in_its_colours():
    red = np.zeros((8, 8, 3))
    red[..., 0] = 2.0  # above the display's range
    values = np.full((4, 4), 3.0)
    row = GridRow("first", (PictureCell(red, "red"), MapCell(values, 3.0), None))
    difference = DifferenceCell(-values, 3.0)
    below = GridRow("second", (difference, DifferenceCell(0 * values, 3.0), MapCell(values, 0.0)))
    png = grid_figure("title", ["a", "b", "c"], [GridGroup("group", (row, below))], "note")
    page = pixels_of(png)
    assert has_block(page, (255, 0, 0))
    assert has_block(page, (253, 231, 36))  # the top of viridis
    assert has_block(page, (5, 48, 97))  # the lower end of the diverging scale
    middle = matplotlib.colormaps["RdBu_r"](0.5, bytes=True)[:3]
    assert has_block(page, middle)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (33, 33), (224, 224), (300, 200)])
def test_any_size_and_text_can_be_drawn(height, width):
    picture = PictureCell(
        np.full((height, width, 1), np.nan), "a caption that is far too long " * 3
    )
    row = GridRow("a_name_without_any_place_to_break_it " * 3, (picture, picture))
    groups = [GridGroup("$x^2$ \N{CJK UNIFIED IDEOGRAPH-4E2D} " * 20, (row,))]
    page = pixels_of(grid_figure("long " * 100, ["", "word " * 50], groups, "note " * 100))
    assert has_block(page, (128, 128, 128))


def test_a_grid_without_pictures_or_with_uneven_rows_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        grid_figure("t", ["a"], [GridGroup("", (GridRow("r", (None,)),))])
    with pytest.raises(ValueError, match="has 1 cells, not 2"):
        grid_figure("t", ["a", "b"], [GridGroup("", (GridRow("r", (None,)),))])


def test_maps_alone_can_be_drawn():
    row = GridRow("r", (MapCell(np.eye(6), 1.0),))
    assert has_block(pixels_of(grid_figure("t", ["a"], [GridGroup("", (row,))])), (68, 1, 84), 10)


def test_stretching_keeps_the_order_and_fills_the_range():
    pixels = np.random.default_rng(0).normal(0.5, 0.02, (20, 20, 3))
    result = stretched(pixels)
    np.testing.assert_array_equal(np.argsort(result.ravel()), np.argsort(pixels.ravel()))
    inside = (result >= 0) & (result <= 1)
    assert 0.97 < inside.mean() < 0.99
    np.testing.assert_array_equal(stretched(np.full((3, 3, 3), 0.4)), np.full((3, 3, 3), 0.4))


def test_the_joint_distribution_takes_any_errors():
    rng = np.random.default_rng(0)
    series = [
        JointSeries("many", rng.random(50), rng.random(50) * 1e-9),
        JointSeries("one of $x_$", np.array([0.0]), np.array([1e9])),
        JointSeries("zeros", np.zeros(3), np.zeros(3)),
    ]
    page = pixels_of(joint_figure("title", series, blank_selected=1.0, original_rest=0.0))
    assert page.shape == (760, 820, 3)
    nothing = [JointSeries("zeros", np.zeros(3), np.zeros(3))]
    joint_figure("title", nothing, blank_selected=0.0, original_rest=0.0)


@pytest.mark.parametrize(
    "series",
    [[], [JointSeries("a", np.zeros(0), np.zeros(0))], [JointSeries("a", np.ones(2), np.ones(1))]],
)
def test_a_joint_distribution_needs_jobs(series):
    with pytest.raises(ValueError, match="needs jobs"):
        joint_figure("t", series, blank_selected=1.0, original_rest=1.0)


def drawing(name="joint.png"):
    row = GridRow("r", (MapCell(np.eye(6), 1.0),))
    return Drawing(name, "What <b>it</b> shows", grid_figure("t", ["a"], [GridGroup("", (row,))]))


def test_the_page_holds_tables_and_figures_and_fetches_nothing(tmp_path):
    head = ReportHead("A <script> title", "sub", (("Network", "n & m"),), "a = 1")
    rows = (TableRow(("original", "1"), True), TableRow(("<i>ours", "0.9")))
    table = Table("relu<1>", ("input", "SSIM"), rows, "note")
    path = write_comparison_page(tmp_path / "new", head, [table], ["how"], [drawing()])
    text = path.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "A &lt;script&gt; title" in text
    assert "&lt;i&gt;ours" in text
    assert 'class="reference"' in text
    assert (tmp_path / "new" / "figures" / "joint.png").read_bytes() == drawing().png
    fetched = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sum(address == "figures/joint.png" for address in fetched) == 1
    others = [address for address in fetched if address != "figures/joint.png"]
    assert all(address.startswith(("data:", "#")) for address in others)
    width, height = Image.open(io.BytesIO(drawing().png)).size
    assert f'width="{width}" height="{height}"' in text
    assert sorted(p.name for p in (tmp_path / "new").rglob("*")) == [
        "figures",
        "index.html",
        "joint.png",
    ]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written to .*file"):
        write_comparison_page(tmp_path / "file", ReportHead("t"), [], [], [])
