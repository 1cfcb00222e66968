"""Accuracies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from jaxinterp.console.tables import print_whole

if TYPE_CHECKING:
    from jaxinterp.train.evaluate import Evaluation

__all__ = ["print_evaluation"]


def print_evaluation(evaluation: Evaluation) -> None:
    """Accuracies: overall, then each class."""
    console = Console(highlight=False, markup=False)
    console.print(
        f"top-1 {evaluation.top1:.2%}, top-5 {evaluation.top5:.2%} of {evaluation.images} images"
    )
    table = Table(show_edge=False)
    table.add_column("class")
    table.add_column("images", justify="right")
    table.add_column("top-1", justify="right")
    for name, count, accuracy in evaluation.classes:
        table.add_row(name, str(count), f"{accuracy:.1%}")
    print_whole(console, table)
