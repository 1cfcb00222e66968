"""Micro-batches: never empty, never over what they may take, no larger than needed."""

import jax
import numpy as np
import pytest
from hypothesis import given, strategies
from small_networks import SIDE, chain, make_params

from jaxinterp.attribution.micro_batches import choose_micro_batch, in_chunks, memory_of

COUNTS = strategies.integers(1, 200)


@given(images=COUNTS, steps=COUNTS, targets=COUNTS, batch_size=COUNTS)
def test_a_given_size_is_kept(images, steps, targets, batch_size):
    batch = choose_micro_batch(
        images, steps, targets, batch_size=batch_size, memory=1, estimate=lambda: (1, 1)
    )
    assert min(batch) >= 1
    assert batch.images * batch.points * batch.targets <= batch_size
    assert batch.images <= images
    assert batch.points <= steps
    assert batch.targets <= targets


@given(images=COUNTS, steps=COUNTS, targets=COUNTS, memory=strategies.integers(1, 10**5))
def test_memory_is_kept_unless_one_point_takes_more(images, steps, targets, memory):
    kept, back = 30.0, 7.0
    batch = choose_micro_batch(
        images, steps, targets, batch_size=None, memory=memory, estimate=lambda: (kept, back)
    )
    assert min(batch) >= 1
    taken = batch.images * batch.points * (kept + batch.targets * back)
    assert taken <= max(memory, kept + back)
    assert batch.points <= steps


@pytest.mark.parametrize(("count", "size"), [(7, 3), (6, 3), (1, 4)])
def test_chunks_hold_every_value_once(count, size):
    values = np.arange(1.0, count + 1)
    chunks = in_chunks(values, size, fill=-1)
    assert chunks.shape[1] == size
    np.testing.assert_array_equal(chunks.ravel()[:count], values)
    assert (chunks.ravel()[count:] == -1).all()
    assert chunks.size - count < size


def test_other_values_may_be_kept_of_one_point_than_of_two():
    def forward(points):
        return jax.numpy.sin(points) if len(points) == 1 else jax.numpy.sin(points) ** 2

    kept, back = memory_of(forward, jax.ShapeDtypeStruct((100,), "float32"))
    assert 400 < kept < 4000
    assert 3 * 400 <= back <= 3 * kept


def test_the_estimate_counts_what_a_point_keeps_and_no_parameters():
    params = make_params()
    kept, back = memory_of(
        lambda points: chain(params, points), jax.ShapeDtypeStruct((SIDE, SIDE, 3), "float32")
    )
    maps = SIDE * SIDE * 4 * 4  # bytes of the first layer's
    assert maps < kept < 10 * maps
    assert back == 3 * maps
    larger, _ = memory_of(
        lambda points: chain(params, points),
        jax.ShapeDtypeStruct((SIDE * 2, SIDE * 2, 3), "float32"),
    )
    assert 3.5 * kept < larger < 4.5 * kept
