"""`jaxinterp evaluate`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from jaxinterp.cli.arguments import Debug, loading, optional
from jaxinterp.errors import UserError

__all__ = ["Evaluate"]


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Accuracy of a network on labelled images: top-1, top-5, and each class.

    IMAGES is a folder with a folder for each class; a folder or .tar pack with an index.csv;
    tfds:NAME, prepared by TensorFlow Datasets; CIFAR-10; or an8flower:VARIANT, which is rendered.
    Options override the config.

    Example: jaxinterp evaluate --model vgg_cifar10 --images cifar-10-binary.tar.gz
    """

    config: Annotated[tyro.conf.Positional[str | None], optional("[CONFIG.toml]")] = None
    """A config file (TOML) with the keys below."""
    model: Annotated[str | None, optional("NAME")] = None
    """A name from `jaxinterp models`."""
    images: Annotated[str | None, optional("IMAGES")] = None
    """The labelled images; what kind they are is found out."""
    weights: Annotated[str | None, optional("FILE")] = None
    """A weights file; without it, those in the package or fetched."""
    classes: Annotated[int | None, optional("N")] = None
    """Number of logits, if it is not the published one."""
    split: Annotated[str | None, optional("NAME")] = None
    """Of a TFDS set or of CIFAR-10."""
    data_dir: Annotated[str | None, optional("FOLDER")] = None
    """Where TFDS sets are; without it, TFDS_DATA_DIR or ~/tensorflow_datasets."""
    batch_size: Annotated[int | None, optional("N")] = None
    """Images at once (32 unless told)."""
    limit: Annotated[int | None, optional("N")] = None
    """Judge only so many images, spread evenly over the source."""
    worst: Annotated[int | None, optional("N")] = None
    """Show so many classes, the least accurate first (20 unless told)."""
    output: Annotated[str | None, optional("FILE")] = None
    """Write all results to a .json or .csv file."""
    debug: Debug = False

    def __call__(self) -> None:
        with loading():
            from jaxinterp.config import build, read_toml
            from jaxinterp.console.evaluation import EvaluationConsole
            from jaxinterp.data.source import read_labelled_images
            from jaxinterp.evaluate.config import EvaluateConfig
            from jaxinterp.evaluate.results import check_output, write_results
            from jaxinterp.evaluate.run import evaluate
            from jaxinterp.weights.load import load

        given = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(EvaluateConfig)
            if getattr(self, field.name) is not None
        }
        content = (read_toml(self.config) if self.config is not None else {}) | given
        for needed in ("model", "images"):
            if needed not in content:
                raise UserError(f"Give --{needed}, or a config file that has the key {needed!r}.")
        config = build(EvaluateConfig, content)
        output = None if config.output is None else check_output(config.output)
        source = read_labelled_images(config.images, split=config.split, data_dir=config.data_dir)
        network = load(config.model, weights=config.weights, classes=config.classes)
        with EvaluationConsole() as console:
            console.opened(source, config.limit)
            evaluation = evaluate(
                network,
                source,
                batch_size=config.batch_size,
                limit=config.limit,
                advanced=console.advanced,
            )
            console.close_with(evaluation, worst=config.worst)
            if output is not None:
                write_results(output, evaluation)
                console.wrote(output)
