"""A comparison's results as one HTML page: tables above, figures below."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup

from jaxinterp.errors import UserError
from jaxinterp.report.page_frame import asset, page_environment
from jaxinterp.report.replace_file import replace_file
from jaxinterp.report.views import ReportHead, Table

__all__ = ["Drawing", "write_comparison_page"]


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """A figure of the page.

    Attributes:
      name: its file name, such as "joint_relu4_2.png".
      caption: what it shows.
      png: the bytes of the file.
    """

    name: str
    caption: str
    png: bytes

    @property
    def width(self) -> int:
        """In pixels, as the file's header has it."""
        return int.from_bytes(self.png[16:20], "big")

    @property
    def height(self) -> int:
        """In pixels."""
        return int.from_bytes(self.png[20:24], "big")

    @property
    def uri(self) -> str:
        """The file as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


def write_comparison_page(
    folder: Path,
    head: ReportHead,
    tables: Sequence[Table],
    notes: Sequence[str],
    drawings: Iterable[Drawing],
) -> Path:
    """Writes `folder/index.html` and `folder/figures/NAME` for every drawing.

    The page is self-contained, as that of any run, and links the figures' files. Each file appears
    under its name only when it is complete.

    Args:
      folder: is created if it is missing.
      head: what stands above.
      tables: shown in this order.
      notes: sentences below the tables, on how the numbers were made.
      drawings: the figures.

    Returns:
      The path of the page.

    Raises:
      UserError: the folder cannot be written.
    """
    drawings = list(drawings)
    environment = page_environment()
    text = environment.get_template("comparison.html.j2").render(
        head=head,
        tables=tables,
        notes=notes,
        drawings=drawings,
        style=Markup(asset("page.css")),
    )
    page = Path(folder) / "index.html"
    try:
        (page.parent / "figures").mkdir(parents=True, exist_ok=True)
        for drawing in drawings:
            replace_file(page.parent / "figures" / drawing.name, drawing.png)
        # Names come from the file system and may hold what UTF-8 cannot.
        replace_file(page, text.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(
            f"The report cannot be written to {folder}: {error.strerror or error}."
        ) from error
    return page
