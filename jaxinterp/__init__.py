"""Ask what the convolutional kernels of a trained network respond to.

    import jaxinterp

    network = jaxinterp.load("vgg_cifar10")
    result = jaxinterp.interpret(network, images, "relu3_3", kernels=[3, 17])

The rooms of the library (`jaxinterp.transform`, `.losses`, `.metrics`, `.optimize`, ...) are
imported by name; the names above load on first use, so that `import jaxinterp` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jaxinterp.data.images import ImagesConfig as ImagesConfig, load_images as load_images
    from jaxinterp.errors import UserError as UserError
    from jaxinterp.methods.suppression import (
        Suppression as Suppression,
        SuppressionSettings as SuppressionSettings,
        interpret as interpret,
    )
    from jaxinterp.models.describe import describe as describe
    from jaxinterp.models.folding import fold_batch_norm as fold_batch_norm
    from jaxinterp.models.network import Network as Network
    from jaxinterp.transform import capture as capture, edit as edit, tap as tap
    from jaxinterp.weights.load import load as load

_HOMES = {
    "ImagesConfig": "jaxinterp.data.images",
    "Network": "jaxinterp.models.network",
    "Suppression": "jaxinterp.methods.suppression",
    "SuppressionSettings": "jaxinterp.methods.suppression",
    "UserError": "jaxinterp.errors",
    "capture": "jaxinterp.transform",
    "describe": "jaxinterp.models.describe",
    "edit": "jaxinterp.transform",
    "fold_batch_norm": "jaxinterp.models.folding",
    "interpret": "jaxinterp.methods.suppression",
    "load": "jaxinterp.weights.load",
    "load_images": "jaxinterp.data.images",
    "tap": "jaxinterp.transform",
}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxinterp' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
