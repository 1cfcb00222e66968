"""A run folder: what was asked, what is done, and the results.

    config.toml        the resolved config
    manifest.json      format, versions, weights' sha256, devices, images, the kernels chosen
    arrays.json        names, shapes and types of the arrays
    journal/P.jsonl    finished jobs of process P, a line each; only ever appended to
    images.zarr        optimised inputs, RGB or grey, [jobs, h, w, c], a chunk a job
    traces.zarr        loss and its terms at every step, float32 [jobs, steps, terms], likewise
    locks/P.lock       held by process P while it works
    jobs.parquet       the journals as a table, written when a run ends
    index.html         the report; figures/ its PNG files

A job counts as finished once its line is in a journal, which is after its arrays are written. A
line cut off by a crash is passed over, and its job is done again. In an object store the journals
are objects (see `folder.journal`) and there are no locks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol

from jaxinterp.config import build, to_dict, to_toml
from jaxinterp.errors import UserError, nearest
from jaxinterp.sweep.folder.arrays import ArraySpec
from jaxinterp.sweep.folder.locks import LiveProcess, ProcessLock, guard, live_processes
from jaxinterp.sweep.folder.place import Place, find_place, write_atomically
from jaxinterp.sweep.folder.results import PlannedJob, Results
from jaxinterp.sweep.folder.table import write_parquet

__all__ = [
    "FORMAT",
    "ArraySpec",
    "Results",
    "RunFolder",
    "config_differences",
    "write_atomically",
]

FORMAT = 2
"""Of the run folder; 1 had no checksums."""

_FREE_KEYS = ("output", "title", "report", "figures", "lanes", "devices", "store")
"""Keys that change nothing in the results but their last digits, and may differ on resumption."""

_SAME = {"model": "network", "weights_sha256": "weights", "images": "images"}
"""What processes that begin a run together must have in common."""


class RunKeys(Protocol):
    """A run's config, of whatever method: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def output(self) -> str: ...
    @property
    def method(self) -> str: ...


class RunFolder:
    """A run folder, open for one process; a context manager that lets it go.

    Attributes:
      place: where it lies.
      process: the number of this process.
      processes: how many work on the folder.
    """

    def __init__(self, config: RunKeys, *, process: int = 0, processes: int = 1) -> None:
        """Claims `config.output` for this config and this process.

        The first to come records the config; others compare theirs with it.

        Raises:
          UserError: the folder cannot be written, holds something else or a run of another config
            (the sentence shows the difference), or another process has the same number.
        """
        if not 0 <= process < processes:
            raise ValueError(f"process {process} of {processes}")
        self.place: Place = find_place(config.output)
        self.process, self.processes = process, processes
        self._lock: ProcessLock | None = None
        try:
            if self.place.path is None:
                self._record(config, others=processes > 1)
            else:
                self._claim(self.place.path, config)
        except OSError as error:
            self.close()
            raise UserError(
                f"The run folder {self.name} cannot be written: {error.strerror or error}."
            ) from None
        except BaseException:
            self.close()
            raise

    @classmethod
    def existing(cls, address: str) -> RunFolder:
        """A run folder to read, without claiming it.

        Raises:
          UserError: there is none, or it is of another format.
        """
        folder = cls.__new__(cls)
        folder.place, folder.process, folder.processes = find_place(address), 0, 1
        folder._lock = None
        path = folder.place.path
        if path is not None and not path.is_dir():
            near = sorted(str(p.parent) for p in path.parent.glob("*/manifest.json"))
            raise UserError(nearest(str(path), near, kind="run folder"))
        try:
            manifest = folder.manifest
        except OSError as error:
            raise UserError(f"The run folder {folder.name} cannot be read: {error}.") from None
        if manifest is None:
            raise UserError(f"{folder.name} is no run folder: it has no manifest.json.")
        return folder

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets other processes have this one's number."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def name(self) -> str:
        """As the user knows it: a path or an address."""
        return self.place.name

    @property
    def path(self) -> Path:
        """The folder on this machine.

        Raises:
          ValueError: it lies elsewhere.
        """
        if self.place.path is None:
            raise ValueError(f"{self.name} is not on this machine")
        return self.place.path

    def locate(self, name: str) -> Path | str:
        """A file of the folder, as the user may open it."""
        if self.place.path is not None:
            return self.place.path / name
        return f"{self.name.rstrip('/')}/{name}"

    @property
    def others(self) -> list[LiveProcess]:
        """Processes at work on the folder now, on a disk, but for this one."""
        live = [] if self.place.path is None else live_processes(self.place.path)
        return [other for other in live if self._lock is None or other.process != self.process]

    def _claim(self, path: Path, config: RunKeys) -> None:
        expected = {"config.toml", "journal", "locks", "passes"}
        if self.place.read("manifest.json") is None and path.exists():
            names = {name for name in self.place.names() if not name.endswith(".partial")}
            begun = self.place.read("manifest.json") is not None  # by another, at this moment
            if names - expected and not begun:
                raise UserError(f"{path} is not empty and no run folder: give another `output`.")
        # Before anything is changed: a run of an older version has no locks.
        _check_format(self.place, self.place.read("manifest.json"))
        (path / "journal").mkdir(parents=True, exist_ok=True)
        with guard(path):
            self._lock = ProcessLock(path, self.process, self.processes)
            self._record(config, others=bool(self.others))

    def _record(self, config: RunKeys, *, others: bool) -> None:
        """Records the config, or compares it with the one that is there."""
        manifest = self.place.read("manifest.json")
        _check_format(self.place, manifest)
        text = to_toml(config)
        recorded = self.place.read("config.toml")
        if recorded is None and self.place.create("config.toml", text):
            return
        # A run that was refused after its folder was made (a kernel out of range) has no manifest
        # and no results: the corrected config takes its place. Not so if others are at work on it.
        if manifest is not None or others:
            _compare(self.place, config)
        if (self.process == 0 or (manifest is None and not others)) and recorded != text.encode():
            self.place.write("config.toml", text)

    @property
    def config_content(self) -> dict[str, Any]:
        """The recorded config.

        Raises:
          UserError: it is missing or damaged.
        """
        return _config_content(self.place)

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest as it was recorded, or None in a new folder.

        Raises:
          UserError: it is damaged or of another format.
        """
        return _check_format(self.place, self.place.read("manifest.json"))

    def write_manifest(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Records the manifest, if no other process was quicker; returns the recorded one.

        Raises:
          UserError: the quicker one has another network, other weights or other images.
        """
        content = {"format": FORMAT, **manifest}
        text = json.dumps(content, indent=2, ensure_ascii=False)
        if self.place.create("manifest.json", text + "\n"):
            return content
        recorded = self.manifest or {}
        for key, name in _SAME.items():
            if key in content and recorded.get(key) != content[key]:
                raise UserError(
                    f"Another process has begun the run in {self.name} with other {name}: all must "
                    "be given the same."
                )
        return recorded

    @property
    def arrays(self) -> dict[str, ArraySpec]:
        """The arrays as they were recorded; none before the first results.

        Raises:
          UserError: their record is damaged.
        """
        try:
            content = json.loads(self.place.read("arrays.json") or b"{}")
            return {
                name: ArraySpec(tuple(spec["shape"]), spec["dtype"])
                for name, spec in content.items()
            }
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"arrays.json in {self.name} is damaged: {error}.") from None

    def results(
        self, plan: Sequence[PlannedJob], arrays: Mapping[str, ArraySpec], *, create: bool = True
    ) -> Results:
        """The results of a plan; `create` makes arrays that are not there.

        Raises:
          UserError: arrays of other names, shapes or types are there.
          OSError: the folder cannot be read.
        """
        content = {name: dataclasses.asdict(spec) for name, spec in arrays.items()}
        text = json.dumps(content, indent=2)
        if create and not self.place.create("arrays.json", text):
            there = self.arrays
            for name in sorted(there.keys() | arrays.keys()):
                if there.get(name) != arrays.get(name):
                    raise UserError(
                        f"The {name} in {self.name} are stored as {_described(there.get(name))}, "
                        f"here as {_described(arrays.get(name))}: give another `output`."
                    )
        return Results(self.place, plan, arrays, process=self.process, create=create)

    def compact(self, results: Results) -> None:
        """Writes the records of all finished jobs as `jobs.parquet`, in the order of the plan."""
        if results.done.any():
            with self.files() as path:
                write_parquet(path / "jobs.parquet", results.records)

    @contextlib.contextmanager
    def files(self) -> Iterator[Path]:
        """A folder of this machine: what is written to it is in the run folder afterwards."""
        if self.place.path is not None:
            yield self.place.path
            return
        with tempfile.TemporaryDirectory() as temporary:
            root = Path(temporary)
            yield root
            for file in sorted(path for path in root.rglob("*") if path.is_file()):
                self.place.write(file.relative_to(root).as_posix(), file.read_bytes())


