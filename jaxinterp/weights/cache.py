"""Converted weights, kept by Orbax so that the next start is quick.

Each conversion is a folder `NAME-CLASSES-SHA256-vVERSION` in `converted/`:

    record.json   what it is of, the sizes of the files below, and a CRC-32 of every array
    arrays/       parameters in our layout, float32: an Orbax checkpoint without compression

Orbax finds what is missing or cut off (and prints much about it), but not a flipped bit; so the
record is compared first and the CRC last. A damaged entry is removed and made anew. Entries are
written beside their place and renamed: several processes may convert the same file at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.models.preprocess import Preprocess
from jaxinterp.models.registry import find_architecture
from jaxinterp.weights.cache_folder import cache_folder
from jaxinterp.weights.identity import FileIdentity, identify

if TYPE_CHECKING:
    from jaxinterp.weights.convert import Converted

__all__ = [
    "CachedWeights",
    "converted_weights",
    "count_conversions",
    "find_converted",
    "store_converted",
]

CONVERTER_VERSION = 1
"""Raised by every change after which a file converts to other numbers or other names."""

_SMALL = 1 << 20
_ABANDONED = 3600.0
"""Seconds after which an entry that is not finished has lost its writer, killed or out of power."""


@dataclasses.dataclass(frozen=True)
class CachedWeights:
    """A file's weights as its network takes them.

    Attributes:
      params: float32, in our layout, by name; from the cache read-only, and so aligned that
        `jnp.asarray(value, np.float32)` copies nothing on CPUs.
      preprocess: what the network's images undergo with these weights.
      warnings: sentences worth showing, such as that a layer holds NaN.
      sha256: of the file.
      from_cache: whether they were converted before.
    """

    params: dict[str, np.ndarray]
    preprocess: Preprocess
    warnings: tuple[str, ...]
    sha256: str
    from_cache: bool


def converted_weights(path: str | Path, name: str, classes: int | None = None) -> CachedWeights:
    """A file's weights for a network: from the cache, or converted now and put there.

    A cache that cannot be written is a warning in the result, not an error.

    Args:
      path: a weights file in any format that `read_weights` knows.
      name: of the network.
      classes: number of logits, if it is not the published one.

    Raises:
      UserError: an unknown network, or a file that cannot be read or does not fit.
    """
    from jaxinterp.weights.convert import convert
    from jaxinterp.weights.read import read_weights

    find_architecture(name)
    identity = identify(path)
    found = find_converted(identity, name, classes)
    if found is not None:
        return found
    converted = convert(read_weights(identity.path), name, classes)
    problem = store_converted(identity, name, classes, converted)
    warnings = (*converted.warnings, *([problem] if problem else []))
    return CachedWeights(
        dict(converted.params), converted.preprocess, warnings, identity.sha256, from_cache=False
    )


def find_converted(identity: FileIdentity, name: str, classes: int | None) -> CachedWeights | None:
    """What `store_converted` kept, checked; None if there is nothing or it is damaged."""
    try:
        entry = _entry(identity, name, classes)
        if not entry.is_dir():
            return None
    except (OSError, UserError):
        return None
    try:
        record = _read_record(entry)
        if record["sha256"] != identity.sha256:
            raise ValueError("of another file")
        if record["files"] != _survey(entry / "arrays"):
            raise ValueError("not as it was written")
        tree = _restore(entry / "arrays", record["arrays"])
        given = {key: _tuples(value) for key, value in record["preprocess"].items()}
        preprocess = Preprocess(**given, **tree["preprocess"])
        warnings = tuple(record["warnings"])
    # Orbax and TensorStore raise all sorts for a damaged checkpoint. Whatever it is: convert again.
    except Exception:
        shutil.rmtree(entry, ignore_errors=True)
        return None
    return CachedWeights(tree["params"], preprocess, warnings, identity.sha256, from_cache=True)


def store_converted(
    identity: FileIdentity, name: str, classes: int | None, converted: Converted
) -> str | None:
    """Keeps a conversion for the next start; of several processes, only the first one does.

    Returns:
      None, or a sentence on why it could not be kept.
    """
    if not identity.is_current():  # so that the sha256 may not be that of what was converted
        return f"{identity.path} changed while it was read: its converted weights are not kept."
    if jax.process_index() != 0:  # Orbax writes NumPy's arrays from the first process alone
        return None
    texts, arrays = {}, {}
    for field in dataclasses.fields(Preprocess):
        value = getattr(converted.preprocess, field.name)
        (arrays if isinstance(value, np.ndarray) else texts)[field.name] = value
    tree = {"params": dict(converted.params), "preprocess": arrays}
    temporary = None
    try:
        entry = _entry(identity, name, classes)
        entry.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(entry.parent)
        _check_space(entry.parent, tree)
        temporary = entry.with_name(f".{entry.name}.{uuid.uuid4().hex}")
        temporary.mkdir()
        with _checkpointer() as checkpointer:
            checkpointer.save(temporary / "arrays", args=_orbax().args.PyTreeSave(tree))
        record = {
            "model": name,
            "classes": _classes(name, classes),
            "file": os.fsdecode(identity.resolved),
            "sha256": identity.sha256,
            "files": _survey(temporary / "arrays"),
            "arrays": {group: _facts(values) for group, values in tree.items()},
            "preprocess": texts,
            "warnings": list(converted.warnings),
        }
        _write_record(temporary, record)
        try:
            os.rename(temporary, entry)
        except OSError:
            if not entry.is_dir():  # otherwise another process was quicker: as well
                raise
    except UserError as error:  # no cache folder
        return f"The converted weights are not kept for the next start: {error}"
    # A full disk is an OSError, or a ValueError where TensorStore met it.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        return (
            f"The converted weights are not kept for the next start: {cache_folder()} cannot be "
            f"written ({reason[:200]}): name another cache folder in JAXINTERP_CACHE."
        )
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return None


def _remove_abandoned(folder: Path) -> None:
    """Removes what processes left that were killed while they wrote an entry."""
    for path in folder.glob(".*"):
        with contextlib.suppress(OSError):  # another process may remove it too
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


def _check_space(folder: Path, tree: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Raises the `OSError` of a full disk before Orbax meets it, which prints much about it."""
    needed = sum(value.nbytes for values in tree.values() for value in values.values())
    if shutil.disk_usage(folder).free < needed + _SMALL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def count_conversions() -> dict[str, int]:
    """How many conversions the cache holds, by the name of the network."""
    counts: dict[str, int] = {}
    with contextlib.suppress(OSError, UserError):
        pattern = f"[!.]*-v{CONVERTER_VERSION}/record.json"
        for record in (cache_folder() / "converted").glob(pattern):
            name = record.parent.name.rsplit("-", 3)[0]
            counts[name] = counts.get(name, 0) + 1
    return counts


