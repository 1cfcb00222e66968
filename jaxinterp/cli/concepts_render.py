"""`jaxinterp concepts render`."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated, Literal

import tyro

from jaxinterp.cli.arguments import Debug, loading

__all__ = ["Render"]


@dataclasses.dataclass(frozen=True)
class Render:
    """Renders an8Flower: pictures of flowers with exact masks of their parts.

    In single-6c the class is the colour of the petals, in double-12c the colour and which part has
    it, petals or core. The same seed gives the same flowers at any size.

    Example: jaxinterp concepts render flowers --variant double-12c --images 600
    """

    output: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER")]
    """A folder that is new or empty."""
    variant: Annotated[str, tyro.conf.arg(metavar="{single-6c,double-12c}")] = "single-6c"
    """Which set."""
    images: Annotated[int, tyro.conf.arg(metavar="N")] = 600
    """How many; the classes are balanced."""
    size: Annotated[int, tyro.conf.arg(metavar="PX")] = 64
    """Side of a picture, at least 32."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Other flowers for another seed."""
    test_share: Annotated[float, tyro.conf.arg(metavar="FRACTION")] = 0.2
    """The share of images for testing, the last ones."""
    layout: Literal["folders", "broden"] = "folders"
    """Folders of classes with masks, or a concept set as Network Dissection's Broden."""
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TimeRemainingColumn,
            )

            from jaxinterp.data.an8flower.broden import write_broden
            from jaxinterp.data.an8flower.folders import write_folders

        write = {"folders": write_folders, "broden": write_broden}[self.layout]
        console = Console(highlight=False, markup=False, soft_wrap=True)
        started = time.perf_counter()
        with Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress:
            task = progress.add_task("", total=max(self.images, 0))
            write(
                self.output,
                self.variant,
                self.images,
                size=self.size,
                seed=self.seed,
                test_share=self.test_share,
                advanced=lambda done: progress.update(task, completed=done),
            )
        seconds = time.perf_counter() - started
        console.print(
            f"{self.output}: {self.images} images of {self.variant}, {self.size} px, "
            f"seed {self.seed}, as {self.layout}, in {seconds:.1f} s"
        )
