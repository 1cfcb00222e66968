"""What a training run is told."""

from __future__ import annotations

import dataclasses
import math

__all__ = ["PhaseConfig", "TrainConfig"]


@dataclasses.dataclass(frozen=True)
class PhaseConfig:
    """A stretch of epochs on crops of one size.

    Attributes:
      epochs: how many passes over the training images.
      crop: side of the random crop, in pixels; at most the images' side and twice `pad`.
      pad: zero pixels added on every side before the crop.
      restart_rate: if above 0, a new cycle of the learning rate begins with this phase, and this is
        its peak; the first phase begins one at `peak_rate` anyway.
    """

    epochs: int
    crop: int = 32
    pad: int = 4
    restart_rate: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.restart_rate < math.inf:
            raise ValueError(f"restart_rate must be a number from 0, got {self.restart_rate}")
        if self.epochs < 1 or self.pad < 0 or self.crop < 8:
            raise ValueError("a phase needs at least 1 epoch, pad from 0, and a crop from 8 px")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A whole training run: SGD with Nesterov momentum and one-cycle learning rates.

    Attributes:
      data: where CIFAR-10 is (see `jaxinterp.data.cifar10`), `an8flower:single-6c` or
        `an8flower:double-12c` (rendered in memory), `tfds:NAME`, or a folder that holds the class
        folders `train` and `test`.
      output: folder for checkpoints, the log and the final weights.
      model: a name from `jaxinterp models`.
      phases: crop sizes and epochs, in order.
      train_images, test_images: so many images of each split, spread evenly; 0 takes all that
        there are (of a rendered set 3,000 and 600).
      mirror: whether half of the images are mirrored.
      batch_size: images a step.
      peak_rate: the largest learning rate of the first cycle.
      warmup: share of a cycle's steps over which the rate rises to its peak.
      momentum: of SGD.
      weight_decay: on convolution and dense weights only.
      label_smoothing: probability mass spread over all classes.
      seed: for the initial weights, the order of images, the augmentation, and rendered images.
      max_steps: stop after so many steps (for tests); 0 runs to the end.
    """

    data: str
    output: str
    model: str = "vgg_cifar10"
    phases: tuple[PhaseConfig, ...] = (PhaseConfig(10, 24, 0), PhaseConfig(14, 32, 4))
    train_images: int = 0
    test_images: int = 0
    mirror: bool = True
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
        if not 0 < self.peak_rate < math.inf:
            raise ValueError(f"peak_rate must be a number above 0, got {self.peak_rate}")
        if not 0 < self.warmup < 0.99:
            raise ValueError(f"warmup must lie between 0 and 0.99, got {self.warmup}")
        for name in ("momentum", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay must be a number from 0, got {self.weight_decay}")
        if self.phases[0].restart_rate:
            raise ValueError("the first phase has no restart_rate: its cycle's peak is peak_rate")
        for name in ("seed", "max_steps", "train_images", "test_images"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    @property
    def cycles(self) -> tuple[tuple[int, float], ...]:
        """The cycles of the learning rate: (epochs, peak) of each."""
        cycles = [[0, self.peak_rate]]
        for phase in self.phases:
            if phase.restart_rate:
                cycles.append([0, phase.restart_rate])
            cycles[-1][0] += phase.epochs
        return tuple((int(epochs), peak) for epochs, peak in cycles)
