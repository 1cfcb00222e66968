"""`jaxinterp weights`: list, fetch, convert, verify."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import tyro

from jaxinterp.cli.arguments import Debug, loading, optional

__all__ = ["Weights"]

_File = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]
_Classes = Annotated[
    int | None, optional("N", help="Number of logits, if it is not the published one.")
]


@dataclasses.dataclass(frozen=True)
class List:
    """Lists the networks: size, published accuracy, and which weights are on this machine."""

    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.console.weights import print_weights

        print_weights()


@dataclasses.dataclass(frozen=True)
class Fetch:
    """Fetches published weights into the cache folder, checks and converts them.

    A download that was broken off is resumed. `jaxinterp.load(NAME)` then finds them.

    Example: jaxinterp weights fetch vgg16 resnet50
    """

    names: Annotated[tyro.conf.Positional[tuple[str, ...]], optional("NAME...")]
    """Networks from `jaxinterp weights list`."""
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.console.weights import fetch_and_convert
            from jaxinterp.errors import UserError
            from jaxinterp.weights.fetch import find_published

        if not self.names:
            raise UserError("Name one network or more: `jaxinterp weights list` has them.")
        for name in self.names:  # a misspelt name is no reason to fetch 500 MB first
            find_published(name)
        for name in self.names:
            fetch_and_convert(name)


@dataclasses.dataclass(frozen=True)
class Convert:
    """Fits a file to a network, strictly, and keeps the result for quick starts.

    Example: jaxinterp weights convert mine.pth --model vgg16 --classes 7
    """

    file: _File
    """PyTorch (.pth, .pt, .th), safetensors, MatConvNet (.mat) or NumPy (.npz)."""
    model: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """A name from `jaxinterp models`."""
    classes: _Classes = None
    output: Annotated[str | None, optional("FILE.safetensors")] = None
    """Writes them as safetensors too, float32, with PyTorch's names and layout."""
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.console.weights import convert_file

        _check_classes(self.classes)
        convert_file(self.file, self.model, classes=self.classes, output=self.output)


@dataclasses.dataclass(frozen=True)
class Verify:
    """Says what a weights file holds and which network it fits; exit code 2 if none.

    Example: jaxinterp weights verify mine.pth
    """

    file: _File
    """PyTorch (.pth, .pt, .th), safetensors, MatConvNet (.mat) or NumPy (.npz)."""
    model: Annotated[str | None, optional("NAME")] = None
    """The only network to try; without it, all are tried."""
    classes: _Classes = None
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.console.weights import print_verification
            from jaxinterp.weights.verify import verify

        _check_classes(self.classes)
        found = verify(self.file, name=self.model, classes=self.classes)
        print_verification(found)
        if not found.fits:
            sys.exit(2)


def _check_classes(classes: int | None) -> None:
    from jaxinterp.errors import UserError

    if classes is not None and classes < 1:
        raise UserError(f"--classes must be at least 1, got {classes}.")


_Actions = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Fetch, tyro.conf.subcommand("fetch")]
    | Annotated[Convert, tyro.conf.subcommand("convert")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
)


@dataclasses.dataclass(frozen=True)
class Weights:
    """Lists, fetches, converts and verifies weights.

    Example: jaxinterp weights fetch resnet18
    """

    action: Annotated[_Actions, tyro.conf.arg(name="")]

    @property
    def debug(self) -> bool:
        """Whether the traceback of an error is shown."""
        return self.action.debug

    def __call__(self) -> None:
        self.action()
