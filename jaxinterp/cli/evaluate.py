"""`jaxinterp evaluate`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxinterp.cli.arguments import Debug, loading
from jaxinterp.errors import UserError

if TYPE_CHECKING:
    from jaxinterp.models.network import Network

__all__ = ["Evaluate"]


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
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.console.evaluation import print_evaluation
            from jaxinterp.data.cifar10 import load_cifar10
            from jaxinterp.train.evaluate import evaluate
            from jaxinterp.weights.load import load

        if self.batch_size < 1:
            raise UserError(f"--batch-size must be at least 1, got {self.batch_size}.")
        network: Network = load(self.model, weights=self.weights, classes=10)
        data = load_cifar10(self.data, "test")
        print_evaluation(evaluate(network, data.images, data.labels, batch_size=self.batch_size))
