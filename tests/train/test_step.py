"""Augmentation, and one step of the optimiser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.preprocess import CIFAR10
from jaxinterp.models.vgg import VGG
from jaxinterp.train.step import augment, initial_state, make_optimizer, make_step


@pytest.mark.parametrize(("crop", "pad"), [(8, 2), (5, 0), (8, 0), (12, 2)])
def test_every_crop_is_a_part_of_its_image_or_of_the_mirror_image(crop, pad):
    # Every pixel is its own number, so that a crop is found at one place only.
    images = np.arange(1, 1 + 24 * 8 * 8 * 3, dtype=np.float32).reshape(24, 8, 8, 3)
    crops = np.asarray(augment(jax.random.key(0), images, crop=crop, pad=pad))
    assert crops.shape == (24, crop, crop, 3)
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    places = set()
    for whole, part in zip(padded, crops, strict=True):
        found = [
            (row, column, mirrored)
            for mirrored, candidate in enumerate([part, part[:, ::-1]])
            for row in range(padded.shape[1] - crop + 1)
            for column in range(padded.shape[2] - crop + 1)
            if (whole[row : row + crop, column : column + crop] == candidate).all()
        ]
        assert len(found) == 1
        places.add(found[0])
    choices = 2 * (padded.shape[1] - crop + 1) ** 2
    assert len(places) > min(choices, 24) / 3  # each image has its own place
    assert {mirrored for _, _, mirrored in places} == {0, 1}
    assert max(row for row, _, _ in places) <= padded.shape[1] - crop


def test_nothing_is_mirrored_unless_wanted():
    images = np.random.default_rng(0).normal(size=(9, 8, 8, 3)).astype(np.float32)
    key = jax.random.key(3)
    plain = np.asarray(augment(key, images, crop=8, pad=0, mirror=False))
    np.testing.assert_array_equal(plain, images)
    mirrored = np.asarray(augment(key, images, crop=8, pad=0))
    assert 0 < (mirrored != images).any((1, 2, 3)).sum() < len(images)


def test_augmentation_depends_on_the_key_alone():
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype(np.float32)
    first, same, other = (
        augment(jax.random.key(seed), images, crop=8, pad=2) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def slow_rate(step, steps, peak, warmup):
    """Up from a tenth of the peak, down to a tenth at 99 % of the steps, then to a thousandth."""
    corners = [(0, peak / 10), (int(warmup * steps), peak), (int(0.99 * steps), peak / 10)]
    corners.append((steps, peak / 10 / 100 / 10))
    return np.interp(step, *zip(*corners, strict=True))


CYCLES = [(20, 0.5), (10, 0.2)]


def test_the_optimizer_is_nesterov_momentum_on_cycles():
    warmup, momentum, decay = 0.2, 0.9, 0.1
    optimizer = make_optimizer(cycles=CYCLES, warmup=warmup, momentum=momentum, weight_decay=decay)
    rates = [
        slow_rate(step, steps, peak, warmup) for steps, peak in CYCLES for step in range(steps)
    ]
    random = np.random.default_rng(0)
    params = {"weight": random.normal(size=(3, 2)), "bias": random.normal(size=2)}
    velocity = {name: np.zeros_like(value) for name, value in params.items()}
    actual = jax.tree.map(jnp.float32, params)
    state = optimizer.init(actual)
    for rate in rates:
        grads = {name: random.normal(size=value.shape) for name, value in params.items()}
        updates, state = optimizer.update(jax.tree.map(jnp.float32, grads), state, actual)
        actual = {name: actual[name] + updates[name] for name in actual}
        for name in params:
            slope = grads[name] + (decay * params[name] if name == "weight" else 0)
            velocity[name] = momentum * velocity[name] + slope
            nesterov = slope + momentum * velocity[name]
            params[name] = params[name] - rate * nesterov
    for name, value in params.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-4, atol=1e-5)


def test_a_step_changes_parameters_and_statistics_and_measures_the_batch():
    blueprint = Blueprint(
        lambda: VGG(((4,),), batch_norm=True, classes=3, hidden=(), grid=1, pool_last=False)
    )
    optimizer = make_optimizer(cycles=[(9, 0.1)], warmup=0.2, momentum=0, weight_decay=0)
    state = initial_state(blueprint, optimizer, seed=0)
    before = jax.tree.map(np.array, state)
    assert before.step == 0
    assert set(state.statistics) == blueprint.statistics
    assert set(state.params) == set(blueprint.shapes) - blueprint.statistics
    step = make_step(blueprint, optimizer, CIFAR10, label_smoothing=0.3, crop=8, pad=0)
    # Constant images are alike wherever they are cropped.
    images = np.empty((3, 8, 8, 3), np.uint8)
    images[:] = np.asarray([[10, 200, 90], [250, 3, 60], [120, 120, 7]])[:, None, None]
    labels = np.asarray([2, 0, 0])
    module = blueprint.bind(before.params | before.statistics)
    logits = np.asarray(module(CIFAR10(images / np.float32(255)), training=True), np.float64)
    state, measures = step(jax.random.key(0), state, images, labels)
    targets = 0.7 * np.eye(3)[labels] + 0.3 / 3
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert float(measures["loss"]) == pytest.approx(
        -(targets * log_probabilities).sum(1).mean(), 1e-4
    )
    assert float(measures["accuracy"]) == pytest.approx((logits.argmax(1) == labels).mean())
    assert state.step == 1
    for name in ("features.0.weight", "features.1.bias", "classifier.0.weight"):
        assert (state.params[name] != before.params[name]).any(), name
    for name, value in blueprint.read(module).items():
        if name in state.statistics:
            np.testing.assert_allclose(state.statistics[name], value, rtol=1e-4, atol=1e-6)
            assert (state.statistics[name] != before.statistics[name]).any()
