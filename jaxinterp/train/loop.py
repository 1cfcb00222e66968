"""The training loop: epochs, checkpoints, a log, and the final weights.

A run can be stopped at any time and started again: the state is saved by Orbax after every epoch,
and the order of images and the augmentation depend only on the seed and the step, so that a resumed
run takes the same steps.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from jaxinterp.config import to_dict, to_toml
from jaxinterp.data.an8flower.splits import PREFIX as FLOWERS
from jaxinterp.data.open_image import reason
from jaxinterp.errors import UserError
from jaxinterp.evaluate.accuracy import Share
from jaxinterp.models.describe import describe_classifier
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.registry import find_architecture
from jaxinterp.train.config import TrainConfig
from jaxinterp.train.images import TrainingImages, training_images
from jaxinterp.train.step import TrainState, initial_state, make_optimizer, make_step
from jaxinterp.weights.formats.safetensors_file import write_safetensors
from jaxinterp.weights.layout import to_torch_layout
from jaxinterp.weights.load import load

__all__ = ["train"]

_JUDGED_AT_ONCE = 200


def train(config: TrainConfig, *, report: Callable[[str], None] = print) -> Path:
    """Trains a network and writes `weights.safetensors` (fp16) into `config.output`.

    At the end the network is judged with the written weights on the test split; `test.json` there
    holds `images` (their number), `correct` and `accuracy`.

    Args:
      config: see `TrainConfig`.
      report: gets a line after every epoch, and one with the accuracy on the test images.

    Returns:
      The path of the weights.

    Raises:
      UserError: no data, or an output folder that holds a run with another config.
    """
    architecture = find_architecture(config.model)
    if architecture.preprocess.channels != 3:
        raise UserError(f"{config.model} takes grey images: it cannot be trained on RGB images.")
    output = Path(config.output).absolute()
    _check_folder(output, config)  # before anything is rendered or read
    size, seed = architecture.preprocess.size, config.seed
    data = training_images(config.data, "train", size=size, count=config.train_images, seed=seed)
    tests = training_images(config.data, "test", size=size, count=config.test_images, seed=seed)
    blueprint = architecture.blueprint(len(data.class_names))
    _check_crops(config, blueprint, data)
    steps_an_epoch = len(data.labels) // config.batch_size
    if not steps_an_epoch:
        raise UserError(f"{len(data.labels)} images do not fill a batch of {config.batch_size}.")
    _claim(output, config)
    epochs = [phase for phase in config.phases for _ in range(phase.epochs)]
    optimizer = make_optimizer(
        cycles=[(steps_an_epoch * count, peak) for count, peak in config.cycles],
        warmup=config.warmup,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    steps = {
        phase: make_step(
            blueprint,
            optimizer,
            architecture.preprocess,
            label_smoothing=config.label_smoothing,
            crop=phase.crop,
            pad=phase.pad,
            mirror=config.mirror,
        )
        for phase in set(epochs)
    }
    state = initial_state(blueprint, optimizer, seed=config.seed)
    with ocp.CheckpointManager(
        output / "checkpoints", options=ocp.CheckpointManagerOptions(max_to_keep=2)
    ) as checkpoints:
        state, done = _restore(checkpoints, state)
        if done:
            report(f"resuming after epoch {done} of {len(epochs)}")
        for epoch in range(done, len(epochs)):
            phase = epochs[epoch]
            left = config.max_steps - epoch * steps_an_epoch if config.max_steps else None
            if left is not None and left <= 0:
                break
            started = time.perf_counter()
            state, measures = _run_epoch(
                steps[phase], state, data, config, epoch, len(epochs), most=left
            )
            record = {
                "epoch": epoch + 1,
                "seconds": round(time.perf_counter() - started, 1),
                "crop": phase.crop,
                **{name: round(float(np.mean(values)), 4) for name, values in measures.items()},
            }
            with (output / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(record) + "\n")
            cut_short = left is not None and left < steps_an_epoch
            if not cut_short:
                checkpoints.save(epoch + 1, args=ocp.args.StandardSave(state))
            report(
                f"epoch {epoch + 1}/{len(epochs)}: loss {record['loss']:.3f}, "
                f"accuracy {record['accuracy']:.3f}, {record['seconds']:.0f} s"
            )
    weights = output / "weights.safetensors"
    values = jax.tree.map(np.asarray, state.params | state.statistics)
    write_safetensors(
        weights,
        to_torch_layout(values, flattened=blueprint.module.flattened),
        metadata={"model": config.model, "config": to_toml(_for_others(config))},
    )
    judged = _judge(weights, config.model, tests)
    low, high = judged.interval
    content = {
        "images": judged.images,
        "correct": judged.successes,
        "accuracy": round(judged.value, 4),
    }
    (output / "test.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
    report(
        f"accuracy on {judged.images} test images: {judged.value:.2%} "
        f"(95 % interval {low:.2%} to {high:.2%})"
    )
    return weights


def _for_others(config: TrainConfig) -> TrainConfig:
    """The config without where this machine keeps its files; a rendered set has no such place."""
    rendered = config.data.startswith(FLOWERS)
    return dataclasses.replace(config, data=config.data if rendered else "", output="")


def _check_crops(config: TrainConfig, blueprint: Blueprint, data: TrainingImages) -> None:
    """Crops must lie within the padded images, and leave a map of every layer."""
    table = describe_classifier(blueprint, find_architecture(config.model).preprocess)
    least = max(int(np.max(layer.stride or 1)) for layer in table)
    side = min(data.images.shape[1:3])
    for phase in config.phases:
        if phase.crop < least:
            raise UserError(f"{config.model} needs crops of at least {least} px, got {phase.crop}.")
        if phase.crop > side + 2 * phase.pad:
            raise UserError(
                f"A crop of {phase.crop} px does not fit in images of {side} px with {phase.pad} "
                "px of padding on each side."
            )


def _judge(weights: Path, model: str, tests: TrainingImages) -> Share:
    """How many of the test images the network with these weights tells right."""
    network = load(model, weights=weights, classes=len(tests.class_names))
    predict = jax.jit(
        lambda params, images: network.apply(
            params, network.preprocess(images.astype(jnp.float32) / 255)
        ).argmax(-1)
    )
    correct = 0
    for start in range(0, len(tests.labels), _JUDGED_AT_ONCE):
        images = tests.images[start : start + _JUDGED_AT_ONCE]
        labels = tests.labels[start : start + _JUDGED_AT_ONCE]
        missing = _JUDGED_AT_ONCE - len(images)
        # Filled up, so that one program is compiled.
        images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
        found = np.asarray(predict(network.params, images))[: len(labels)]
        correct += int((found == labels).sum())
    return Share(correct, len(tests.labels))


def _check_folder(output: Path, config: TrainConfig) -> None:
    """Refuses a folder that holds another config's run.

    Raises:
      UserError: it does, or it cannot be read; the keys that differ are named.
    """
    recorded = output / "config.toml"
    try:
        if not recorded.exists() or recorded.read_text(encoding="utf-8") == to_toml(config):
            return
        old, new = tomllib.loads(recorded.read_text(encoding="utf-8")), to_dict(config)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{recorded} is damaged: {error}.") from None
    except (OSError, UnicodeError) as error:
        raise UserError(f"The output folder {output} cannot be used: {reason(error)}.") from None
    keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    raise UserError(
        f"{output} holds a training run with another config (other {', '.join(keys)}); "
        "give another output, or the same config to resume it."
    )


def _claim(output: Path, config: TrainConfig) -> None:
    """Marks the folder as this config's."""
    _check_folder(output, config)
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "config.toml").write_text(to_toml(config), encoding="utf-8")
    except OSError as error:
        raise UserError(f"The output folder {output} cannot be used: {reason(error)}.") from None


