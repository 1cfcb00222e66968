"""Which figures a comparison has, and what is in them: the paper's Fig. 3 to 8."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxinterp.data.images import NamedImage
from jaxinterp.methods.layer_maps import layer_maps
from jaxinterp.models.network import Network
from jaxinterp.report.comparison_grid import (
    Cell,
    DifferenceCell,
    GridGroup,
    GridRow,
    MapCell,
    PictureCell,
    grid_figure,
    stretched,
)
from jaxinterp.report.comparison_joint import JointSeries, joint_figure
from jaxinterp.report.comparison_page import Drawing
from jaxinterp.sweep.comparison.config import ComparisonConfig, FigureKind
from jaxinterp.sweep.comparison.pairs import KernelPair
from jaxinterp.sweep.comparison.plan import ComparisonJob, pair_images
from jaxinterp.sweep.store import Results as Store

__all__ = ["Results", "drawings"]

MOST_IMAGES = 4
"""A figure of one kernel shows so many images, and the all-colours image."""

CLIPPED = "Inputs are clipped to [0, 1] for display; maps share the original map's scale from 0."


class Results:
    """What a comparison stored, by place: layer, kernel, image and variant.

    `shown` are the variants of Fig. 4 to 7: the first one of each method.
    """

    def __init__(
        self,
        config: ComparisonConfig,
        network: Network,
        images: Sequence[NamedImage],
        jobs: Sequence[ComparisonJob],
        records: Mapping[int, Mapping[str, Any]],
        stored: Store,
    ) -> None:
        self.config, self.images, self.records = config, images, records
        self.jobs = {(job.layer, job.kernel, job.image, job.variant): job for job in jobs}
        methods = [variant.method for variant in config.variants]
        self.shown = [methods.index(method) for method in dict.fromkeys(methods)]
        self._network, self._stored = network, stored
        self._maps: dict[str, Callable[..., Any]] = {}

    def record(self, layer: str, kernel: int, image: int, variant: int) -> Mapping[str, Any]:
        """A job's record."""
        return self.records[self.jobs[layer, kernel, image, variant].index]

    def is_done(self, layer: str, kernel: int, image: int) -> bool:
        """Whether every variant has a result for a kernel and an image."""
        places = [(layer, kernel, image, number) for number in range(len(self.config.variants))]
        return all(p in self.jobs and self.record(*p)["status"] == "done" for p in places)

    def input(self, layer: str, kernel: int, image: int, variant: int | None) -> np.ndarray:
        """The original (None) or a variant's input, float [h, w, c]."""
        if variant is None:
            return self.images[image].pixels
        return self._stored.read("images", self.jobs[layer, kernel, image, variant].index)

    def map(self, layer: str, kernel: int, image: int, variant: int | None) -> np.ndarray:
        """The kernel's map of that input, [h, w]; it is computed again."""
        if layer not in self._maps:
            self._maps[layer] = jax.jit(layer_maps(self._network, layer))
        pixels = self.input(layer, kernel, image, variant)[None]
        values = self._maps[layer](self._network.params, self._network.preprocess(pixels))
        return np.asarray(values[0, ..., kernel])

    def cells(
        self, layer: str, kernel: int, image: int, variant: int | None
    ) -> tuple[PictureCell, MapCell]:
        """The input and its map, ready for a grid."""
        values = self.map(layer, kernel, image, variant)
        top, caption = float(values.max()), f"peak {values.max():.2g}"
        if variant is not None:
            top = float(self.map(layer, kernel, image, None).max())
            record = self.record(layer, kernel, image, variant)
            name = "SSIM" if record["similarity_is"] == "ssim" else "correlation"
            caption = f"{name} {record['similarity']:.2f}"
        return PictureCell(self.input(layer, kernel, image, variant)), MapCell(values, top, caption)


