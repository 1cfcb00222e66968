"""One training step as a pure function."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import dm_pix
import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxinterp.models.parameters import Blueprint, Parameters, initial_parameters
from jaxinterp.models.preprocess import Preprocess
from jaxinterp.transform.compiler_options import compiler_options

__all__ = ["TrainState", "augment", "initial_state", "make_optimizer", "make_step"]


class TrainState(NamedTuple):
    """Everything that training changes: parameters, running statistics, optimiser, step count."""

    params: Parameters
    statistics: Parameters
    optimizer: optax.OptState
    step: Array


def augment(key: Array, images: Array, *, crop: int, pad: int, mirror: bool = True) -> Array:
    """Random crop after zero padding, and if `mirror`, half of them mirrored, each image its own.

    images: float32 [n, h, w, c] -> [n, crop, crop, c].
    """

    def one(key: Array, image: Array) -> Array:
        crop_key, flip_key = jax.random.split(key)
        image = jnp.asarray(dm_pix.random_crop(crop_key, image, (crop, crop, image.shape[-1])))
        return jnp.asarray(dm_pix.random_flip_left_right(flip_key, image)) if mirror else image

    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return jax.vmap(one)(jax.random.split(key, len(images)), padded)


def make_optimizer(
    *,
    cycles: Sequence[tuple[int, float]],
    warmup: float,
    momentum: float,
    weight_decay: float,
) -> optax.GradientTransformation:
    """SGD with Nesterov momentum, weight decay on matrices and filters, one-cycle learning rates.

    Args:
      cycles: (steps, peak of the learning rate) of each cycle, in order.
      warmup: share of a cycle over which the rate rises.
      momentum: of SGD.
      weight_decay: on parameters with more than one axis.
    """
    schedules = [
        optax.linear_onecycle_schedule(
            steps, peak, pct_start=warmup, pct_final=0.99, div_factor=10.0, final_div_factor=100.0
        )
        for steps, peak in cycles
    ]
    ends = list(itertools.accumulate(steps for steps, _ in cycles))
    schedule = optax.join_schedules(schedules, ends[:-1])

    def is_weight(params: Parameters) -> dict[str, bool]:
        return {name: leaf.ndim > 1 for name, leaf in params.items()}

    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=is_weight),
        optax.sgd(schedule, momentum=momentum, nesterov=True),
    )


def initial_state(
    blueprint: Blueprint, optimizer: optax.GradientTransformation, *, seed: int
) -> TrainState:
    """Step 0: random parameters, an empty optimiser state."""
    values = jax.tree.map(jnp.asarray, initial_parameters(blueprint, seed=seed))
    statistics = {name: values.pop(name) for name in blueprint.statistics}
    return TrainState(values, statistics, optimizer.init(values), jnp.zeros((), jnp.int32))


def make_step(
    blueprint: Blueprint,
    optimizer: optax.GradientTransformation,
    preprocess: Preprocess,
    *,
    label_smoothing: float,
    crop: int,
    pad: int,
    mirror: bool = True,
) -> Callable[[Array, TrainState, Array, Array], tuple[TrainState, dict[str, Array]]]:
    """The jitted step `(key, state, images uint8 [n, h, w, c], labels [n]) -> (state, measures)`.

    The measures are the batch's mean loss and accuracy, scalars.
    """

    def loss_function(
        params: Parameters, statistics: Parameters, images: Array, labels: Array
    ) -> tuple[Array, tuple[Parameters, Array]]:
        model = blueprint.bind(params | statistics)
        logits = model(images, training=True)  # type: ignore[operator]
        targets = jax.nn.one_hot(labels, logits.shape[-1])
        targets = optax.smooth_labels(targets, label_smoothing)
        loss = optax.softmax_cross_entropy(logits, targets).mean()
        values = blueprint.read(model)
        return loss, ({name: values[name] for name in statistics}, logits)

    @functools.partial(jax.jit, donate_argnums=1, compiler_options=compiler_options())
    def step(
        key: Array, state: TrainState, images: Array, labels: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        inputs = preprocess(images.astype(jnp.float32) / 255)
        inputs = augment(key, inputs, crop=crop, pad=pad, mirror=mirror)
        gradient = jax.value_and_grad(loss_function, has_aux=True)
        (loss, (statistics, logits)), grads = gradient(
            state.params, state.statistics, inputs, labels
        )
        updates, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
        params = jax.tree.map(jnp.add, state.params, updates)
        accuracy = (logits.argmax(-1) == labels).mean()
        state = TrainState(params, statistics, optimizer_state, state.step + 1)
        return state, {"loss": loss, "accuracy": accuracy}

    return step
