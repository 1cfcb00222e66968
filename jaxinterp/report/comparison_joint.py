"""The joint distribution of two errors with its marginals: the form of the paper's Fig. 3."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["JointSeries", "joint_figure"]

_COLOURS = ("#1a5fb4", "#c64600", "#26813f", "#813d9c", "#8a6a00", "#5a6570")
_MARKERS = "osD^vP"


@dataclasses.dataclass(frozen=True, eq=False)
class JointSeries:
    """The jobs of one variant.

    Attributes:
      title: its name.
      selected: mean squared error of the selected map, float [jobs].
      rest: mean square of the other maps, float [jobs].
    """

    title: str
    selected: np.ndarray
    rest: np.ndarray


def joint_figure(
    title: str, series: Sequence[JointSeries], *, blank_selected: float, original_rest: float
) -> bytes:
    """Draws every job as a point, and the density of either error at the margins.

    Both axes are logarithmic, so that the many small errors and the few large ones are both seen;
    values under a millionth of the largest are drawn there. The densities are of the logarithms,
    each with its maximum at the same height.

    Args:
      title: its heading.
      series: one a variant, each with at least one job.
      blank_selected: mean error of the selected map under a blank image, drawn as a line: to the
        right of it a blank image would have kept the map better.
      original_rest: mean square of the other maps under the original, drawn as a line: above it
        they were not suppressed at all.

    Returns:
      The bytes of a PNG of 820 x 760 px.

    Raises:
      ValueError: there is no job, or a series whose arrays differ in length.
    """
    if not series or any(not len(s.selected) or len(s.selected) != len(s.rest) for s in series):
        raise ValueError("a joint distribution needs jobs, each with both errors")
    figure = Figure(figsize=(8.2, 7.6), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        2, 2, width_ratios=(5, 1), height_ratios=(1, 5), hspace=0.04, wspace=0.04
    )
    grid.update(left=0.13, right=0.97, bottom=0.09, top=0.91)
    joint = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0])
    beside = figure.add_subplot(grid[1, 1])
    x_range = _range([s.selected for s in series], blank_selected)
    y_range = _range([s.rest for s in series], original_rest)
    above.set(xscale="log", xlim=x_range, ylim=(0, 1.1))
    beside.set(yscale="log", ylim=y_range, xlim=(0, 1.1))
    for axes in (above, beside):
        axes.axis("off")
    joint.set(xscale="log", yscale="log", xlim=x_range, ylim=y_range, autoscale_on=False)
    for number, one in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        x, y = np.clip(one.selected, *x_range), np.clip(one.rest, *y_range)
        marker = _MARKERS[number % len(_MARKERS)]
        joint.scatter(x, y, s=22, c=colour, marker=marker, alpha=0.6, linewidths=0, label=one.title)
        _margin(above, x, x_range, colour, vertical=False)
        _margin(beside, y, y_range, colour, vertical=True)
    line = {"color": "#5c6670", "linewidth": 1, "linestyle": (0, (4, 3))}
    joint.axvline(np.clip(blank_selected, *x_range), label="blank image, MSE (S.)", **line)
    line["linestyle"] = (0, (1, 2))
    joint.axhline(np.clip(original_rest, *y_range), label="original, MSE (R.)", **line)
    joint.set_xlabel("MSE of the selected kernel's map")
    joint.set_ylabel("MSE of the other kernels' maps (against zero)")
    joint.grid(alpha=0.25, linewidth=0.6)
    joint.legend(loc="best", fontsize=9, framealpha=0.85)
    for text in joint.get_legend().get_texts():  # type: ignore[union-attr]
        text.set_parse_math(False)
    figure.suptitle(title, x=0.13, ha="left", fontsize=13, fontweight="bold", parse_math=False)
    content = io.BytesIO()
    canvas.print_png(content)
    return content.getvalue()


def _range(values: Sequence[np.ndarray], mark: float) -> tuple[float, float]:
    """The ends of a logarithmic axis that holds all values and the mark, with some room."""
    every = np.concatenate([*values, [mark]])
    high = float(every.max())
    if high <= 0:
        return 1e-6, 1.0
    low = max(float(every[every > 0].min()), high * 1e-6)
    room = max((high / low) ** 0.06, 1.1)
    return low / room, high * room


def _margin(
    axes: Axes, values: np.ndarray, limits: tuple[float, float], colour: str, *, vertical: bool
) -> None:
    """A Gaussian kernel density of the logarithms, its width by Scott's rule."""
    logs, ends = np.log10(values), np.log10(limits)
    places = np.linspace(ends[0], ends[1], 200)
    width = max(logs.std() * len(logs) ** -0.2, (ends[1] - ends[0]) / 100)
    density = np.exp(-0.5 * ((places[:, None] - logs) / width) ** 2).sum(1)
    density /= density.max()
    fill = axes.fill_betweenx if vertical else axes.fill_between
    fill(10**places, 0, density, color=colour, alpha=0.25, linewidth=0)
    along = (density, 10**places) if vertical else (10**places, density)
    axes.plot(*along, color=colour, linewidth=1.2)