def drawings(
    results: Results, kernels: Mapping[str, Sequence[int]], pairs: Sequence[KernelPair]
) -> Iterator[Drawing]:
    """The figures that the config asks for and that there is something to draw for.

    Args:
      results: what was stored.
      kernels: by layer, those of the tables.
      pairs: those found.
    """
    shown = {layer: place for layer in kernels if (place := _place(results, layer, kernels[layer]))}
    figures: dict[FigureKind, Callable[[], Iterator[Drawing]]] = {
        "joint": lambda: _joint(results, list(kernels)),
        "images": lambda: _images(results, shown),
        "layers": lambda: _layers(results, shown),
        "pairs": lambda: (drawing for pair in pairs for drawing in _pair(results, pair)),
        "solutions": lambda: _solutions(results, shown),
    }
    for kind in dict.fromkeys(results.config.figures):
        yield from figures[kind]()


def _place(
    results: Results, layer: str, kernels: Sequence[int]
) -> tuple[int, tuple[int, ...]] | None:
    """The kernel of a layer that most images have a result of, and these images."""
    best: tuple[int, tuple[int, ...]] | None = None
    for kernel in kernels:
        done = [n for n in range(len(results.images)) if results.is_done(layer, kernel, n)]
        if done and (best is None or len(done) > len(best[1])):
            best = kernel, tuple(done)
    return best


def _joint(results: Results, layers: Sequence[str]) -> Iterator[Drawing]:
    for layer in layers:
        own = [
            r
            for r in results.records.values()
            if r["layer"] == layer and r["status"] == "done" and r["tabled"]
        ]
        series = []
        for variant in results.config.variants:
            jobs = [r for r in own if r["variant"] == variant.title]
            if jobs:
                selected = np.array([r["mse_selected"] for r in jobs])
                series.append(
                    JointSeries(variant.title, selected, np.array([r["mse_rest"] for r in jobs]))
                )
        if series:
            png = joint_figure(
                f"{layer}: both errors of every job",
                series,
                blank_selected=float(np.mean([r["mse_selected_blank"] for r in own])),
                original_rest=float(np.mean([r["mse_rest_original"] for r in own])),
            )
            caption = (
                f"Errors of the selected kernel's map and of all others in {layer}: a point a job, "
                "the densities at the margins (form of the paper's Fig. 3)."
            )
            yield Drawing(f"joint_{_safe(layer)}.png", caption, png)


def _images(
    results: Results, shown: Mapping[str, tuple[int, tuple[int, ...]]]
) -> Iterator[Drawing]:
    titles = _columns(results)
    columns = [column for title in titles for column in (title, "its map")]
    for layer, (kernel, done) in shown.items():
        colours = [n for n in done if results.images[n].name.startswith("all-colours")]
        rows = []
        for image in [n for n in done if n not in colours][:MOST_IMAGES] + colours:
            cells: list[Cell] = []
            for variant in (None, *results.shown):
                cells.extend(results.cells(layer, kernel, image, variant))
            rows.append(GridRow(results.images[image].name, tuple(cells)))
        caption = (
            f"Kernel {kernel} of {layer} on several images by every variant (form of the paper's "
            "Fig. 4): what is common to the inputs is what the kernel responds to."
        )
        title = f"{layer}, kernel {kernel}"
        png = grid_figure(title, columns, [GridGroup("", tuple(rows))], CLIPPED)
        yield Drawing(f"images_{_safe(layer)}_k{kernel}.png", caption, png)


def _two_rows(results: Results, layer: str, kernel: int, image: int, title: str) -> GridGroup:
    """Inputs above, maps below; the original first, then every variant."""
    pairs = [results.cells(layer, kernel, image, n) for n in (None, *results.shown)]
    return GridGroup(
        title,
        (
            GridRow("input", tuple(picture for picture, _ in pairs)),
            GridRow("map", tuple(values for _, values in pairs)),
        ),
    )


def _columns(results: Results) -> list[str]:
    return ["original", *(results.config.variants[number].title for number in results.shown)]


def _layers(
    results: Results, shown: Mapping[str, tuple[int, tuple[int, ...]]]
) -> Iterator[Drawing]:
    if not shown:
        return
    groups = [
        _two_rows(
            results,
            layer,
            kernel,
            done[0],
            f"{layer}, kernel {kernel}, {results.images[done[0]].name}",
        )
        for layer, (kernel, done) in shown.items()
    ]
    png = grid_figure("One kernel of every layer", _columns(results), groups, CLIPPED)
    caption = "A kernel of every layer by every variant (form of the paper's Fig. 5)."
    yield Drawing("layers.png", caption, png)


