"""Weights in a terminal: their list, a download's progress, what was converted or verified."""

from __future__ import annotations

import math
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from jaxinterp.console.tables import print_whole
from jaxinterp.errors import UserError
from jaxinterp.weights.download import DownloadListener

if TYPE_CHECKING:
    from jaxinterp.weights.verify import Verification

__all__ = [
    "FetchConsole",
    "convert_file",
    "fetch_and_convert",
    "print_verification",
    "print_weights",
]

_BETWEEN_LINES = 2.0  # seconds


def print_weights() -> None:
    """A line for every network: parameters, published accuracy, and what is on this machine."""
    from jaxinterp.models.registry import ARCHITECTURES
    from jaxinterp.weights.cache import count_conversions
    from jaxinterp.weights.cache_folder import cache_folder
    from jaxinterp.weights.catalogue import PUBLISHED

    table = Table(show_edge=False, pad_edge=False)  # narrow: it fits 80 columns
    for column in ("name", "parameters", "top-1", "MiB", "file", "cached", "source"):
        right = column in ("parameters", "top-1", "MiB", "cached")
        table.add_column(column, justify="right" if right else "left")
    conversions = count_conversions()
    for name, architecture in ARCHITECTURES.items():
        published = PUBLISHED.get(name)
        top1 = published.top1 if published else None
        size = published.mebibytes if published else None
        source = published.source if published else ""
        table.add_row(
            name,
            f"{_parameters(name) / 1e6:.2f} M",
            "-" if top1 is None else f"{top1:.2f}",
            "-" if size is None else f"{size:.1f}",
            "bundled" if architecture.bundled else _presence(published and published.path),
            str(conversions.get(name, "-")),
            source,
        )
    console = Console(highlight=False, markup=False)
    print_whole(console, table)
    console.print(
        "top-1 in percent on the test images of ImageNet or CIFAR-10, as published", soft_wrap=True
    )
    console.print(f"cache folder: {cache_folder()}", soft_wrap=True)


def _parameters(name: str) -> int:
    """Trainable numbers of a network at its published class count; nothing is computed."""
    from jaxinterp.models.registry import find_architecture

    blueprint = find_architecture(name).blueprint()
    return sum(
        math.prod(leaf.shape)
        for key, leaf in blueprint.shapes.items()
        if key not in blueprint.statistics
    )


def _presence(path: Path | None) -> str:
    if path is None:
        return "-"
    partial = path.with_name(path.name + ".partial")
    if path.is_file():
        return "fetched"
    return f"{partial.stat().st_size / 2**20:.1f} MiB of it" if partial.is_file() else "-"


