"""Every transformation on the same network in every framework."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.transform import capture, edit, guided_backprop, stage, tail, taps, with_rules

NAMES = ("conv1", "relu1", "conv2", "relu2", "logits")


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_taps_lists_names_and_shapes(network, images, expected_maps):
    found = taps(network.apply, network.params, images)
    shapes = {name: found[name].shape for name in found}
    assert shapes == {name: expected_maps[name].shape for name in NAMES}
    assert list(found) == list(NAMES)


@pytest.mark.parametrize("wrap", [lambda fn: fn, jax.jit], ids=["eager", "jit"])
def test_capture_reads_every_map(network, images, expected_maps, wrap):
    values = wrap(capture(network.apply, NAMES))(network.params, images)
    assert set(values) == set(NAMES)
    for name in NAMES:
        close(values[name], expected_maps[name])


def test_capture_under_vmap(network, images, expected_maps):
    one = capture(network.apply, ["relu2"])
    values = jax.vmap(one, (None, 0))(network.params, images[:, None])
    close(values["relu2"][:, 0], expected_maps["relu2"])


def test_capture_can_be_differentiated(network, images):
    def energy(images):
        return (capture(network.apply, ["conv1"])(network.params, images)["conv1"] ** 2).sum()

    direction = jnp.ones_like(images)
    slope = jnp.vdot(jax.grad(energy)(images), direction)
    # The energy is a quadratic function of the images, so the central difference is exact.
    close(slope, (energy(images + direction) - energy(images - direction)) / 2)


def test_edit_ablates_a_kernel(network, images, expected_maps):
    def ablated(kernel):
        zeroed = {"relu2": lambda maps: maps.at[..., kernel].set(0)}
        return edit(network.apply, zeroed)(network.params, images)

    logits = jax.jit(jax.vmap(ablated))(jnp.arange(5))
    mean = expected_maps["relu2"].mean((1, 2))
    whole = expected_maps["logits"]
    bias = edit(network.apply, {"relu2": jnp.zeros_like})(network.params, images)
    # Each kernel's share is taken away once, so the shares add up to the logits without bias.
    shares = whole - logits
    close(shares.sum(0), whole - bias)
    assert np.abs(shares).max() > 0.01
    close(shares[mean.T == 0], 0)


def test_tail_is_the_network_above(network, images, expected_maps):
    above = tail(network.apply, "relu1", network.params, images)
    assert above.full_cut
    close(above.value, expected_maps["relu1"])
    close(above.fn(above.value), expected_maps["logits"])
    changed = edit(network.apply, {"relu1": lambda x: x * 2})(network.params, images)
    close(above.fn(above.value * 2), changed)


def test_stage_prepares_without_changing_the_function(network, images, expected_maps):
    prepared, staged = stage(network.apply, network.params, images)
    close(jax.jit(staged)(prepared, images), expected_maps["logits"])


def test_guided_backprop_is_the_same_in_every_framework(network, plain, images):
    def saliency(network):
        guided = with_rules(network.apply, guided_backprop)
        return jax.grad(lambda images: guided(network.params, images)[:, 1].sum())(images)

    close(saliency(network), saliency(plain))
    ordinary = jax.grad(lambda images: plain.apply(plain.params, images)[:, 1].sum())(images)
    assert np.abs(saliency(network) - ordinary).max() > 1e-3