def _pair(results: Results, pair: KernelPair) -> Iterator[Drawing]:
    layer, both, image = pair.layer, (pair.first, pair.second), pair.image
    name = f"{_safe(layer)}_k{pair.first}_k{pair.second}"
    if all(results.is_done(layer, kernel, image) for kernel in both):
        groups = [_two_rows(results, layer, k, image, f"kernel {k}") for k in both]
        png = grid_figure(
            f"{layer}, kernels {pair.first} and {pair.second} on {results.images[image].name}",
            _columns(results),
            groups,
            f"Similarity of the two original maps: {pair.similarity:.2f}. {CLIPPED}",
        )
        caption = (
            f"Two kernels of {layer} with nearly equal maps (similarity {pair.similarity:.2f}) on "
            f"{results.images[image].name}, by every variant (form of the paper's Fig. 6)."
        )
        yield Drawing(f"pair_{name}.png", caption, png)
    methods = [variant.method for variant in results.config.variants]
    number = methods.index("suppression") if "suppression" in methods else 0
    images = pair_images(pair, len(results.images), results.config.pair_images)
    images = [n for n in images if any(results.is_done(layer, kernel, n) for kernel in both)]
    if not images:
        return
    originals: tuple[Cell, ...] = tuple(
        PictureCell(results.input(layer, pair.first, n, None)) for n in images
    )
    groups = [GridGroup("", (GridRow("original", originals),))]
    for kernel in both:
        before, after, maps = [], [], []
        for n in images:
            if not results.is_done(layer, kernel, n):
                before.append(None)
                after.append(None)
                maps.append(None)
                continue
            before.append(results.cells(layer, kernel, n, None)[1])
            picture, values = results.cells(layer, kernel, n, number)
            after.append(picture)
            maps.append(values)
        title = results.config.variants[number].title
        rows = (
            GridRow("map of the original", tuple(before)),
            GridRow(title, tuple(after)),
            GridRow("its map", tuple(maps)),
        )
        groups.append(GridGroup(f"kernel {kernel}", rows))
    columns = [results.images[n].name for n in images]
    note = f"An empty place: the kernel is silent on that image. {CLIPPED}"
    png = grid_figure(
        f"{layer}, kernels {pair.first} and {pair.second} on several images", columns, groups, note
    )
    caption = f"The same two kernels of {layer} on more images (form of the paper's Fig. 7)."
    yield Drawing(f"pair_images_{name}.png", caption, png)


def _solutions(
    results: Results, shown: Mapping[str, tuple[int, tuple[int, ...]]]
) -> Iterator[Drawing]:
    variants = results.config.variants
    numbers = [n for n, variant in enumerate(variants) if variant.method == "suppression"]
    if len(numbers) < 2:
        return
    for layer, (kernel, done) in shown.items():
        image = done[0]
        original = results.cells(layer, kernel, image, None)
        found = [results.cells(layer, kernel, image, number) for number in numbers]
        rows: list[tuple[str, list[Cell]]] = [
            ("input", [picture for picture, _ in (original, *found)]),
            (
                "input, contrast stretched",
                [PictureCell(stretched(picture.pixels)) for picture, _ in (original, *found)],
            ),
            ("map", [values for _, values in (original, *found)]),
            (
                "difference from the original's map",
                [None, *(_difference(values, original[1]) for _, values in found)],
            ),
        ]
        title = f"{layer}, kernel {kernel}, {results.images[image].name}"
        columns = ["original", *(variants[number].title for number in numbers)]
        group = GridGroup("", tuple(GridRow(label, tuple(cells)) for label, cells in rows))
        note = f"Differences: blue less, red more than the original's map, same scale. {CLIPPED}"
        caption = (
            f"Several inputs that keep the map of kernel {kernel} of {layer}: the suppressions "
            "differ in their settings (form of the paper's Fig. 8)."
        )
        png = grid_figure(title, columns, [group], note)
        yield Drawing(f"solutions_{_safe(layer)}_k{kernel}.png", caption, png)


def _difference(values: MapCell, original: MapCell) -> DifferenceCell:
    return DifferenceCell(values.values - original.values, original.top)


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text)
