"""What the charts of a dissection share: colours, texts that are safe to draw, the PNG itself."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = [
    "FAINT",
    "INK",
    "category_colours",
    "heading",
    "new_figure",
    "plain",
    "png",
    "tick_names",
]

INK, FAINT = "#1c2127", "#5c6670"

# Okabe and Ito's colours, which any colour vision tells apart, those of Broden's categories fixed
# so that the figures of two runs can be compared.
_OF_CATEGORY = {
    "object": "#0072b2",
    "part": "#e69f00",
    "material": "#009e73",
    "color": "#cc79a7",
    "colour": "#cc79a7",
    "texture": "#56b4e9",
    "scene": "#d55e00",
}
_OTHERS = ("#f0e442", "#5c6670", "#b8bec4", "#1c2127")
_FONT = "DejaVu Sans"  # comes with matplotlib
_DPI = 100


def category_colours(categories: Sequence[str]) -> dict[str, str]:
    """A colour for each category, "#rrggbb"; they recur from the eleventh category on."""
    free = [c for c in dict.fromkeys(_OF_CATEGORY.values())]
    used = {_OF_CATEGORY[c] for c in categories if c in _OF_CATEGORY}
    rest = [c for c in free if c not in used] + list(_OTHERS)
    colours: dict[str, str] = {}
    for category in categories:
        if category in _OF_CATEGORY:
            colours[category] = _OF_CATEGORY[category]
        else:
            colours[category] = rest[0]
            rest = [*rest[1:], rest[0]]
    return colours


def plain(text: str, most: int = 200) -> str:
    """The text as it is to be read: never mathematics, no unknown glyphs, cut in the middle.

    A character that the font lacks, which would warn in every figure, becomes a box.
    """
    known = _known_characters()
    text = " ".join(text.split())
    text = "".join(c if ord(c) in known and c.isprintable() else "\N{WHITE SQUARE}" for c in text)
    if len(text) > most:
        text = f"{text[: most - most // 2 - 1]}…{text[len(text) - most // 2 :]}"
    return text.replace("$", r"\$")


@functools.cache
def _known_characters() -> frozenset[int]:
    font = font_manager.get_font(font_manager.findfont(_FONT))
    return frozenset(font.get_charmap())


def new_figure(width: float, height: float) -> Figure:
    """A white figure of so many inches; its texts never overlap its axes."""
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def heading(figure: Figure, title: str, subtitle: str = "") -> None:
    """The figure's title, bold at the left, and a fainter line of what it shows."""
    wide = int(figure.get_figwidth() * 11)
    figure.suptitle(plain(title, wide), x=0.01, ha="left", fontsize=13, fontweight="bold")
    if subtitle:
        # A second title of the whole figure: constrained layout makes room for `supxlabel` only.
        figure.supxlabel(plain(subtitle, int(wide * 1.4)), x=0.01, ha="left", fontsize=9, c=FAINT)


def tick_names(
    axes: Axes, names: Sequence[str], *, width: float = 0, along: str = "x", most: int = 24
) -> None:
    """Names at 0, 1, 2, ... of an axis `width` inches long; those below are turned if need be."""
    places, shown = range(len(names)), [plain(name, most) for name in names]
    if along == "y":
        axes.set_yticks(places, shown, fontsize=9)
        return
    room = width / max(len(names), 1)  # inches a name
    turned = max(map(len, shown), default=0) * 0.085 > room
    axes.set_xticks(
        places,
        shown,
        fontsize=9,
        rotation=45 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else "default",
    )


def png(figure: Figure) -> bytes:
    """The bytes of the figure as a PNG at 100 dots an inch."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI)
    return content.getvalue()
