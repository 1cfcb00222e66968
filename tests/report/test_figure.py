"""The figure of a job: every value is in it, and any name fits."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from jaxinterp.report import JobView, MapView, kernel_figure
from jaxinterp.report.pixels import colour_map, to_bytes

MakeJob = Callable[..., JobView]


def opened(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image)


def test_the_figure_shows_every_pixel_of_images_and_maps(job: MakeJob):
    view = job()
    pixels = opened(kernel_figure(view))
    factor = 8  # 32 px inputs are shown with a side of 256
    for values in (view.original, view.optimised):
        wanted = to_bytes(values).repeat(factor, 0).repeat(factor, 1)
        assert contains(pixels, wanted)
    for item in view.maps:
        for values in (item.before, item.after):
            wanted = colour_map(values, item.before.max()).repeat(16, 0).repeat(16, 1)
            assert contains(pixels, wanted)


def contains(page_pixels: np.ndarray, part: np.ndarray) -> bool:
    height, width = part.shape[:2]
    starts = np.argwhere((page_pixels[..., :3] == part[0, 0]).all(-1))
    return any(
        np.array_equal(page_pixels[y : y + height, x : x + width], part)
        for y, x in starts
        if y + height <= len(page_pixels) and x + width <= page_pixels.shape[1]
    )


@pytest.mark.parametrize("shape", [(7, 7), (32, 32), (130, 130), (224, 224), (300, 300), (20, 50)])
def test_the_figure_takes_any_size(job: MakeJob, shape: tuple[int, int]):
    maps = (MapView("kernel 1", np.ones((5, 9)), np.ones((5, 9)), True),)
    blank = np.full((*shape, 3), 0.25)
    pixels = opened(kernel_figure(job(original=blank, optimised=blank, maps=maps)))
    assert 500 <= pixels.shape[1] <= 700
    assert np.count_nonzero((pixels == 64).all(-1)) > 2 * 60 * 190  # both inputs are there


def test_the_figure_marks_the_selected_row_only(job: MakeJob):
    accent = np.array([0xB3, 0x41, 0x0E])
    view = job()
    neutral = dataclasses.replace(
        view, maps=tuple(dataclasses.replace(m, selected=False) for m in view.maps)
    )
    counts = [
        np.count_nonzero((opened(kernel_figure(v)) == accent).all(-1)) for v in (view, neutral)
    ]
    assert counts[0] > 3 * 256
    assert counts[1] == 0


def test_the_figure_says_that_values_are_clipped(job: MakeJob):
    plain, clipped = job(), job(optimised=job().optimised * 4 - 1)
    heights = [len(opened(kernel_figure(view))) for view in (plain, clipped)]
    assert heights[1] > heights[0]  # a line more


@pytest.mark.parametrize("status", ["silent", "failed"])
def test_the_figure_of_an_unfinished_job(job: MakeJob, status: str):
    view = job(status=status, optimised=np.full((32, 32, 3), np.nan), metrics={}, maps=())
    shape = opened(kernel_figure(view)).shape
    assert shape[0] < len(opened(kernel_figure(job())))


@pytest.mark.parametrize(
    "name", ["a\nb\x00\udce9", "$\\frac{$", "\N{CJK UNIFIED IDEOGRAPH-732B}", "a" * 999]
)
def test_the_figure_takes_any_name(job: MakeJob, name: str):
    maps = (MapView(name, np.ones((8, 8)), np.ones((8, 8)), True),)
    assert opened(kernel_figure(job(image=name, layer=name, maps=maps))).shape[1] < 700


def test_the_same_job_gives_the_same_bytes(job: MakeJob):
    assert kernel_figure(job()) == kernel_figure(job())
