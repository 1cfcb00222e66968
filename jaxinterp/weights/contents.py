"""What a weights file holds, whichever format it came in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

__all__ = ["Format", "WeightsContents"]

Format = Literal["safetensors", "torch zip", "torch legacy", "matconvnet", "npz"]


@dataclasses.dataclass(frozen=True)
class WeightsContents:
    """The arrays of a weights file, not yet fitted to a network.

    Attributes:
      path: the file.
      format: of the file, found by its content.
      layout: `torch` (convolutions [out, in, h, w], dense [out, in]) or `hwio` (convolutions
        [h, w, in, out], dense [in, out], inputs of a flattening in the order h, w, c).
      arrays: by PyTorch's parameter names, without a leading `module.`; dtypes as stored; may be
        read-only views of the mapped file.
      metadata: short texts that the file holds beside its arrays, such as `best_prec1`.
      mean_image: what the network subtracts from RGB in [0, 1], float32 [h, w, 3], if the file
        says so (MatConvNet).
    """

    path: Path
    format: Format
    layout: Literal["torch", "hwio"]
    arrays: Mapping[str, np.ndarray]
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mean_image: np.ndarray | None = None