def _restore(checkpoints: ocp.CheckpointManager, state: TrainState) -> tuple[TrainState, int]:
    latest = checkpoints.latest_step()
    if latest is None:
        return state, 0
    restored = checkpoints.restore(latest, args=ocp.args.StandardRestore(state))
    return cast(TrainState, restored), latest


def _run_epoch(
    step: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    state: TrainState,
    data: TrainingImages,
    config: TrainConfig,
    epoch: int,
    epochs: int,
    *,
    most: int | None,
) -> tuple[TrainState, dict[str, list[float]]]:
    order = np.random.default_rng((config.seed, epoch)).permutation(len(data.labels))
    count = len(order) // config.batch_size
    count = count if most is None else min(count, most)
    key = jax.random.fold_in(jax.random.key(config.seed), epoch)
    measures: dict[str, list[float]] = {"loss": [], "accuracy": []}
    with _progress(count, f"epoch {epoch + 1}/{epochs}") as advance:
        for i in range(count):
            batch = order[i * config.batch_size : (i + 1) * config.batch_size]
            state, values = step(
                jax.random.fold_in(key, i), state, data.images[batch], data.labels[batch]
            )
            for name in measures:
                measures[name].append(float(values[name]))
            advance(f"loss {measures['loss'][-1]:.3f}")
    return state, measures


@contextlib.contextmanager
def _progress(total: int, title: str) -> Iterator[Callable[[str], None]]:
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    console = Console()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda text: progress.update(task, advance=1, description=text)
