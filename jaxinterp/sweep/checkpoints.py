"""Lane state on disk, so that a process that is stopped repeats little.

Each process keeps its own: which jobs are in its lanes, their inputs, optimisers, best results and
traces. Only jobs that are under way are in it; results are the run folder's business.
"""

from __future__ import annotations

import contextlib
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxinterp.optimize import Snapshot
from jaxinterp.sweep.folder.place import storage_error

__all__ = ["LaneCheckpoints", "remove_checkpoints"]


class LaneCheckpoints:
    """The snapshots of one process, as Orbax checkpoints; a context manager that finishes writing.

    At most the last two are kept, of whatever layer.
    """

    def __init__(self, folder: Path | None, process: int) -> None:
        """Opens `folder/checkpoints/PROCESS`, or makes it when the first is saved.

        Without a folder nothing is saved.
        """
        self._path = None if folder is None else folder.absolute() / "checkpoints" / str(process)
        self._manager: ocp.CheckpointManager | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> LaneCheckpoints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._close()
        except OSError:
            if error is None:  # else the first error is the one to tell
                raise

    def save(self, layer: str, snapshot: Snapshot, *, wait: bool = False) -> None:
        """Writes a snapshot in the background; `wait` waits until it is on disk.

        Raises:
          OSError: this one, if `wait`, or the one before it could not be written.
        """
        if self._path is None:
            return
        self._finish()
        self._writing = self._thread.submit(self._write, layer, snapshot)
        if wait:
            self._finish()

    def _write(self, layer: str, snapshot: Snapshot) -> None:
        manager = self._open()
        leaves = jax.tree.leaves(snapshot.state)
        content = {
            "keys": np.array([-1 if key is None else key for key in snapshot.keys], np.int64),
            "state": {str(place): np.asarray(leaf) for place, leaf in enumerate(leaves)},
            "trace": dict(snapshot.trace),
        }
        manager.save(
            (manager.latest_step() or 0) + 1,
            args=ocp.args.Composite(
                lanes=ocp.args.StandardSave(content), about=ocp.args.JsonSave({"layer": layer})
            ),
        )

    def _finish(self) -> None:
        """Waits for what is being written; raises what went wrong."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except ValueError as error:  # TensorStore's, such as on a full disk
            raise storage_error(error, str(self._path)) from None

    def _close(self) -> None:
        try:
            self._finish()
        finally:
            self._thread.shutdown()
            if self._manager is not None:
                self._manager.close()
                self._manager = None

    def restore(self, layer: str, like: Any) -> Snapshot | None:
        """The latest snapshot, if it is of this layer and can be read.

        Args:
          layer: whose jobs go on.
          like: a state of the same structure, whatever its number of lanes.
        """
        if self._path is None or not self._path.is_dir():
            return None
        self._finish()
        manager = self._open()
        for step in sorted(manager.all_steps(), reverse=True):
            with contextlib.suppress(Exception):  # damaged: the one before it, or none
                found = manager.restore(
                    step,
                    args=ocp.args.Composite(
                        lanes=ocp.args.StandardRestore(), about=ocp.args.JsonRestore()
                    ),
                )
                if found["about"]["layer"] != layer:
                    return None
                return _snapshot(found["lanes"], like)
        return None

    def clear(self) -> None:
        """Removes all, when there is nothing left to go on with."""
        self._close()
        if self._path is None:
            return
        shutil.rmtree(self._path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._path.parent.rmdir()  # the last process's

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            assert self._path is not None
            # Not in the background: `save` has a thread for it.
            options = ocp.CheckpointManagerOptions(
                max_to_keep=2, create=True, enable_async_checkpointing=False
            )
            self._manager = ocp.CheckpointManager(self._path, options=options)
        return self._manager


def remove_checkpoints(folder: Path) -> None:
    """Removes those of all processes, when no job is left."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _snapshot(content: Any, like: Any) -> Snapshot:
    leaves, structure = jax.tree.flatten(like)
    found = [np.asarray(content["state"][str(place)]) for place in range(len(leaves))]
    for leaf, wanted in zip(found, leaves, strict=True):
        if (leaf.shape[1:], leaf.dtype) != (wanted.shape[1:], wanted.dtype):
            raise ValueError("lanes of another shape")
    keys = [None if key < 0 else int(key) for key in np.asarray(content["keys"])]
    trace = {name: np.asarray(values) for name, values in content["trace"].items()}
    return Snapshot(keys, jax.tree.unflatten(structure, found), trace)
