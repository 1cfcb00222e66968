"""What `jaxinterp concepts check` shows."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from jaxinterp.console.tables import print_whole
from jaxinterp.data.concepts.check import ConceptCheck, check_concepts
from jaxinterp.data.concepts.concept_set import ConceptSet
from jaxinterp.data.concepts.problems import ConceptProblems

__all__ = ["check_and_print", "print_problems"]

_MOST_NAMED = 10
_MOST_FREQUENT = 5


def check_and_print(concept_set: ConceptSet, *, of_all: int) -> ConceptCheck:
    """Reads a set with a progress bar and prints what is in it.

    Args:
      concept_set: the set, or a part of its images.
      of_all: how many images the whole set has.

    Raises:
      ConceptProblems: something in it cannot be used.
    """
    console = Console(highlight=False, markup=False)
    some = f" of {of_all}" if concept_set.count < of_all else ""
    _say(console, f"{concept_set.location}: {concept_set.kind}, {concept_set.count}{some} images")
    for note in concept_set.notes:
        _say(console, note)
    progress = Progress(
        TextColumn("reading"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        task = progress.add_task("", total=concept_set.count)
        found = check_concepts(
            concept_set, advanced=lambda images: progress.update(task, completed=images)
        )
    _print_found(console, found)
    return found


def print_problems(problems: ConceptProblems) -> None:
    """A line for each problem, on standard error."""
    console = Console(stderr=True, highlight=False, markup=False)
    for sentence in problems.problems:
        _say(console, f"jaxinterp: {sentence}")
    if problems.count > len(problems.problems):
        _say(console, f"jaxinterp: {problems.count - len(problems.problems)} more problems.")


def _print_found(console: Console, found: ConceptCheck) -> None:
    concept_set = found.concept_set
    splits = concept_set.splits
    if splits is not None:
        names, counts = np.unique(splits, return_counts=True)
        listed = (f"{name or '(none)'} {count}" for name, count in zip(names, counts, strict=True))
        _say(console, f"splits: {', '.join(listed)}")
    table = Table(show_edge=False)
    for column in ("category", "concepts", "images", "pixels", "most frequent"):
        right = column in ("concepts", "images", "pixels")
        table.add_column(column, justify="right" if right else "left")
    category_of = concept_set.category_of
    for index, category in enumerate(concept_set.categories):
        own = np.flatnonzero(category_of == index)
        used = own[found.pixels[own] > 0]
        order = used[np.argsort(-found.images_with[used], kind="stable")][:_MOST_FREQUENT]
        table.add_row(
            category,
            str(len(own)) if len(used) == len(own) else f"{len(used)} of {len(own)}",
            str(found.labelled_images[index]),
            str(found.pixels[own].sum()),
            ", ".join(concept_set.concepts[one].name for one in order),
        )
    print_whole(console, table)
    if found.empty:
        more = f" and {len(found.empty) - _MOST_NAMED} more" * (len(found.empty) > _MOST_NAMED)
        named = ", ".join(found.empty[:_MOST_NAMED])
        _say(
            console, f"warning: {_count(len(found.empty), 'concept')} with no pixels: {named}{more}"
        )
    if found.unlabelled:
        _say(console, f"warning: {_count(found.unlabelled, 'image')} without any label")
    if found.ignored:
        _say(
            console,
            f"warning: {_count(found.ignored, 'pixel')} with a label that is not in the list of "
            "their category: left unlabelled",
        )
    _say(console, f"all {_count(found.images, 'image')} can be used")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True)  # a path stays whole
