"""The completeness of the integrated gradients, image by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jaxinterp.dissect.found import Found, Run
from jaxinterp.sweep.folder.place import write_atomically

__all__ = ["write_completeness"]


def write_completeness(folder: Path, run: Run, found: Found) -> None:
    """Writes `completeness.parquet`: a row for each image of the relevance and each layer.

    Columns: image, class; layer; score, the class's probability; baseline_score, the same where the
    layer's path begins; delta, the sum of the layer's integrated gradients less the difference of
    the two. Where something skips around the layer, delta is what it carries.
    """
    if found.relevance is None or run.train is None:
        return
    own, layers = found.relevance, run.layers
    names = [run.train.names[position] for position in own.positions]
    classes = [run.classes[index].name for index in run.train.classes[own.positions]]
    table = pa.table(
        {
            "image": np.repeat(np.array(names, object), len(layers)),
            "class": np.repeat(np.array(classes, object), len(layers)),
            "layer": list(layers) * len(names),
            "score": np.repeat(own.score, len(layers)),
            "baseline_score": own.baseline_score.reshape(-1),
            "delta": own.delta.reshape(-1),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_atomically(folder / "completeness.parquet", sink.getvalue().to_pybytes())
