"""`jaxinterp concepts check`."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import tyro

from jaxinterp.cli.arguments import Debug, loading, optional

__all__ = ["Check"]


@dataclasses.dataclass(frozen=True)
class Check:
    """Reads concept data as a dissection would, and says what is in it; exit code 2 if it is wrong.

    PATH is a folder in Broden's layout; a segmentation folder (images/, masks/ and labels.csv or
    objectInfo150.csv); a folder of images for each texture; an uncompressed .tar of one of these;
    or an8flower:VARIANT[:COUNT[:SIZE[:SEED]]]. All categories are read, scenes and textures too.

    Example: jaxinterp concepts check broden1_224 --images 1000
    """

    path: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PATH")]
    """The concept data; what kind it is is found out."""
    images: Annotated[int | None, optional("N")] = None
    """Read only so many images, spread evenly over the set; rows of tables are all checked."""
    split: Annotated[str | None, optional("NAME")] = None
    """Read the images of one split."""
    colours: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False
    """Name the colours of all pixels too."""
    colour_table: Annotated[str | None, optional("FILE")] = None
    """Your table of colour names (w2c.npz or w2color.npy) instead of the prototypes."""
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.console.concepts import check_and_print, print_problems
            from jaxinterp.data.concepts.problems import ConceptProblems
            from jaxinterp.data.concepts.source import read_concepts

        try:
            found = read_concepts(
                self.path,
                split=self.split,
                exclude=(),
                colours=self.colours,
                colour_table=self.colour_table,
            )
            check_and_print(found.take(self.images), of_all=found.count)
        except ConceptProblems as problems:
            if self.debug:
                raise
            print_problems(problems)
            sys.exit(2)