def _described(spec: ArraySpec | None) -> str:
    return f"{spec.dtype} {list(spec.shape)}" if spec else "nothing"


def _check_format(place: Place, content: bytes | None) -> dict[str, Any] | None:
    if content is None:
        return None
    try:
        manifest = json.loads(content)
        found = int(manifest.get("format", 1))
        complete = all(key in manifest for key in ("weights_sha256", "images", "kernels"))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"manifest.json in {place.name} is damaged: {error}.") from None
    if found != FORMAT:
        age = "an older" if found < FORMAT else "a newer"
        raise UserError(
            f"{place.name} was made by {age} version of jaxinterp (format {found}; this version "
            f"has format {FORMAT}): give another `output`, or use that version."
        )
    if not complete:
        raise UserError(f"manifest.json in {place.name} is damaged: keys are missing.")
    return manifest


def _config_content(place: Place) -> dict[str, Any]:
    content = place.read("config.toml")
    if content is None:
        raise UserError(f"{place.name} has no config.toml.")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"config.toml in {place.name} is damaged: {error}.") from None


def _compare(place: Place, config: RunKeys) -> None:
    """Refuses a config that would give other results than the recorded one."""
    content = _config_content(place)
    if content.get("method") != config.method:
        raise UserError(
            f"{place.name} holds a run of another method ({content.get('method')!r} there, "
            f"{config.method!r} here): give another `output`."
        )
    try:
        recorded = to_dict(build(type(config), content))
    except UserError as error:
        raise UserError(
            f"config.toml in {place.name} does not fit this version of jaxinterp: {error} Give "
            "another `output`."
        ) from None
    free = getattr(config, "FREE_KEYS", _FREE_KEYS)
    differences = config_differences(recorded, to_dict(config), free=free)
    if differences:
        raise UserError(
            f"{place.name} holds a run with another config ({'; '.join(differences)}): "
            "give another `output`, or the recorded config."
        )


def config_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], *, free: Sequence[str] = _FREE_KEYS
) -> list[str]:
    """What decides results and differs between two configs, a phrase each ("there" is the old)."""
    old, new = _flatten(old), _flatten(new)
    return [
        f"{key} is {old.get(key, 'absent')!r} there and {new.get(key, 'absent')!r} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not any(f"{key}.".startswith(f"{one}.") for one in free)
    ]


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
