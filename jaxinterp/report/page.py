"""A run's results as one HTML page and a folder of figures.

The page is self-contained: pictures are data URIs, style and script are inline, and its content
security policy forbids everything else, so it can be mailed, archived and opened from a disk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from jaxinterp.errors import UserError
from jaxinterp.report.chart import trace_chart
from jaxinterp.report.figure import kernel_figure
from jaxinterp.report.page_frame import asset, page_environment, script_hash
from jaxinterp.report.pixels import display_notes, image_uri, map_top, map_uri, number, peak
from jaxinterp.report.replace_file import replace_file
from jaxinterp.report.views import JobView, MapView, ReportHead, Table

__all__ = ["MOST_JOBS", "write_report"]

MOST_JOBS = 2_000
"""The page shows so many jobs at most; a browser stays quick with about 30 MB of page."""

# What a tile shows before it is opened; of other methods' metrics the first three.
_HEADLINE = ("similarity", "ssim", "correlation", "mse_rest")


def write_report(
    folder: Path,
    head: ReportHead,
    tables: Sequence[Table],
    views: Iterable[JobView],
    *,
    figures: int | None = None,
    counts: Mapping[str, int] | None = None,
) -> Path:
    """Writes `folder/index.html` and `folder/figures/<layer>_k<kernel>_<image>.png`.

    The jobs are taken one at a time, so that `views` may be a generator over a large store. Each
    file appears under its name only when it is complete; files already there are replaced, others
    are left alone.

    Args:
      folder: is created if it is missing.
      head: what stands above the results.
      tables: summaries, shown in this order.
      views: the jobs in the order to show them; layers appear in the order in which they are met,
        kernels by number. Only the first `MOST_JOBS` go into the page, which says so.
      figures: draw at most so many jobs, the first ones; None draws all.
      counts: how many jobs of the run are "done", "silent" and "failed", where `views` are a choice
        of them; None counts the views.

    Returns:
      The path of the page.

    Raises:
      UserError: the folder cannot be written.
      ValueError: `figures` is negative.
    """
    if figures is not None and figures < 0:
        raise ValueError(f"figures must be None or at least 0, got {figures}.")
    folder = Path(folder)
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        return _write(folder, head, tables, views, figures, counts)
    except OSError as error:
        raise UserError(
            f"The report cannot be written to {folder}: {error.strerror or error}."
        ) from error


def _write(
    folder: Path,
    head: ReportHead,
    tables: Sequence[Table],
    views: Iterable[JobView],
    figures: int | None,
    counts: Mapping[str, int] | None,
) -> Path:
    page = _Page()
    names = _FigureNames()
    drawn = 0
    for view in views:
        figure = None
        if figures is None or drawn < figures:
            figure = f"figures/{names.new(view)}"
            replace_file(folder / figure, kernel_figure(view))
            drawn += 1
        page.add(view, figure)
    page.is_choice = counts is not None and sum(counts.values()) != page.total
    if counts is not None:
        page.counts.update(counts)
    index = folder / "index.html"
    # Names come from the file system and may hold what UTF-8 cannot.
    replace_file(index, page.render(head, tables, drawn).encode("utf-8", "replace"))
    return index


class _FigureNames:
    """File names that any system takes, each used once, the same in every run."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, view: JobView) -> str:
        layer, image = _safe(view.layer), _safe(view.image)
        base = name = f"{layer}_k{view.kernel}_{image}"
        count = 1
        while name.casefold() in self._taken:  # some file systems ignore case
            count += 1
            name = f"{base}-{count}"
        self._taken.add(name.casefold())
        return f"{name}.png"


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._")[:80] or "unnamed"


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A map before and after, ready for the page."""

    label: str
    selected: bool
    before: str
    after: str
    width: int
    height: int
    top: str
    before_peak: str
    after_peak: str
    magnified: bool


@dataclasses.dataclass(frozen=True)
class _Tile:
    """A job, ready for the page."""

    job: str
    image: str
    status: str
    original: int
    optimised: str
    width: int
    height: int
    magnified: bool
    pairs: tuple[_Pair, ...]
    metrics: dict[str, float | None]
    notes: tuple[str, ...]
    trace: Markup
    figure: str | None


class _Page:
    """Collects jobs as small texts; the arrays are let go at once."""

    def __init__(self) -> None:
        self.total = 0
        self.is_choice = False
        self.counts = {"done": 0, "silent": 0, "failed": 0}
        self.layers: dict[str, dict[int, list[_Tile]]] = {}
        self.images: dict[str, None] = {}
        self.metrics: dict[str, None] = {}
        # The originals recur with every kernel: they are written once, as classes of the style.
        self.originals: dict[bytes, int] = {}
        self.backgrounds: list[tuple[str, int, int, bool]] = []

    def add(self, view: JobView, figure: str | None) -> None:
        self.total += 1
        self.counts[view.status] += 1
        if self.total > MOST_JOBS:
            return
        self.images.setdefault(view.image)
        for name in view.metrics:
            self.metrics.setdefault(name)
        height, width = view.optimised.shape[:2]
        tile = _Tile(
            job=view.job,
            image=view.image,
            status=view.status,
            original=self._original(view.original),
            optimised=image_uri(view.optimised),
            width=width,
            height=height,
            magnified=max(width, height) <= 96,
            pairs=tuple(_pair(item) for item in view.maps),
            metrics=view.metrics,
            notes=_notes(view),
            trace=_trace(view),
            figure=figure,
        )
        self.layers.setdefault(view.layer, {}).setdefault(view.kernel, []).append(tile)

    def _original(self, pixels: np.ndarray) -> int:
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if digest not in self.originals:
            self.originals[digest] = len(self.backgrounds)
            height, width = pixels.shape[:2]
            self.backgrounds.append((image_uri(pixels), width, height, max(width, height) <= 96))
        return self.originals[digest]

    def render(self, head: ReportHead, tables: Sequence[Table], drawn: int) -> str:
        environment = page_environment()
        environment.filters["number"] = number
        environment.filters["numeric_columns"] = _numeric_columns
        environment.filters["score"] = lambda value: "-" if value is None else f"{value:.6g}"
        script = asset("page.js")
        layers = [(name, sorted(kernels.items())) for name, kernels in self.layers.items()]
        content: dict[str, Any] = {
            "head": head,
            "tables": tables,
            "layers": layers,
            "images": list(self.images),
            "metrics": list(self.metrics),
            "headline": [m for m in _HEADLINE if m in self.metrics] or list(self.metrics)[:3],
            "backgrounds": self.backgrounds,
            "counts": self.counts,
            "total": sum(self.counts.values()),
            "is_choice": self.is_choice,
            "shown": min(self.total, MOST_JOBS),
            "drawn": drawn,
            "style": Markup(asset("page.css")),
            "script": Markup(script),
            "script_hash": script_hash(script),
        }
        return environment.get_template("index.html.j2").render(content)


def _trace(view: JobView) -> Markup:
    if view.trace is None or view.status == "silent":  # nothing was optimised
        return Markup("")
    return trace_chart(view.trace, view.trace_terms)


def _pair(view: MapView) -> _Pair:
    top = map_top(view)
    height, width = view.before.shape
    return _Pair(
        label=view.label,
        selected=view.selected,
        before=map_uri(view.before, top),
        after=map_uri(view.after, top),
        width=width,
        height=height,
        top=number(top),
        before_peak=number(peak(view.before)),
        after_peak=number(peak(view.after)),
        magnified=max(width, height) <= 96,
    )


def _notes(view: JobView) -> tuple[str, ...]:
    notes = []
    if view.status == "failed":
        notes.append("The optimisation failed: its values are not finite.")
    elif view.status == "silent":
        notes.append("The kernel is silent for this image: there is no activation to keep.")
    notes.extend(display_notes(view))
    return tuple(notes)


# "0.90", "-3e-5", "1,024", "0.90 ± 0.13", "12 %", or a dash where there is no number.
_NUMBER = re.compile(r"[-+\u2212]?[\d.,]+(e[-+]?\d+)?\s*(%|(±|\+/-).*)?|[-\u2013\u2014]?", re.I)


def _numeric_columns(table: Table) -> list[bool]:
    """Whether each column holds numbers only, to be set flush right."""
    columns = zip(*(row.cells for row in table.body), strict=True) if table.rows else []
    numeric = [all(_NUMBER.fullmatch(cell.strip()) for cell in cells) for cells in columns]
    return numeric or [False] * len(table.columns)
