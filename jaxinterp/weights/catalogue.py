"""The published weights of the networks: where they are, and how to recognise them.

Addresses, sizes and accuracies as stated by
- torchvision, `torchvision/models/{alexnet,vgg,resnet}.py`, the `IMAGENET1K_V1` weights; a file's
  name ends in the first eight digits of its sha256;
- Idelbayev's CIFAR ResNets, https://github.com/akamaster/pytorch_resnet_cifar10, named likewise;
- MatConvNet, https://www.vlfeat.org/matconvnet/pretrained/, which publishes MD5 sums.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from jaxinterp.errors import UserError
from jaxinterp.weights.cache_folder import fetched_folder
from jaxinterp.weights.checksum import Checksum

__all__ = ["PUBLISHED", "Published", "default_weights"]

MIRROR = "JAXINTERP_WEIGHTS_URL"
"""The environment variable that names a mirror: a folder with all files side by side."""


@dataclasses.dataclass(frozen=True)
class Published:
    """A file of weights that its authors publish.

    Attributes:
      url: its address.
      checksum: of the whole file.
      mebibytes: its size in 2^20 bytes, if stated.
      top1: accuracy in percent on the test images of its data set (centre crop), as stated.
      source: who publishes it.
      licence: as they state it.
    """

    url: str
    checksum: Checksum
    mebibytes: float | None
    top1: float | None
    source: str
    licence: str

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[1]

    @property
    def address(self) -> str:
        """Where to fetch it from: `url`, or the same file below `JAXINTERP_WEIGHTS_URL`."""
        mirror = os.environ.get(MIRROR, "").strip()
        return f"{mirror.rstrip('/')}/{self.file_name}" if mirror else self.url

    @property
    def path(self) -> Path:
        """Where the fetched file lies in the cache folder, whether it is there or not."""
        return fetched_folder() / self.file_name


def _torchvision(file: str, size: float, top1: float) -> Published:
    checksum = Checksum("sha256", file.rpartition("-")[2])
    url = f"https://download.pytorch.org/models/{file}.pth"
    return Published(url, checksum, size, top1, "torchvision", "BSD-3-Clause")


def _cifar_resnet(file: str, size: float | None, top1: float) -> Published:
    checksum = Checksum("sha256", file.rpartition("-")[2])
    folder = "akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models"
    url = f"https://github.com/{folder}/{file}.th"
    return Published(url, checksum, size, top1, "Idelbayev", "BSD-2-Clause")


PUBLISHED: dict[str, Published] = {
    "alexnet": _torchvision("alexnet-owt-7be5be79", 233.087, 56.522),
    "vgg11": _torchvision("vgg11-8a719046", 506.84, 69.020),
    "vgg13": _torchvision("vgg13-19584684", 507.545, 69.928),
    "vgg16": _torchvision("vgg16-397923af", 527.796, 71.592),
    "vgg19": _torchvision("vgg19-dcbb9e9d", 548.051, 72.376),
    "vgg11_bn": _torchvision("vgg11_bn-6002323d", 506.881, 70.370),
    "vgg13_bn": _torchvision("vgg13_bn-abd245e5", 507.59, 71.586),
    "vgg16_bn": _torchvision("vgg16_bn-6c64b313", 527.866, 73.360),
    "vgg19_bn": _torchvision("vgg19_bn-c79401a0", 548.143, 74.218),
    "resnet18": _torchvision("resnet18-f37072fd", 44.661, 69.758),
    "resnet34": _torchvision("resnet34-b627a593", 83.275, 73.314),
    "resnet50": _torchvision("resnet50-0676ba61", 97.781, 76.130),
    "resnet101": _torchvision("resnet101-63fe2227", 170.511, 77.374),
    "resnet152": _torchvision("resnet152-394f9c45", 230.434, 78.312),
    "wide_resnet50_2": _torchvision("wide_resnet50_2-95faca4d", 131.82, 78.468),  # in fp16
    "wide_resnet101_2": _torchvision("wide_resnet101_2-32ee1156", 242.896, 78.848),  # in fp16
    "resnext50_32x4d": _torchvision("resnext50_32x4d-7cdf4587", 95.789, 77.618),
    "resnext101_32x8d": _torchvision("resnext101_32x8d-8ba56ff5", 339.586, 79.312),
    "vgg_f": Published(
        "https://www.vlfeat.org/matconvnet/models/imagenet-vgg-f.mat",
        Checksum("md5", "f666c61dc968c413ef664a7e17b01144"),
        None,
        58.9,
        "MatConvNet",
        "not stated there; elsewhere its authors say non-commercial use only",
    ),
    "cifar_resnet20": _cifar_resnet("resnet20-12fca82f", 1.048, 91.73),
    "cifar_resnet32": _cifar_resnet("resnet32-d509ac18", None, 92.63),
    "cifar_resnet44": _cifar_resnet("resnet44-014dd654", None, 93.10),
    "cifar_resnet56": _cifar_resnet("resnet56-4bfd9763", 3.311, 93.39),
    "cifar_resnet110": _cifar_resnet("resnet110-1d1ed7c2", None, 93.68),
}
"""By the name of the network."""


def default_weights(name: str) -> Path | None:
    """The file that `jaxinterp weights fetch NAME` put into the cache folder, if it is there."""
    if name not in PUBLISHED:
        return None
    try:
        path = PUBLISHED[name].path
    except UserError:  # no cache folder, so nothing is in it
        return None
    return path if path.is_file() else None
