"""What consoles with a progress bar have in common."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn

__all__ = ["LiveConsole"]


class LiveConsole:
    """Lines of text, and below them a bar where there is a terminal; a context manager."""

    def __init__(
        self, *columns: str | ProgressColumn, description: str = "", **fields: Any
    ) -> None:
        """Prepares the bar, which has one task.

        Args:
          columns: of the bar.
          description: of its task.
          fields: of its task.
        """
        self._console = Console(highlight=False, markup=False)
        self._progress = Progress(
            *columns,
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task(description, total=None, **fields)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def _say(self, text: str) -> None:
        """A line of its own, not wrapped: a path stays whole."""
        self._console.print(text, soft_wrap=True)