class FetchConsole(DownloadListener):
    """Shows a download: a bar with rate and time left; without a terminal, at most ten lines."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._console = Console(highlight=False, markup=False)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task(name, total=None, start=False)
        self._total: int | None = None
        self._tenths = self._resumed = 0
        self._begun = self._shown = time.perf_counter()

    def __enter__(self) -> FetchConsole:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        self._console.print(f"{self._name}: {text}", soft_wrap=True)

    def started(self, url: str, total: int | None, resumed: int) -> None:
        size = "" if total is None else f", {total / 2**20:.1f} MiB"
        here = f", {resumed / 2**20:.1f} MiB of it are here" if resumed else ""
        self.note(f"{url}{size}{here}")
        self._total, self._tenths = total, 0 if not total else 10 * resumed // total
        self._resumed, self._begun = resumed, time.perf_counter()
        self._progress.start_task(self._task)
        self._progress.update(self._task, total=total, completed=resumed)

    def advanced(self, received: int) -> None:
        self._progress.update(self._task, completed=received)
        if not self._total or self._console.is_terminal:
            return
        now, tenths = time.perf_counter(), 10 * received // self._total
        if tenths > self._tenths and now > self._shown + _BETWEEN_LINES:
            self._tenths, self._shown = tenths, now
            rate = (received - self._resumed) / (now - self._begun) / 2**20
            self.note(f"{received / self._total:.0%}, {rate:.1f} MiB/s")


def fetch_and_convert(name: str) -> None:
    """Fetches the published weights of a network, unless they are here, and converts them.

    Raises:
      UserError: as by `fetch` and `converted_weights`.
    """
    from jaxinterp.weights.cache import converted_weights
    from jaxinterp.weights.catalogue import PUBLISHED, default_weights
    from jaxinterp.weights.fetch import fetch

    console = Console(highlight=False, markup=False)
    here = default_weights(name) is not None
    begun = time.perf_counter()
    with FetchConsole(name) as listener:
        path = fetch(name, listener=listener)
    seconds = time.perf_counter() - begun
    how = "is here already" if here else f"fetched and verified in {_duration(seconds)}"
    licence = f"{PUBLISHED[name].source}, licence {PUBLISHED[name].licence}"
    console.print(f"{name}: {how}: {path} ({licence})", soft_wrap=True)
    begun = time.perf_counter()
    converted = converted_weights(path, name)
    if not converted.from_cache:
        seconds = time.perf_counter() - begun
        console.print(f"{name}: converted in {_duration(seconds)}", soft_wrap=True)
    for text in converted.warnings:
        warnings.warn(text, stacklevel=2)


def convert_file(file: str, model: str, *, classes: int | None, output: str | None) -> None:
    """Fits a file to a network, keeps the result, and writes it as safetensors if asked to.

    Raises:
      UserError: a file that cannot be read or does not fit, an output that would replace it.
    """
    import numpy as np

    from jaxinterp.models.registry import find_architecture
    from jaxinterp.weights.cache import converted_weights
    from jaxinterp.weights.formats.safetensors_file import write_safetensors
    from jaxinterp.weights.layout import to_torch_layout

    console = Console(highlight=False, markup=False)
    if output is not None:
        output = os.path.expanduser(output)
        _check_output(output, file)
    begun = time.perf_counter()
    converted = converted_weights(file, model, classes)
    seconds = time.perf_counter() - begun
    how = "were converted before" if converted.from_cache else f"converted in {_duration(seconds)}"
    millions = sum(value.size for value in converted.params.values()) / 1e6
    console.print(
        f"{file} fits {model}: {len(converted.params)} arrays, {millions:.2f} M numbers, {how}",
        soft_wrap=True,
    )
    for text in converted.warnings:
        warnings.warn(text, stacklevel=2)
    if output is None:
        return
    flattened = find_architecture(model).blueprint(classes).module.flattened
    arrays = to_torch_layout(converted.params, flattened=flattened)
    metadata = {"model": model, "sha256_of_origin": converted.sha256}
    write_safetensors(output, arrays, dtype=np.float32, metadata=metadata)
    console.print(f"written: {output}", soft_wrap=True)
    if converted.preprocess.mean_image is not None:
        console.print("its mean image is not in that file: the mean colour stands for it")


def _check_output(output: str, file: str) -> None:
    """Before a conversion that would be lost."""
    file = os.path.expanduser(file)
    if os.path.exists(file) and os.path.exists(output) and os.path.samefile(file, output):
        raise UserError(f"{output} is the file itself: give another --output.")
    if os.path.isdir(output):
        raise UserError(f"{output} is a folder: give --output a file name.")
    if Path(output).suffix.lower() != ".safetensors":
        raise UserError(f"The output file ends in .safetensors, not {output!r}.")


def print_verification(found: Verification) -> None:
    """What a weights file is, a line for each fact."""
    from jaxinterp.weights.formats.unreadable import printable

    console = Console(highlight=False, markup=False)

    def show(name: str, text: str) -> None:
        console.print(f"{name + ':':12}{text}", soft_wrap=True)

    dtypes = ", ".join(f"{dtype} ({count})" for dtype, count in found.dtypes.items())
    show("file", str(found.path))
    show("format", found.format)
    show("holds", f"{found.tensors} arrays, {found.parameters:,} parameters; {dtypes or 'nothing'}")
    for name, text in found.metadata.items():
        first = text.strip().partition("\n")[0]
        shown = f"{printable(name, 60)} = {printable(first, 60)}"
        show("says", shown + (" ..." if first[:60] != text else ""))
    show("sha256", found.sha256)
    show("origin", f"the published file of {found.published}" if found.published else "not known")
    if found.not_finite:
        layers = ", ".join(f"{layer} ({count})" for layer, count in found.not_finite.items())
        show("not finite", f"NaN or infinite values in {layers}")
    if found.negative_variances:
        show("negative", f"variances in {', '.join(found.negative_variances)}")
    if found.fits:
        fits = ", ".join(f"{name} with {count} classes" for name, count in found.fits.items())
        show("fits", fits)
        return
    show("fits", f"not {found.tried}" if found.tried else "no network")
    if found.nearest:
        show("nearest", found.nearest)
    if found.differences:
        console.print(found.differences, soft_wrap=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
