"""A run folder: what was asked, what is done, and the results.

    config.toml       the resolved config
    manifest.json     versions, weights' sha256, devices, images, the kernels chosen
    journal/N.jsonl   finished jobs of process N, a line each; only ever appended to
    jobs.parquet      the journals as a table, written when a run ends
    images.zarr       optimised inputs, RGB or grey, float32 [jobs, h, w, c], a chunk a job
    traces.zarr       loss and its terms at every step, float32 [jobs, steps, terms], likewise
    index.html        the report; figures/ its PNG files

A job counts as finished once its line is in a journal, which is after its arrays are written. A
line cut off by a crash is passed over, and its job is done again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorstore as ts

from jaxinterp.config import build, read_toml, to_dict, to_toml
from jaxinterp.errors import UserError

__all__ = ["RunFolder", "write_atomically"]

_FREE_KEYS = ("output", "title", "report", "figures")
"""Keys that change nothing in the results, so that they may differ when a run is resumed."""


class RunKeys(Protocol):
    """A run's config, of whatever method: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def output(self) -> str: ...
    @property
    def method(self) -> str: ...


class PlannedJob(Protocol):
    """A job as the store knows it: its place in the arrays and its content hash."""

    @property
    def index(self) -> int: ...
    @property
    def id(self) -> str: ...


_WITHOUT_RESULTS = frozenset(("config.toml", ".config.toml.partial", "journal"))
"""What a folder holds before its manifest is written."""


def write_atomically(path: Path, content: bytes | str) -> None:
    """Writes a file so that readers see the old content or the new, never a part."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


class RunFolder:
    """Opens a run folder, or makes a new one."""

    def __init__(self, config: RunKeys, *, process: int = 0) -> None:
        """Claims `config.output` for this config.

        Raises:
          UserError: the folder cannot be written, holds something else, or holds a run of another
            config; the sentence shows the difference.
        """
        self.path = Path(os.path.expanduser(config.output))
        self._process = process
        recorded = self.path / "config.toml"
        try:
            if (self.path / "manifest.json").exists():
                _compare(recorded, config)
            # A run that was refused after its folder was made (a kernel out of range) has no
            # manifest and no results: the corrected config takes its place.
            elif self.path.exists() and {p.name for p in self.path.iterdir()} - _WITHOUT_RESULTS:
                raise UserError(
                    f"{self.path} is not empty and no run folder: give another `output`."
                )
            (self.path / "journal").mkdir(parents=True, exist_ok=True)
            write_atomically(recorded, to_toml(config))
        except OSError as error:
            raise UserError(
                f"The run folder {self.path} cannot be written: {error.strerror or error}."
            ) from None

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest as it was recorded, or None in a new folder.

        Raises:
          UserError: if the file is damaged.
        """
        path = self.path / "manifest.json"
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged: {error}.") from None

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Records the manifest."""
        text = json.dumps(manifest, indent=2, ensure_ascii=False)
        write_atomically(self.path / "manifest.json", text + "\n")

    def open_arrays(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, ts.TensorStore]:
        """Opens or makes float32 arrays `NAME.zarr` with a chunk per job.

        Args:
          shapes: of each array, the first axis being the jobs.

        Raises:
          UserError: an array of another shape is there.
        """
        opened = {}
        for name, shape in shapes.items():
            spec = {
                "driver": "zarr3",
                "kvstore": {"driver": "file", "path": str(self.path.absolute() / f"{name}.zarr")},
            }
            try:
                opened[name] = ts.open(
                    spec,
                    open=True,
                    create=True,
                    dtype=ts.float32,
                    shape=list(shape),
                    chunk_layout=ts.ChunkLayout(chunk_shape=[1, *shape[1:]]),
                    fill_value=np.float32("nan"),
                ).result()
            except ValueError as error:
                raise UserError(f"{name}.zarr in {self.path} does not fit: {error}.") from None
        return opened

    def wait_for(self, writes: Iterable[ts.WriteFutures]) -> None:
        """Waits until what was written to the arrays is on disk.

        Raises:
          OSError: as for any other file, such as on a full disk.
        """
        for write in writes:
            try:
                write.result()
            except ValueError as error:  # TensorStore says it in its own way
                code = re.search(r"os_error_code='(\d+)'", str(error))
                if code is None:
                    raise
                number = int(code[1])
                raise OSError(number, os.strerror(number), str(self.path)) from None

    def finished(
        self, jobs: Sequence[PlannedJob], arrays: Mapping[str, ts.TensorStore]
    ) -> dict[int, dict[str, Any]]:
        """Records of finished jobs by their index.

        Passed over are damaged lines, and jobs whose image is gone (a folder copied in part).
        """
        stored = {
            int(key.split(b"/")[1])
            for key in arrays["images"].kvstore.list().result()  # type: ignore[union-attr]
            if key.startswith(b"c/")
        }
        # By index and id: two images with equal pixels give jobs with equal ids.
        expected = {(job.index, job.id): job for job in jobs if job.index in stored}
        records = {}
        for line in self._lines():
            try:
                record = json.loads(line)
                job = expected.get((record["index"], record["id"]))
            except (ValueError, TypeError, KeyError):
                continue
            if job is not None:
                records[job.index] = record
        return records

    def _lines(self) -> Iterator[str]:
        for path in sorted((self.path / "journal").glob("*.jsonl")):
            with path.open(encoding="utf-8", errors="replace") as journal:
                yield from journal

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Appends finished jobs to this process's journal and waits until they are on disk."""
        path = self.path / "journal" / f"{self._process}.jsonl"
        # A crash may have left a line without an end: the next one must not be glued to it.
        with path.open("a+b") as journal:
            if journal.tell():
                journal.seek(-1, os.SEEK_END)
                if journal.read() != b"\n":
                    journal.write(b"\n")
            for record in records:
                journal.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            journal.flush()
            os.fsync(journal.fileno())

    def compact(self, records: Mapping[int, Mapping[str, Any]]) -> Path:
        """Writes all finished jobs as `jobs.parquet`, in the order of the plan."""
        path = self.path / "jobs.parquet"
        partial = path.with_name(".jobs.parquet.partial")
        rows = [records[index] for index in sorted(records)]
        pq.write_table(pa.Table.from_pylist(rows), partial)
        os.replace(partial, path)
        return path


def _compare(recorded: Path, config: RunKeys) -> None:
    """Refuses a config that would give other results than the recorded one."""
    content = read_toml(recorded)
    if content.get("method") != config.method:
        raise UserError(
            f"{recorded.parent} holds a run of another method ({content.get('method')!r} there, "
            f"{config.method!r} here): give another `output`."
        )
    old = _flatten(to_dict(build(type(config), content)))
    new = _flatten(to_dict(config))
    differences = [
        f"{key} is {old.get(key, 'absent')!r} there and {new.get(key, 'absent')!r} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key.split(".")[0] not in _FREE_KEYS
    ]
    if differences:
        raise UserError(
            f"{recorded.parent} holds a run with another config ({'; '.join(differences)}): "
            "give another `output`, or the recorded config."
        )


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
