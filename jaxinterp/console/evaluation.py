"""What an evaluation shows in a terminal."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from jaxinterp.console.live import LiveConsole
from jaxinterp.console.tables import print_whole
from jaxinterp.data.labelled import LabelledImages
from jaxinterp.evaluate.accuracy import Share
from jaxinterp.evaluate.run import Evaluation

__all__ = ["EvaluationConsole"]

# Where there is no terminal, a line each time so large a share of the images is done.
_SHARE_A_LINE = 0.1
_MOST_UNREADABLE = 5


class EvaluationConsole(LiveConsole):
    """Shows an evaluation: a bar with rate and time left, or plain lines without a terminal."""

    def __init__(self) -> None:
        super().__init__(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            rate="",
        )
        self._total = self._next_line = 0
        self._started = time.perf_counter()

    def opened(self, source: LabelledImages, limit: int | None) -> None:
        """Says what was recognised."""
        self._total = min(limit or source.count, source.count)
        self._next_line = max(1, round(_SHARE_A_LINE * self._total))
        of_all = f" of {source.count}" if self._total < source.count else ""
        split = f", split {source.split}" if source.split else ""
        self._say(
            f"{source.location}: {source.kind}{split}, {self._total}{of_all} images, "
            f"{len(source.classes)} classes"
        )
        for note in source.notes:
            self._say(note)
        self._progress.update(self._task, total=self._total)
        self._started = time.perf_counter()

    def advanced(self, images: int) -> None:
        """So many images are done."""
        rate = f"{images / (time.perf_counter() - self._started):.1f} images/s"
        self._progress.update(self._task, completed=images, rate=rate)
        if not self._console.is_terminal and self._next_line <= images < self._total:
            self._say(f"{images} of {self._total} images, {rate}")
            self._next_line = images + max(1, round(_SHARE_A_LINE * self._total))

    def close_with(self, evaluation: Evaluation, *, worst: int) -> None:
        """The results: overall, the worst classes, and what could not be read."""
        self._progress.stop()
        count = evaluation.top1.images
        self._say(f"{evaluation.model}, weights {evaluation.weights_sha256}")
        self._say(f"{evaluation.label_rule}; {evaluation.logits} logits")
        self._say(f"top-1 {_percent(evaluation.top1)}, top-5 {_percent(evaluation.top5)}")
        classes = sorted(
            evaluation.classes, key=lambda own: (own.top1.value, own.top5.value, own.index)
        )
        self._say(
            f"{count} images in {evaluation.seconds:.1f} s "
            f"({count / evaluation.seconds:.1f} images/s, compilation included); "
            f"mean of {len(classes)} classes: top-1 {evaluation.mean_class_top1:.2%}"
        )
        self._unreadable(evaluation)
        if not worst:
            return
        table = Table(show_edge=False)
        table.add_column("class")
        for column in ("index", "images", "top-1", "top-5"):
            table.add_column(column, justify="right")
        for own in classes[:worst]:
            shares = (f"{share.value:.1%}" for share in (own.top1, own.top5))
            table.add_row(own.name, str(own.index), str(own.top1.images), *shares)
        print_whole(self._console, table)
        if len(classes) > worst:
            self._say(f"the {worst} worst of {len(classes)} classes; an output file has them all")

    def wrote(self, path: object) -> None:
        """Where the results are."""
        self._say(f"results: {path}")

    def _unreadable(self, evaluation: Evaluation) -> None:
        failed = evaluation.unreadable
        if failed:
            self._say(f"{len(failed)} images could not be read and are in no accuracy:")
        for image in failed[:_MOST_UNREADABLE]:
            self._say(f"  {image.name}: {image.reason}")
        if len(failed) > _MOST_UNREADABLE:
            self._say(f"  and {len(failed) - _MOST_UNREADABLE} more; an output file has them all")


def _percent(share: Share) -> str:
    low, high = share.interval
    return f"{share.value:.2%} (95 % interval {low:.2%} to {high:.2%})"
