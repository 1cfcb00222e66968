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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import jax
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

from jaxinterp.config import to_toml
from jaxinterp.data.cifar10 import CLASS_NAMES, Cifar10, load_cifar10
from jaxinterp.errors import UserError
from jaxinterp.models.describe import describe_classifier
from jaxinterp.models.registry import find_architecture
from jaxinterp.train.config import TrainConfig
from jaxinterp.train.step import TrainState, initial_state, make_optimizer, make_step
from jaxinterp.weights.formats.safetensors_file import write_safetensors
from jaxinterp.weights.layout import to_torch_layout

__all__ = ["train"]


def train(config: TrainConfig, *, report: Callable[[str], None] = print) -> Path:
    """Trains a network and writes `weights.safetensors` (fp16) into `config.output`.

    Args:
      config: see `TrainConfig`.
      report: gets a line after every epoch.

    Returns:
      The path of the weights.

    Raises:
      UserError: no data, or an output folder that holds a run with another config.
    """
    architecture = find_architecture(config.model)
    if architecture.preprocess.channels != 3:
        raise UserError(f"{config.model} takes grey images: it cannot be trained on CIFAR-10.")
    blueprint = architecture.blueprint(len(CLASS_NAMES))
    table = describe_classifier(blueprint, architecture.preprocess)
    least = max(int(np.max(layer.stride or 1)) for layer in table)
    for phase in config.phases:
        if phase.crop < least:
            raise UserError(f"{config.model} needs crops of at least {least} px, got {phase.crop}.")
    data = load_cifar10(config.data, "train")
    steps_an_epoch = len(data.labels) // config.batch_size
    if not steps_an_epoch:
        raise UserError(f"{len(data.labels)} images do not fill a batch of {config.batch_size}.")
    output = Path(config.output).absolute()
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
        # Not where this machine keeps its data: the file is for others too.
        metadata={
            "model": config.model,
            "config": to_toml(dataclasses.replace(config, data="", output="")),
        },
    )
    return weights


def _claim(output: Path, config: TrainConfig) -> None:
    """Marks the folder as this config's, or refuses another config's run."""
    recorded = output / "config.toml"
    text = to_toml(config)
    try:
        other = recorded.exists() and recorded.read_text(encoding="utf-8") != text
        output.mkdir(parents=True, exist_ok=True)
        if not other:
            recorded.write_text(text, encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UserError(f"The output folder {output} cannot be used: {error}.") from None
    if other:
        raise UserError(
            f"{output} holds a training run with another config; "
            "give another output, or the same config to resume it."
        )


def _restore(checkpoints: ocp.CheckpointManager, state: TrainState) -> tuple[TrainState, int]:
    latest = checkpoints.latest_step()
    if latest is None:
        return state, 0
    restored = checkpoints.restore(latest, args=ocp.args.StandardRestore(state))
    return cast(TrainState, restored), latest


def _run_epoch(
    step: Callable[..., tuple[TrainState, dict[str, jax.Array]]],
    state: TrainState,
    data: Cifar10,
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
