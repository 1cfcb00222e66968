"""Putting a file's arrays in the places of a network's parameters, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.weights.formats.unreadable import printable
from jaxinterp.weights.layout import to_torch_shape

__all__ = ["merge", "parameters_of"]


def parameters_of(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All but PyTorch's counters `num_batches_tracked`, which evaluation does not need."""
    return {k: v for k, v in found.items() if not k.endswith("num_batches_tracked")}


def merge(
    wanted: Mapping[str, jax.ShapeDtypeStruct],
    found: Mapping[str, np.ndarray],
    *,
    source: str | Path,
    layout: Literal["torch", "hwio"] = "hwio",
) -> dict[str, np.ndarray]:
    """The arrays of `found` for every name of `wanted`.

    PyTorch's counters `num_batches_tracked` are passed over.

    Args:
      wanted: shapes by name, in our layout.
      found: arrays by name, in our layout.
      source: the file, for the message.
      layout: of the file; the message has shapes as they are there.

    Raises:
      UserError: all missing, unexpected, mis-shaped and integer parameters, in one message.
    """
    found = parameters_of(found)
    problems = []
    missing = [name for name in wanted if name not in found]
    if missing:
        problems.append(f"missing {_listed(missing)}")
    unexpected = [name for name in found if name not in wanted]
    if unexpected:
        problems.append(f"unexpected {_listed(unexpected)}")
    shown = to_torch_shape if layout == "torch" else tuple
    misshaped = [
        f"{name} {shown(found[name].shape)} instead of {shown(leaf.shape)}"
        for name, leaf in wanted.items()
        if name in found and found[name].shape != leaf.shape
    ]
    if misshaped:
        problems.append(f"mis-shaped {_listed(misshaped)}")
    mistyped = [
        f"{name} {found[name].dtype}"
        for name in wanted
        if name in found and not jnp.issubdtype(found[name].dtype, jnp.floating)
    ]
    if mistyped:
        problems.append(f"not floating-point {_listed(mistyped)}")
    if problems:
        raise UserError(f"The weights in {source} do not fit the network: {'; '.join(problems)}.")
    return {name: found[name] for name in wanted}


def _listed(names: list[str], most: int = 6) -> str:
    # They come out of a file: as text for a terminal they could do anything.
    names = [printable(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} ({', '.join(names[:most])}{more})"
