"""What the layers of a network are, and where in the image their units look.

Along one axis, unit u of a layer sees no other pixels than those from `u * stride - padding` to
`u * stride - padding + receptive_field - 1` (those outside the image are padding).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from jaxinterp.errors import UserError, nearest

__all__ = ["Layer", "LayerTable", "PerAxis"]


PerAxis: TypeAlias = int | tuple[int, ...]
"""A number of pixels; where the axes of the image differ, one each: (vertical, horizontal)."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One row of the layer table.

    Attributes:
      name: the tap, such as `relu4_3`.
      alias: PyTorch's module path, such as `features.22`; empty if there is none.
      kind: conv, batch_norm, relu, max_pool, average_pool, dense, ...; see `describe`.
      channels: how many kernels (or dense units); 0 if the value has no axis for them.
      stride: pixels between neighbouring units; None if the value is no set of feature maps.
      receptive_field: pixels that a unit sees, along one axis; None if it sees the whole image, or
        if what it sees cannot be told.
      padding: pixels by which the first unit's receptive field reaches over the image's edge;
        negative if it begins inside; None with the receptive field.
      channel_axis: of the tapped value; -1 for all networks built here.
      more_aliases: further names.
    """

    name: str
    alias: str
    kind: str
    channels: int
    stride: PerAxis | None
    receptive_field: PerAxis | None
    padding: PerAxis | None
    channel_axis: int = -1
    more_aliases: tuple[str, ...] = ()

    @property
    def is_map(self) -> bool:
        """Whether the value is a set of feature maps, not a vector."""
        return self.stride is not None


class LayerTable(Sequence[Layer]):
    """The layers in the order of evaluation; found by name or alias."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)
        self._by_name = {
            alias: layer
            for layer in layers
            for alias in (layer.alias, *layer.more_aliases)
            if alias
        }
        # A module followed by its activation keeps its own alias, so names win where both exist.
        self._by_name |= {layer.name: layer for layer in layers}

    def __getitem__(self, index):  # type: ignore[override]
        return self._layers[index]

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def find(self, name: str) -> Layer:
        """The layer with this name or alias.

        Raises:
          UserError: unknown; the nearest names are offered.
        """
        if name not in self._by_name:
            raise UserError(nearest(name, self._by_name, kind="layer"))
        return self._by_name[name]
