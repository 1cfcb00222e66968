"""A case's section in a Markdown file, found again by its markers."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

from jaxinterp.bench.machine import Machine
from jaxinterp.bench.table import BenchTable
from jaxinterp.errors import UserError

__all__ = ["replace_section", "section", "write_section"]


def section(
    title: str,
    table: BenchTable,
    *,
    command: str,
    machine: Machine,
    day: datetime.date | None = None,
) -> str:
    """What stands between the markers: heading, command, machine, day (today), table, notes."""
    day = datetime.date.today() if day is None else day
    return f"### {title}\n\n`{command}`\n\n{machine}; {day.isoformat()}.\n\n{table.markdown()}"


def replace_section(text: str, case: str, machine: str, body: str) -> str:
    """A Markdown text with one section replaced, or added if there is none.

    A section stands between `<!-- bench:CASE:MACHINE -->` and `<!-- /bench:CASE:MACHINE -->`. A new
    one comes after the last section of any case, else after `<!-- bench -->`, else at the end. All
    other text stays as it is.

    Args:
      text: the file's content.
      case: of `CASES`.
      machine: a `Machine.key`.
      body: what stands between the markers.

    Raises:
      UserError: a marker without its partner, or the same section twice.
    """
    key = f"bench:{case}:{machine}"
    opening, closing = f"<!-- {key} -->", f"<!-- /{key} -->"
    new = f"{opening}\n{body.strip()}\n{closing}"
    counts = text.count(opening), text.count(closing)
    if counts == (1, 1) and text.index(opening) < text.index(closing):
        before, rest = text.split(opening)
        return before + new + rest.split(closing)[1]
    if counts != (0, 0):
        raise UserError(
            f"The section {key} has {counts[0]} opening and {counts[1]} closing markers: there "
            "must be one of each, in this order."
        )
    last = list(re.finditer(r"<!-- (?:/bench:[^>]*|bench) -->\n?", text))
    if last:
        end = last[-1].end()
        return text[:end].rstrip("\n") + f"\n\n{new}\n" + text[end:]
    return (text.rstrip("\n") + "\n\n" if text.strip() else "") + new + "\n"


def write_section(path: str | Path, case: str, machine: str, body: str) -> None:
    """Replaces a section of a file, which is made if it does not exist. See `replace_section`.

    Raises:
      UserError: markers that do not fit, or a file that is no text.
      OSError: a file that cannot be read or written.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text: nothing was written to it.") from error
    path.write_text(replace_section(text, case, machine, body), encoding="utf-8")
