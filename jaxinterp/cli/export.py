"""`jaxinterp export`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro

from jaxinterp.cli.arguments import Debug, loading, optional

__all__ = ["Export"]


@dataclasses.dataclass(frozen=True)
class Export:
    """Writes a run's results for other programs: a table, and arrays in NumPy's formats.

    Example: jaxinterp export runs/demo out (makes out/jobs.csv, out/images.npy, out/traces.npy)

    Example: jaxinterp export runs/demo out.npz --format npz --layer relu3_3 --kernel 0-7,12
    """

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run folder, or its address in an object store."""
    output: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """The folder to make (for npz the file); it must not be there."""
    format: Literal["csv", "parquet", "npz"] = "csv"
    """csv and parquet make a folder: the table, an .npy file for each array. npz makes a file."""
    layer: Annotated[
        tuple[str, ...],
        optional("NAME", help="Only this layer; may be repeated."),
        tyro.conf.UseAppendAction,
    ] = ()
    kernel: Annotated[str | None, optional("LIST")] = None
    """Only these kernels, such as 3 or 0-7,12."""
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.console.folders import FolderProgress, print_exported
            from jaxinterp.sweep.export import export_run

        with FolderProgress("export") as progress:
            exported = export_run(
                self.run,
                self.output,
                format=self.format,
                layers=self.layer,
                kernels=self.kernel,
                progress=progress,
            )
        print_exported(exported)
