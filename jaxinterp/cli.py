"""The command `jaxinterp`.

Parsing needs no JAX: each command imports what it uses when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxinterp import __version__
from jaxinterp.errors import UserError

if TYPE_CHECKING:
    from jaxinterp.models.network import Network

__all__ = ["main"]

_Set = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        name="set",
        metavar="KEY=VALUE",
        help="Overrides a key of the config, such as suppression.steps=100; may be repeated.",
    ),
    tyro.conf.UseAppendAction,
]
_Debug = Annotated[bool, tyro.conf.arg(help="Shows the traceback of an error.")]


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """Ctrl-C while libraries are imported ends the process, with exit code 130.

    As an exception it can be lost in them, and the command goes on, or it ends as an ImportError.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not under nohup
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, b"\nInterrupted.\n")
        os._exit(130)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclasses.dataclass(frozen=True)
class Run:
    """Runs a config: interprets kernels, stores the results, writes the report.

    Running the same config again does only what is missing.

    Example: jaxinterp run configs/demo.toml --set images.size=64 --set output=runs/large
    """

    config: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CONFIG.toml")]
    """The config file (TOML)."""
    overrides: _Set = ()
    debug: _Debug = False

    def __call__(self) -> None:
        with _loading():
            from jaxinterp.config import load_config
            from jaxinterp.console import RunConsole
            from jaxinterp.sweep.config import RunConfig
            from jaxinterp.sweep.run import run

        config = load_config(RunConfig, self.config, self.overrides)
        with RunConsole() as console:
            result = run(config, listener=console)
            console.close_with(result)
        if result.failed and not result.done:
            sys.exit(1)


@dataclasses.dataclass(frozen=True)
class Models:
    """Lists the networks, or prints the layer table of one.

    Example: jaxinterp models vgg16
    """

    name: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="NAME")] = None
    """A network; without it, all are listed."""
    debug: _Debug = False

    def __call__(self) -> None:
        with _loading():
            from jaxinterp.console import print_layers, print_models

        if self.name is None:
            print_models()
        else:
            print_layers(self.name)


@dataclasses.dataclass(frozen=True)
class Train:
    """Trains a small network on CIFAR-10; a stopped run resumes after its last finished epoch.

    Example: jaxinterp train configs/train_vgg_cifar10.toml --set data=cifar-10-binary.tar.gz
    """

    config: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CONFIG.toml")]
    """The config file (TOML)."""
    overrides: _Set = ()
    debug: _Debug = False

    def __call__(self) -> None:
        with _loading():
            from jaxinterp.config import load_config
            from jaxinterp.train.config import TrainConfig
            from jaxinterp.train.loop import train

        weights = train(load_config(TrainConfig, self.config, self.overrides))
        print(f"weights: {weights}")


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Accuracy of a network on CIFAR-10's 10,000 test images: top-1, top-5, and each class.

    Example: jaxinterp evaluate --data cifar-10-binary.tar.gz
    """

    data: Annotated[str, tyro.conf.arg(metavar="PATH")]
    """CIFAR-10: the binary archive, the folder it unpacks to, or a prepared TFDS folder."""
    model: str = "vgg_cifar10"
    """A name from `jaxinterp models`."""
    weights: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """A safetensors file; without it, the weights that come with the package."""
    batch_size: int = 250
    """Images at once."""
    debug: _Debug = False

    def __call__(self) -> None:
        with _loading():
            from jaxinterp.console import print_evaluation
            from jaxinterp.data.cifar10 import load_cifar10
            from jaxinterp.train.evaluate import evaluate
            from jaxinterp.weights.load import load

        if self.batch_size < 1:
            raise UserError(f"--batch-size must be at least 1, got {self.batch_size}.")
        network: Network = load(self.model, weights=self.weights, classes=10)
        data = load_cifar10(self.data, "test")
        print_evaluation(evaluate(network, data.images, data.labels, batch_size=self.batch_size))


_Commands = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Models, tyro.conf.subcommand("models")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Exit codes: 0 done, 2 unusable input, 130 interrupted, 1 anything else.

    A run in which no job is done but some failed counts as "anything else".
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments == ["--version"]:
        print(f"jaxinterp {__version__}")
        return
    command = tyro.cli(
        _Commands,  # type: ignore[arg-type]
        prog="jaxinterp",
        description="Ask what the convolutional kernels of a trained network respond to.",
        args=arguments,
    )
    try:
        command()
    except KeyboardInterrupt:
        print("\nInterrupted; what was finished is kept.", file=sys.stderr)
        sys.exit(130)
    except UserError as error:
        if command.debug:
            raise
        print(f"jaxinterp: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:  # a full disk, a folder that may not be written
        if command.debug:
            raise
        print(f"jaxinterp: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
