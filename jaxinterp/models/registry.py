"""The networks by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

from jaxinterp.errors import UserError, nearest
from jaxinterp.models.alexnet import AlexNet
from jaxinterp.models.cifar_resnet import CIFAR_RESNET_DEPTHS, CifarResNet
from jaxinterp.models.classifier import Classifier
from jaxinterp.models.mnist import MnistNetwork
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.plain import (
    CIFAR_WIDE_LAYERS,
    FLOWER_DOUBLE_LAYERS,
    FLOWER_SINGLE_LAYERS,
    PlainNetwork,
)
from jaxinterp.models.preprocess import (
    AN8FLOWER,
    CIFAR10,
    CIFAR_RESNET,
    IMAGENET,
    MNIST,
    VGG_F,
    Preprocess,
)
from jaxinterp.models.resnet import RESNETS, ResNet
from jaxinterp.models.vgg import VGG, VGG_BLOCKS, VGG_CIFAR10_BLOCKS
from jaxinterp.models.vgg_f import VGGF

__all__ = ["ARCHITECTURES", "Architecture", "find_architecture"]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """How to build a network, before any weights.

    Attributes:
      name: as in `jaxinterp.load(name)`.
      construct: `construct(classes=classes)` makes the Flax NNX module.
      classes: the class count it was published with.
      preprocess: what its images undergo.
      summary: one line for the list of models.
      dataset: whose classes the published weights tell apart: imagenet, cifar10, mnist,
        an8flower-single-6c or an8flower-double-12c.
      bundled: whether trained weights come with the package.
    """

    name: str
    construct: Callable[..., Classifier]
    classes: int
    preprocess: Preprocess
    summary: str
    dataset: str = "imagenet"
    bundled: bool = False

    def build(self, classes: int | None = None) -> Classifier:
        """The module, with zero weights; call it under `nnx.eval_shape` to compute nothing."""
        return self.construct(classes=self.classes if classes is None else classes)

    def blueprint(self, classes: int | None = None) -> Blueprint:
        """The structure of what `build` makes; made once for each class count, and shared."""
        return _blueprint(self, self.classes if classes is None else classes)


@functools.cache
def _blueprint(architecture: Architecture, classes: int) -> Blueprint:
    return Blueprint(lambda: architecture.build(classes))


def _imagenet(
    name: str, summary: str, constructor: Callable[..., Classifier], *args: Any, **options: Any
) -> Architecture:
    construct = functools.partial(constructor, *args, **options)
    return Architecture(name, construct, 1000, IMAGENET, summary)


_RESNET_SUMMARIES = {
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50, strides in the 3x3 convolutions",
    "resnet101": "ResNet-101",
    "resnet152": "ResNet-152",
    "wide_resnet50_2": "ResNet-50 with bottlenecks twice as wide",
    "wide_resnet101_2": "ResNet-101 with bottlenecks twice as wide",
    "resnext50_32x4d": "ResNeXt-50, 32 groups of 4 channels",
    "resnext101_32x8d": "ResNeXt-101, 32 groups of 8 channels",
}

_VGG_CIFAR10 = Architecture(
    "vgg_cifar10",
    functools.partial(VGG, VGG_CIFAR10_BLOCKS, batch_norm=True, hidden=(), grid=1, pool_last=False),
    10,
    CIFAR10,
    "small VGG with batch norm, trained by us on CIFAR-10; weights included",
    "cifar10",
    bundled=True,
)

_PLAIN = (
    Architecture(
        "cifar_wide",
        functools.partial(PlainNetwork, CIFAR_WIDE_LAYERS),
        10,
        CIFAR10,
        "at least 128 kernels in each of five convolutions, for CIFAR-10",
        "cifar10",
    ),
    Architecture(
        "flower_single",
        functools.partial(PlainNetwork, FLOWER_SINGLE_LAYERS),
        6,
        AN8FLOWER,
        "five convolutions, max pooling, trained by us on an8Flower single-6c; weights included",
        "an8flower-single-6c",
        bundled=True,
    ),
    Architecture(
        "flower_double",
        functools.partial(PlainNetwork, FLOWER_DOUBLE_LAYERS),
        12,
        AN8FLOWER,
        "five convolutions, strides, trained by us on an8Flower double-12c; weights included",
        "an8flower-double-12c",
        bundled=True,
    ),
)

_FAMILIES: tuple[Iterable[Architecture], ...] = (
    [_VGG_CIFAR10],
    [_imagenet("alexnet", "AlexNet, as in torchvision", AlexNet)],
    (
        _imagenet(name, f"VGG-{name[3:]}", VGG, VGG_BLOCKS[name], batch_norm=False)
        for name in VGG_BLOCKS
    ),
    (
        _imagenet(
            f"{name}_bn", f"VGG-{name[3:]} with batch norm", VGG, VGG_BLOCKS[name], batch_norm=True
        )
        for name in VGG_BLOCKS
    ),
    (_imagenet(name, _RESNET_SUMMARIES[name], ResNet, plan) for name, plan in RESNETS.items()),
    [Architecture("vgg_f", VGGF, 1000, VGG_F, "VGG-F (CNN-F), as in MatConvNet")],
    (
        Architecture(
            f"cifar_resnet{depth}",
            functools.partial(CifarResNet, depth),
            10,
            CIFAR_RESNET,
            f"ResNet-{depth} for CIFAR-10, shortcuts without parameters",
            "cifar10",
        )
        for depth in CIFAR_RESNET_DEPTHS
    ),
    [Architecture("mnist", MnistNetwork, 10, MNIST, "FSAGN's small network for MNIST", "mnist")],
    _PLAIN,
)

ARCHITECTURES: dict[str, Architecture] = {one.name: one for family in _FAMILIES for one in family}
"""Every network that `jaxinterp.load` knows."""


def find_architecture(name: str) -> Architecture:
    """The architecture called `name`.

    Raises:
      UserError: unknown; the nearest names are offered.
    """
    if name not in ARCHITECTURES:
        raise UserError(nearest(name, ARCHITECTURES, kind="model"))
    return ARCHITECTURES[name]
