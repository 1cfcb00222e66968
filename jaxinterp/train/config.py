"""What a training run is told."""

from __future__ import annotations

import dataclasses

__all__ = ["PhaseConfig", "TrainConfig"]


@dataclasses.dataclass(frozen=True)
class PhaseConfig:
    """A stretch of epochs on crops of one size.

    Attributes:
      epochs: how many passes over the training images.
      crop: side of the random crop, in pixels.
      pad: zero pixels added on every side before the crop.
    """

    epochs: int
    crop: int = 32
    pad: int = 4

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 8 <= self.crop <= 32 + 2 * self.pad:
            raise ValueError("a phase needs at least 1 epoch and a crop of 8 px up to 32 + 2 pad")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A whole training run: SGD with Nesterov momentum and a one-cycle learning rate.

    Attributes:
      data: where CIFAR-10 is (see `jaxinterp.data.cifar10`).
      output: folder for checkpoints, the log and the final weights.
      model: a name from `jaxinterp models`.
      phases: crop sizes and epochs, in order.
      batch_size: images a step.
      peak_rate: the largest learning rate, reached after `warmup` of all steps.
      warmup: share of the steps over which the rate rises.
      momentum: of SGD.
      weight_decay: on convolution and dense weights only.
      label_smoothing: probability mass spread over all classes.
      seed: for the initial weights, the order of images and the augmentation.
      max_steps: stop after so many steps (for tests); 0 runs to the end.
    """

    data: str
    output: str
    model: str = "vgg_cifar10"
    phases: tuple[PhaseConfig, ...] = (PhaseConfig(10, 24, 0), PhaseConfig(14, 32, 4))
    batch_size: int = 100
    peak_rate: float = 0.1
    warmup: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    seed: int = 0
    max_steps: int = 0

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("training needs at least one of [[phases]]")
        if self.batch_size < 2:
            raise ValueError("batch_size must be at least 2: batch norm needs a batch")
