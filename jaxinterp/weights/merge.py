"""Putting a file's arrays in the places of a network's parameters, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp.errors import UserError

__all__ = ["merge", "parameters_of"]


def parameters_of(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All but PyTorch's counters `num_batches_tracked`, which evaluation does not need."""
    return {k: v for k, v in found.items() if not k.endswith("num_batches_tracked")}


def merge(
    wanted: Mapping[str, jax.ShapeDtypeStruct],
    found: Mapping[str, np.ndarray],
    *,
    source: str | Path,
) -> dict[str, np.ndarray]:
    """The arrays of `found` for every name of `wanted`.

    PyTorch's counters `num_batches_tracked` are passed over.

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
    misshaped = [
        f"{name} {found[name].shape} instead of {leaf.shape}"
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
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} ({', '.join(names[:most])}{more})"
