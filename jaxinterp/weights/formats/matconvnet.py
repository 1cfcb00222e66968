"""Networks that MatConvNet stores in MATLAB's files, such as `imagenet-vgg-f.mat`.

`layers` is a cell of structs: a convolution has a name, and its kernels [h, w, in, out] and biases
in `weights`, or in `filters` and `biases` before 2015. A dense layer is a convolution whose kernel
covers its whole input. The mean image lies in `meta.normalization`, formerly in `normalization`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.mat_file import read_mat
from jaxinterp.weights.formats.unreadable import Unreadable, quoted

__all__ = ["read_matconvnet"]


def read_matconvnet(
    content: np.ndarray, allowance: Allowance
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Parameters by name, and the mean image.

    Convolutions keep [h, w, in, out]. Layers that are called fc... are dense: theirs become
    [h * w * in, out]. Biases are [out].

    Args:
      content: of the file, uint8 [n].
      allowance: what the arrays are taken from.

    Returns:
      `conv1.weight`, `conv1.bias`, ...; what the network subtracts from RGB in [0, 1], float32
      [h, w, 3] or, the same for all pixels, [1, 1, 3]; None if the file does not say.

    Raises:
      Unreadable: damaged, no network of MatConvNet's simple kind, or one with other parameters
        than those of convolutions.
    """
    variables = read_mat(content, allowance)
    layers = variables.get("layers")
    if "params" in variables or "net" in variables:
        raise Unreadable(
            "holds a network of MatConvNet's DagNN kind, or one inside a variable `net`: only "
            "networks with `layers` of their own are read, such as imagenet-vgg-f.mat"
        )
    if not isinstance(layers, list) or not layers:
        raise Unreadable(
            f"is a MATLAB file without a network: it has no cell `layers`, only "
            f"{', '.join(quoted(name, 40) for name in list(variables)[:6]) or 'nothing'}"
        )
    arrays: dict[str, np.ndarray] = {}
    for number, cell in enumerate(layers):
        layer = _only(cell)
        name = layer.get("name")
        if not isinstance(name, str):
            name = f"layer {number}"
        kernel, bias = _weights(layer, name, allowance)
        if kernel is None:
            continue
        if f"{name}.weight" in arrays:
            raise Unreadable(f"has two layers that are called {quoted(name)}")
        arrays[f"{name}.weight"] = kernel
        if bias is not None:
            arrays[f"{name}.bias"] = bias
    if not arrays:
        raise Unreadable("is a MATLAB file whose `layers` have no weights")
    return arrays, _mean_image(variables)


def _only(value: Any) -> dict[str, Any]:
    """The struct that a value is; an empty one for anything else."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        return value[0]
    return value if isinstance(value, dict) else {}


def _weights(
    layer: dict[str, Any], name: str, allowance: Allowance
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Kernels and biases of a layer, None where it has none."""
    weights = layer.get("weights")
    if weights is None:
        weights = [layer.get("filters"), layer.get("biases")]
    if isinstance(weights, np.ndarray):
        weights = [weights]
    if not isinstance(weights, list) or all(_is_empty(value) for value in weights):
        return None, None
    kind = layer.get("type")
    if not isinstance(kind, str) or kind != "conv" or len(weights) > 2:
        raise Unreadable(
            f"has weights in the layer {quoted(name)} of type {quoted(kind)}: only "
            "those of convolutions are read"
        )
    kernel, bias = [*weights, None][:2]
    if not isinstance(kernel, np.ndarray) or kernel.ndim > 4 or not kernel.size:
        raise Unreadable(f"has a layer {quoted(name)} whose kernels are no array [h, w, in, out]")
    # MATLAB drops lengths of 1 at the end.
    kernel = kernel.reshape(kernel.shape + (1,) * (4 - kernel.ndim), order="F")
    if name.startswith("fc"):
        # [h, w, in, out] in Fortran's order; the rows of the result count h slowest.
        allowance.take(kernel.nbytes, name)
        kernel = kernel.reshape(-1, kernel.shape[-1])
        kernel.flags.writeable = False
    if _is_empty(bias):
        return kernel, None
    if not isinstance(bias, np.ndarray) or bias.size != kernel.shape[-1]:
        raise Unreadable(f"has a layer {quoted(name)} whose biases do not fit its kernels")
    return kernel, bias.reshape(-1)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, np.ndarray) and not value.size)


def _mean_image(variables: dict[str, Any]) -> np.ndarray | None:
    settings = _only(_only(variables.get("meta")).get("normalization"))
    settings = settings or _only(variables.get("normalization"))
    mean = settings.get("averageImage")
    if mean is None or _is_empty(mean):
        return None
    if isinstance(mean, np.ndarray) and mean.size == 3:
        mean = mean.reshape(1, 1, 3)
    if not isinstance(mean, np.ndarray) or mean.ndim != 3 or mean.shape[2] != 3:
        raise Unreadable("has an `averageImage` that is neither an RGB image nor a colour")
    mean = np.ascontiguousarray(mean, np.float32) / np.float32(255)
    mean.flags.writeable = False
    return mean
