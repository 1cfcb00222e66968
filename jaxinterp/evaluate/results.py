"""An evaluation as a file: JSON with everything, or CSV with a line for each class."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxinterp.data.open_image import reason
from jaxinterp.errors import UserError
from jaxinterp.evaluate.accuracy import Share
from jaxinterp.evaluate.run import Evaluation

__all__ = ["check_output", "write_results"]

_COLUMNS = (
    *("model", "weights_sha256", "images_from", "split", "class_index", "class", "images"),
    *("top1", "top1_low", "top1_high", "top5", "top5_low", "top5_high"),
)


def check_output(path: str) -> Path:
    """The path of an output file, before hours are spent on what goes into it.

    Raises:
      UserError: another extension than .json or .csv, or a place that cannot be written.
    """
    output = Path(os.path.expanduser(path))
    if output.suffix.lower() not in (".json", ".csv"):
        raise UserError(f"The output file ends in .json or .csv, not {path!r}.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        if output.is_dir() or not os.access(output.parent, os.W_OK):
            raise UserError(f"The output file {output} cannot be written.")
    except OSError as error:
        raise UserError(f"The output file {output} cannot be written: {reason(error)}.") from None
    return output


def write_results(path: Path, evaluation: Evaluation) -> None:
    """Writes an evaluation, as the extension says, in one piece: an older file stays till then.

    Raises:
      OSError: a full disk, a folder that cannot be written any more.
    """
    if path.suffix.lower() == ".json":
        text = json.dumps(_record(evaluation), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        lines = io.StringIO(newline="")
        table = csv.DictWriter(lines, _COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(_rows(evaluation))
        text = lines.getvalue()
    partial = path.with_name(path.name + ".partial")
    try:
        # A file's name may hold bytes that are no UTF-8.
        partial.write_text(text, encoding="utf-8", errors="replace", newline="")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def _record(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "model": evaluation.model,
        "weights_sha256": evaluation.weights_sha256,
        "images_from": evaluation.location,
        "kind": evaluation.kind,
        "split": evaluation.split,
        "label_rule": evaluation.label_rule,
        "logits": evaluation.logits,
        "geometry": dataclasses.asdict(evaluation.geometry),
        "images": evaluation.top1.images,
        "top1": _share(evaluation.top1),
        "top5": _share(evaluation.top5),
        "mean_class_top1": evaluation.mean_class_top1,
        "seconds": round(evaluation.seconds, 3),
        "classes": [
            {
                "index": own.index,
                "name": own.name,
                "images": own.top1.images,
                "top1": _share(own.top1),
                "top5": _share(own.top5),
            }
            for own in evaluation.classes
        ],
        "unreadable": [dataclasses.asdict(image) for image in evaluation.unreadable],
    }


def _share(share: Share) -> dict[str, float | int]:
    low, high = share.interval
    return {"correct": share.successes, "share": share.value, "low": low, "high": high}


def _rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """All images first, with no class; then each class. A row can be read without the others."""
    same = {
        "model": evaluation.model,
        "weights_sha256": evaluation.weights_sha256,
        "images_from": evaluation.location,
        "split": evaluation.split,
    }
    everything = [("", "", evaluation.top1, evaluation.top5)]
    for index, name, top1, top5 in [
        *everything,
        *((own.index, own.name, own.top1, own.top5) for own in evaluation.classes),
    ]:
        shares = {"top1": top1, "top5": top5}
        numbers = {"class_index": index, "class": name, "images": top1.images}
        for key, share in shares.items():
            numbers[key] = share.value
            numbers[f"{key}_low"], numbers[f"{key}_high"] = share.interval
        yield same | numbers
