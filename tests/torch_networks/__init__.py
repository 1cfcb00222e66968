"""The networks of the zoo once more, in PyTorch: what the ports are compared with.

Definitions of our own: nothing is taken from jaxinterp, so that a wrong width or stride there has
no twin here. Parameters bear the names of the published checkpoints. Where those networks call a
function or one ReLU module several times, each call is a module of its own here, named as the tap,
so that a hook sees every value; a ReLU has no parameters, so the names in a state dict are the
same.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from torch_networks.alexnet import AlexNet
from torch_networks.cifar_resnet import CIFAR_RESNET_DEPTHS, CifarResNet
from torch_networks.mnist import Mnist
from torch_networks.plain import PLAIN, Plain
from torch_networks.resnet import RESNETS, ResNet
from torch_networks.vgg import VGG, VGG_BLOCKS, VggCifar10
from torch_networks.vgg_f import VggF

__all__ = ["TORCH_NETWORKS", "torch_network"]

Constructor = Callable[[int, int], nn.Module]


def _vgg(blocks: list[list[int]], batch_norm: bool) -> Constructor:
    return lambda classes, thin: VGG(blocks, batch_norm=batch_norm, classes=classes, thin=thin)


def _resnet(name: str) -> Constructor:
    return lambda classes, thin: ResNet(RESNETS[name], classes=classes, thin=thin)


def _cifar_resnet(depth: int) -> Constructor:
    return lambda classes, thin: CifarResNet(depth, classes=classes, thin=thin)


def _plain(name: str) -> Constructor:
    convolutions, pooled, _ = PLAIN[name]
    return lambda classes, thin: Plain(convolutions, pooled, classes=classes, thin=thin)


TORCH_NETWORKS: dict[str, tuple[Constructor, int]] = {
    "alexnet": (lambda classes, thin: AlexNet(classes=classes, thin=thin), 1000),
    **{name: (_vgg(blocks, False), 1000) for name, blocks in VGG_BLOCKS.items()},
    **{f"{name}_bn": (_vgg(blocks, True), 1000) for name, blocks in VGG_BLOCKS.items()},
    **{name: (_resnet(name), 1000) for name in RESNETS},
    "vgg_f": (lambda classes, thin: VggF(classes=classes, thin=thin), 1000),
    **{f"cifar_resnet{depth}": (_cifar_resnet(depth), 10) for depth in CIFAR_RESNET_DEPTHS},
    "vgg_cifar10": (lambda classes, thin: VggCifar10(classes=classes, thin=thin), 10),
    "mnist": (lambda classes, thin: Mnist(classes=classes, thin=thin), 10),
    **{name: (_plain(name), PLAIN[name][2]) for name in PLAIN},
}
"""Every network: (constructor of a class count and a divisor of all widths, published classes)."""


def torch_network(name: str, *, classes: int | None = None, thin: int = 1) -> nn.Module:
    """A network in evaluation mode, its hidden widths divided by `thin`."""
    construct, published = TORCH_NETWORKS[name]
    return construct(published if classes is None else classes, thin).eval()
