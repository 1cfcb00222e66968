"""What the layers of a network are, and where in the image their units look.

Along one axis, unit u of a layer sees pixels from `u * stride - padding` to
`u * stride - padding + receptive_field - 1` (those outside the image are the zero padding).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from jaxinterp.errors import UserError, nearest

__all__ = ["Layer", "LayerTable"]


@dataclasses.dataclass(frozen=True)
class Layer:
    """One row of the layer table.

    Attributes:
      name: the tap, such as `relu4_3`.
      alias: PyTorch's module path, such as `features.22`; empty if there is none.
      kind: conv, batch_norm, relu, max_pool, average_pool or dense.
      channels: how many kernels (or dense units).
      stride: pixels between neighbouring units.
      receptive_field: pixels that a unit sees, along one axis; None if it sees the whole image.
      padding: pixels by which the first unit's receptive field reaches over the image's edge.
      channel_axis: of the tapped value; -1 for all networks built here.
    """

    name: str
    alias: str
    kind: str
    channels: int
    stride: int | None
    receptive_field: int | None
    padding: int | None
    channel_axis: int = -1

    @property
    def is_map(self) -> bool:
        """Whether the value is a set of feature maps, not a vector."""
        return self.receptive_field is not None


class LayerTable(Sequence[Layer]):
    """The layers in the order of evaluation; found by name or alias."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)
        self._by_name = {layer.alias: layer for layer in layers if layer.alias}
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
