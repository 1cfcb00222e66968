"""The list of networks, and the layers of one."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from jaxinterp.console.tables import print_whole

__all__ = ["print_layers", "print_models"]


def print_models() -> None:
    """A line for every network."""
    from jaxinterp.models.registry import ARCHITECTURES

    table = Table(show_edge=False)
    for column in ("name", "input", "classes", ""):
        table.add_column(column)
    for architecture in ARCHITECTURES.values():
        side = architecture.preprocess.size
        table.add_row(
            architecture.name, f"{side} px", str(architecture.classes), architecture.summary
        )
    print_whole(Console(highlight=False, markup=False), table)


def print_layers(name: str) -> None:
    """The layer table of one network.

    Raises:
      UserError: an unknown name.
    """
    from jaxinterp.models.describe import describe_classifier
    from jaxinterp.models.registry import find_architecture

    architecture = find_architecture(name)
    table = Table(
        title=architecture.summary,
        title_justify="left",
        show_edge=False,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # narrow: VGG fits 80 columns, ResNets 82
    )
    columns = ("layer", "alias", "kind", "kernels", "stride", "receptive\nfield", "padding")
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:3] else "right")
    for layer in describe_classifier(architecture.blueprint(), architecture.preprocess):
        table.add_row(
            layer.name,
            layer.alias,
            layer.kind,
            str(layer.channels),
            *(
                "-" if v is None else str(v)
                for v in (layer.stride, layer.receptive_field, layer.padding)
            ),
        )
    print_whole(Console(highlight=False, markup=False), table)
