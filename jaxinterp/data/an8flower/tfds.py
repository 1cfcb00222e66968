"""an8Flower as a set of TensorFlow Datasets, prepared and read without TensorFlow.

    builder = An8Flower(data_dir=folder, file_format="array_record", config="double-12c")
    builder.download_and_prepare()

writes it; nothing is downloaded. TFDS encodes images with TensorFlow, but takes them encoded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxinterp.data.an8flower.classes import (
    CLASS_NAMES,
    VARIANTS,
    check_size,
    check_variant,
    check_whole,
)
from jaxinterp.data.an8flower.files import png
from jaxinterp.data.an8flower.render import render

__all__ = ["An8Flower", "An8FlowerConfig"]


@dataclasses.dataclass(eq=False)
class An8FlowerConfig(tfds.core.BuilderConfig):
    """What a prepared set holds.

    Attributes:
      variant, size, seed: as for `render`.
      train, test: how many pictures; those for testing have the indices after those for training.

    Raises:
      UserError: as `render` does; a negative number of pictures.
    """

    variant: str = VARIANTS[0]
    size: int = 64
    seed: int = 0
    train: int = 6000
    test: int = 1200

    def __post_init__(self) -> None:
        check_variant(self.variant)
        self.size = check_size(self.size)
        self.seed = check_whole(self.seed, "seed")
        self.train = check_whole(self.train, "number of training images")
        self.test = check_whole(self.test, "number of test images")


class An8Flower(tfds.core.GeneratorBasedBuilder):
    """Rendered flowers: the class is the colour of a part, or the colour and which part has it.

    Features: `image` (PNG), `label`, `parts` (uint8, index into `PARTS`), `discriminative` (uint8,
    1 where the class is defined), `index`.
    """

    VERSION = tfds.core.Version("1.0.0")
    # TFDS would find it out by itself, with a library (importlib_resources) that it does not ask
    # to be installed.
    code_path = None
    BUILDER_CONFIGS = [  # noqa: RUF012 - the form that TFDS asks for
        An8FlowerConfig(name=name, description=f"The variant {name}, 64 px.", variant=name)
        for name in VARIANTS
    ]

    @property
    def _own(self) -> An8FlowerConfig:
        config: Any = self.builder_config
        return config

    def _info(self) -> tfds.core.DatasetInfo:
        side = self._own.size
        mask = tfds.features.Tensor(
            shape=(side, side), dtype=np.uint8, encoding=tfds.features.Encoding.ZLIB
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description="an8Flower, rendered by jaxinterp after Oramas et al., ICLR 2019, 4.3.",
            features=tfds.features.FeaturesDict(
                {
                    # The only feature of its kind: whoever looks for the image finds this one.
                    "image": tfds.features.Image(shape=(side, side, 3), encoding_format="png"),
                    "label": tfds.features.ClassLabel(names=list(CLASS_NAMES[self._own.variant])),
                    "parts": mask,
                    "discriminative": mask,
                    "index": np.int64,
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator[tuple[int, dict]]]:
        train, test = self._own.train, self._own.test
        return {
            "train": self._generate_examples(0, train),
            "test": self._generate_examples(train, test),
        }

    def _generate_examples(self, start: int, count: int) -> Iterator[tuple[int, dict]]:
        config = self._own
        for index in range(start, start + count):
            flower = render(config.variant, index, size=config.size, seed=config.seed)
            yield (
                index,
                {
                    "image": png(flower.image),
                    "label": flower.label,
                    "parts": flower.parts,
                    "discriminative": flower.discriminative.astype(np.uint8),
                    "index": index,
                },
            )
