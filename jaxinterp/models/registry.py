"""The networks by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from jaxinterp.errors import UserError, nearest
from jaxinterp.models.preprocess import CIFAR10, IMAGENET, Preprocess
from jaxinterp.models.vgg import VGG, VGG_BLOCKS, VGG_CIFAR10_BLOCKS

__all__ = ["ARCHITECTURES", "Architecture", "find_architecture"]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """How to build a network, before any weights.

    Attributes:
      name: as in `jaxinterp.load(name)`.
      construct: `construct(classes)` makes the Flax NNX module.
      classes: the class count it was published with.
      preprocess: what its images undergo.
      summary: one line for the list of models.
      bundled: whether trained weights come with the package.
    """

    name: str
    construct: Callable[[int], VGG]
    classes: int
    preprocess: Preprocess
    summary: str
    bundled: bool = False

    def build(self, classes: int | None = None) -> VGG:
        """The module, with zero weights; call it under `nnx.eval_shape` to compute nothing."""
        return self.construct(self.classes if classes is None else classes)


def _vgg(name: str, classes: int) -> VGG:
    depth, _, norm = name.partition("_")
    return VGG(VGG_BLOCKS[depth], batch_norm=bool(norm), classes=classes)


def _vgg_cifar10(classes: int) -> VGG:
    return VGG(
        VGG_CIFAR10_BLOCKS,
        batch_norm=True,
        classes=classes,
        hidden=(),
        grid=1,
        pool_last=False,
    )


ARCHITECTURES: dict[str, Architecture] = {
    "vgg_cifar10": Architecture(
        "vgg_cifar10",
        _vgg_cifar10,
        10,
        CIFAR10,
        "small VGG with batch norm, trained by us on CIFAR-10; weights included",
        bundled=True,
    )
} | {
    name: Architecture(
        name,
        functools.partial(_vgg, name),
        1000,
        IMAGENET,
        f"VGG-{name[3:5]}{' with batch norm' if '_' in name else ''}; bring ImageNet weights",
    )
    for depth in VGG_BLOCKS
    for name in (depth, f"{depth}_bn")
}
"""Every network that `jaxinterp.load` knows."""


def find_architecture(name: str) -> Architecture:
    """The architecture called `name`.

    Raises:
      UserError: unknown; the nearest names are offered.
    """
    if name not in ARCHITECTURES:
        raise UserError(nearest(name, ARCHITECTURES, kind="model"))
    return ARCHITECTURES[name]
