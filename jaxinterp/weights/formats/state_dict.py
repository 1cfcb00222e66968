"""Which of the values in a checkpoint are the network's weights.

A checkpoint is a dict of tensors, or a dict that holds one beside an epoch, an accuracy and the
state of an optimiser.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.pickle_names import NumpyArray
from jaxinterp.weights.formats.torch_tensors import Tensor
from jaxinterp.weights.formats.unreadable import Unreadable, quoted

__all__ = ["StateDict", "find_state_dict", "without_prefix"]

_FIRST_CHOICES = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network"),
    *("params", "weights"),
)
"""Keys of weights in public checkpoints. Averages (`model_ema`) are read if nothing else is."""

_WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and a network in a module of one's own put before every name."""

_MOST_WRAPPERS = 4
_LONGEST_TEXT = 200


@dataclasses.dataclass(frozen=True)
class StateDict:
    """Weights by name, without a wrapper's prefix, and short texts about them."""

    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]


def find_state_dict(
    value: Any, read: Callable[[Tensor, str], np.ndarray], allowance: Allowance
) -> StateDict:
    """The weights in what a checkpoint's pickle holds.

    They are the value itself if it is a flat dict of tensors; else the one dict of tensors in it;
    else, of several, the one under the first usual name. Others (`model_ema`) are noted in the
    metadata, as is everything beside the weights that is a number or a short text.

    Args:
      value: what was in the pickle.
      read: gives the array for a tensor and its name.
      allowance: what arrays in the pickle itself are taken from: it may hold one many times.

    Raises:
      Unreadable: there are no named tensors, or several dicts of them under no usual name.
    """
    if type(value) is not dict:
        raise Unreadable("holds no dict of named tensors: in PyTorch, save `model.state_dict()`")
    metadata: dict[str, str] = {}

    def read_any(value: Any, name: str) -> np.ndarray:
        if type(value) is Tensor:
            return read(value, name)
        allowance.take(value.array.nbytes, name)
        return value.array

    weights = _choose(value, metadata)
    if weights is not value:
        _note_scalars(value, read_any, metadata)
    names = [name for name, tensor in weights.items() if _is_tensor(tensor)]
    for name in names:
        if type(name) is not str:
            raise Unreadable(f"has a tensor whose name is no text but {quoted(name)}")
    # Stochastic weight averaging counts its steps beside a wrapped network.
    counters = [name for name in names if name == "n_averaged" and len(names) > 1]
    arrays = {name: read_any(weights[name], name) for name in names if name not in counters}
    _note_scalars({k: v for k, v in weights.items() if k not in arrays}, read_any, metadata)
    return StateDict(without_prefix(arrays), metadata)


def without_prefix(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays without what a wrapper put before all of their names."""
    for _ in range(_MOST_WRAPPERS):
        prefix = next((p for p in _WRAPPERS if all(n.startswith(p) for n in arrays)), "")
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays


def _choose(value: dict[Any, Any], metadata: dict[str, str]) -> dict[Any, Any]:
    """The dict of tensors that holds the weights."""
    found: dict[int, dict[Any, Any] | None] = {}  # a pickle can hold one dict a million times
    inner: dict[Any, dict[Any, Any]] = {}
    for key, part in value.items():
        if type(part) is dict:
            if id(part) not in found:
                found[id(part)] = _weights_in(part)
            weights = found[id(part)]
            if weights is not None:
                inner[key] = weights
    # An accuracy or an epoch may be a tensor, of one number.
    direct = [key for key, part in value.items() if _is_tensor(part) and not _is_scalar(part)]
    chosen = next((key for key in _FIRST_CHOICES if key in inner), None)
    if chosen is None and inner and (direct or len(inner) > 1):
        raise Unreadable(
            f"holds tensors under several names ({_listed([*inner, *direct])}), none of them usual "
            f"for weights ({', '.join(_FIRST_CHOICES)}): in PyTorch, save the weights alone"
        )
    if not inner and not any(_is_tensor(part) for part in value.values()):
        raise Unreadable(
            f"holds no named tensors, only {_listed(value) or 'nothing'}: in PyTorch, save "
            "`model.state_dict()`"
        )
    if not inner:
        return value
    chosen = next(iter(inner)) if chosen is None else chosen
    for key in [*inner, *direct]:
        if key != chosen and type(key) is str and len(key) <= _LONGEST_TEXT:
            metadata[key] = "tensors, not read"
    return inner[chosen]


def _weights_in(part: dict[Any, Any]) -> dict[Any, Any] | None:
    """A dict with named tensors: a part of a checkpoint, or the `state_dict` in it."""
    for weights in (part, part.get("state_dict")):
        if type(weights) is dict and any(_is_tensor(tensor) for tensor in weights.values()):
            return weights
    return None


def _note_scalars(
    values: dict[Any, Any], read: Callable[[Any, str], np.ndarray], metadata: dict[str, str]
) -> None:
    """Puts the numbers and short texts of a checkpoint into its metadata."""
    for key, value in values.items():
        if type(key) is not str or len(key) > _LONGEST_TEXT:
            continue
        if _is_scalar(value):
            value = read(value, key).reshape(()).item()
        if type(value) in (str, bool, int, float):
            text = str(value)
            if len(text) <= _LONGEST_TEXT and text.isprintable():
                metadata[key] = text


def _is_tensor(value: Any) -> bool:
    return type(value) is Tensor or (type(value) is NumpyArray and value.array is not None)


def _is_scalar(value: Any) -> bool:
    if type(value) is Tensor:
        return all(length == 1 for length in value.shape)
    return type(value) is NumpyArray and value.array is not None and value.array.size == 1


def _listed(names: Iterable[Any], most: int = 6) -> str:
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(quoted(name, 40) for name in shown[:most]) + more
