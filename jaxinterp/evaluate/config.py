"""What an evaluation is told: the keys of `jaxinterp evaluate`'s TOML file, and its options."""

from __future__ import annotations

import dataclasses

from jaxinterp.errors import UserError

__all__ = ["EvaluateConfig"]


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """A network, labelled images, and what to tell of its accuracy on them.

    Attributes:
      model: a name from `jaxinterp models`.
      images: class folders, a pack with index.csv, `tfds:NAME`, CIFAR-10 or `an8flower:VARIANT`
        (see `jaxinterp.data.source`).
      weights: a weights file; None takes those in the package or fetched; "random".
      classes: number of logits, if it is not the published one.
      split: of a TFDS set or of CIFAR-10.
      data_dir: where TFDS sets are; None takes TFDS_DATA_DIR or ~/tensorflow_datasets.
      batch_size: images at once.
      limit: judge only so many images, spread evenly over the source.
      worst: the table of classes shows so many, the least accurate first.
      output: file for all results, .json or .csv.
    """

    model: str
    images: str
    weights: str | None = None
    classes: int | None = None
    split: str | None = None
    data_dir: str | None = None
    batch_size: int = 32
    limit: int | None = None
    worst: int = 20
    output: str | None = None

    def __post_init__(self) -> None:
        least = {"classes": 1, "batch_size": 1, "limit": 1, "worst": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise UserError(f"{name} must be at least {bound}, got {value}.")
