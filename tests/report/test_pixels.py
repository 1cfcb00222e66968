"""Arrays as pictures and numbers as texts."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from jaxinterp.report import JobView, MapView
from jaxinterp.report.pixels import (
    clipped_share,
    colour_map,
    display_notes,
    image_uri,
    map_top,
    map_uri,
    number,
    to_bytes,
)

MakeJob = Callable[..., JobView]


def decoded(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.partition("base64,")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_display_clips_and_marks_what_is_no_number():
    values = np.array([-3.0, 0.0, 0.5, 1.0, 7.0, np.nan, np.inf])
    assert to_bytes(values).tolist() == [0, 0, 128, 255, 255, 128, 128]
    assert clipped_share(values) == pytest.approx(2 / 7)
    assert clipped_share(np.array([-0.01, 1.01])) == 0


def test_the_notes_tell_what_the_display_changes(job: MakeJob):
    pixels = np.zeros((10, 10, 3))
    pixels[0, :, 0], pixels[1, :, 0] = 3.0, np.nan
    assert display_notes(job()) == []
    assert display_notes(job(optimised=pixels)) == [
        "3.3% of the optimised input's values are not finite: drawn grey.",
        "3.3% of the optimised input's values are outside [0, 1]: clipped.",
    ]


def test_the_scale_of_a_map_is_that_of_before():
    ramp = np.array([[0.0, 1.0], [2.0, 4.0]])
    assert map_top(MapView("k", ramp, ramp * 9, True)) == 4
    assert map_top(MapView("k", ramp * 0, ramp * 9, True)) == 36
    assert map_top(MapView("k", ramp * 0, ramp * 0, True)) == 1
    assert map_top(MapView("k", ramp * np.nan, ramp, True)) == 4


def test_colours_are_viridis_from_zero_to_the_top():
    colours = colour_map(np.array([[-1.0, 0.0, 2.0, 5.0, np.nan]]), 2.0)
    assert colour_map(np.array([[1e30]], np.float32), 1e-30).tolist() == [[[253, 231, 36]]]
    dark, bright, grey = [68, 1, 84], [253, 231, 36], [128, 128, 128]
    assert colours.tolist() == [[dark, dark, bright, bright, grey]]


@pytest.mark.parametrize("side", [4, 12, 13, 32])
def test_small_maps_keep_every_value_in_the_page(side: int):
    values = np.random.default_rng(0).random((side, side - 1))
    values[0, 0] = np.nan
    found = decoded(map_uri(values, 1.0)).astype(int)
    assert found.shape == (side, side - 1, 3)
    assert found[0, 0].tolist() == [128, 128, 128]
    steps = np.abs(found - colour_map(values, 1.0))
    assert steps.max() <= (0 if values.size <= 144 else 9)  # larger ones have fewer colours
    assert steps.mean() < 2


def test_large_pictures_are_made_small_for_the_page():
    values = np.zeros((150, 100))
    values[:75] = 1.0
    small = decoded(map_uri(values, 1.0))
    assert small.shape == (50, 34, 3)
    assert np.abs(small[[0, -1], 0].astype(int) - [[253, 231, 36], [68, 1, 84]]).max() <= 1
    photograph = np.full((300, 200, 3), 0.5)
    assert image_uri(photograph).startswith("data:image/jpeg")
    assert decoded(image_uri(photograph)).shape == (128, 85, 3)
    exact = np.random.default_rng(0).random((64, 48, 3))
    np.testing.assert_array_equal(decoded(image_uri(exact)), to_bytes(exact))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.91234, "0.912"),
        (12.345, "12.3"),
        (1234.5, "1234"),
        (-0.05, "-0.0500"),
        (2e-7, "2e-07"),
        (0.0, "0"),
        (2000, "2000"),
        (123456, "123456"),
        (None, "\N{EN DASH}"),
        (float("nan"), "\N{EN DASH}"),
        (float("-inf"), "-\N{INFINITY}"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str):
    assert number(value) == text