def _classes(name: str, classes: int | None) -> int:
    return find_architecture(name).classes if classes is None else classes


def _entry(identity: FileIdentity, name: str, classes: int | None) -> Path:
    key = f"{name}-{_classes(name, classes)}-{identity.sha256[:16]}-v{CONVERTER_VERSION}"
    return cache_folder() / "converted" / key


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    text = json.dumps(record, ensure_ascii=False)
    whole = {"crc32": zlib.crc32(text.encode()), "record": text}
    (folder / "record.json").write_text(json.dumps(whole), encoding="utf-8")


def _read_record(folder: Path) -> dict[str, Any]:
    whole = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    if zlib.crc32(whole["record"].encode()) != whole["crc32"]:
        raise ValueError("the record is damaged")
    return json.loads(whole["record"])


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _survey(folder: Path) -> dict[str, list[int]]:
    """Size of every file of a checkpoint, and the CRC-32 of those that hold no large array."""
    survey = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = path.stat().st_size
        small = [zlib.crc32(path.read_bytes())] if size <= _SMALL else []
        survey[path.relative_to(folder).as_posix()] = [size, *small]
    return survey


def _facts(arrays: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    """Shape, dtype and CRC-32 of every array."""

    def one(value: np.ndarray) -> list[Any]:
        content = np.ascontiguousarray(value).data
        return [list(value.shape), value.dtype.name, zlib.crc32(content)]

    with ThreadPoolExecutor() as threads:  # zlib lets other threads run
        return dict(zip(arrays, threads.map(one, arrays.values()), strict=True))


def _restore(folder: Path, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The arrays of a checkpoint.

    Raises:
      Exception: of many kinds, if they are not those that were stored.
    """
    ocp = _orbax()
    as_numpy = as_jax = ocp.RestoreArgs(restore_type=np.ndarray)
    # What Orbax reads for JAX lies so in memory that JAX takes it over without a copy, and NumPy
    # can look at it as well; what it reads for NumPy does not.
    with contextlib.suppress(RuntimeError):  # JAX_PLATFORMS without CPUs
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
        as_jax = ocp.ArrayRestoreArgs(sharding=sharding)
    wanted = {
        group: {name: as_jax if fact[1] == "float32" else as_numpy for name, fact in named.items()}
        for group, named in facts.items()
    }
    with _checkpointer() as checkpointer:
        restored = checkpointer.restore(folder, args=ocp.args.PyTreeRestore(restore_args=wanted))
    tree = {
        group: {name: np.asarray(value) for name, value in values.items()}
        for group, values in restored.items()
    }
    if {group: _facts(values) for group, values in tree.items()} != facts:
        raise ValueError("arrays differ from what was stored")
    return tree


def _orbax() -> Any:
    import orbax.checkpoint as ocp

    return ocp


@contextlib.contextmanager
def _checkpointer() -> Iterator[Any]:
    """Orbax, working for this process alone, and silent.

    Of several processes each may find the entry in its cache or not: they must not wait for each
    other. The layout is Orbax's usual one (OCDBT); any other restores as fast. Compressed,
    restoring takes twice as long and saves 8 %: weights look like noise.
    """
    ocp = _orbax()
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"jaxinterp_{here}"
    )
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=alone)
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            yield checkpointer
    except KeyboardInterrupt:  # its threads go on, and would complain that their folder is gone
        level = logger.level
        raise
    finally:
        logger.setLevel(level)
