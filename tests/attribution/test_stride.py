"""What stride-1 resampling takes out of deconvnet's and guided backprop's signals, and what not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.attribution import gradient, kernel_map, unit
from jaxinterp.metrics.artefact import grid_share, phase_variation
from jaxinterp.transform import (
    Composite,
    deconvnet,
    guided_backprop,
    stride_one,
    tap,
    with_stride_one,
)

SIDE = 96  # a multiple of all strides
KERNELS = 4
KEYS = jax.random.split(jax.random.key(0), 4)
# Smooth, as photographs are: what repeats at a grid's frequencies are the low ones.
IMAGES = jax.image.resize(jax.random.normal(KEYS[0], (2, 12, 12, 3)), (2, SIDE, SIDE, 3), "cubic")
SETTINGS = [(7, 2, 3), (11, 4, 0), (5, 3, 1)]
"""Size, stride and padding of the first convolution: ResNet's, VGG-F's, and an odd stride."""


def convolve(x, weight, stride, padding):
    return jax.lax.conv_general_dilated(
        x,
        weight,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def parameters(size):
    return {
        "first": jax.random.normal(KEYS[1], (size, size, 3, KERNELS)) / size,
        "second": jax.random.normal(KEYS[2], (3, 3, KERNELS, KERNELS)) / 3,
    }


def network(stride, padding, pooled=False):
    """Two convolutions, the first of them strided, and a pooling between them if asked."""

    def apply(params, images):
        x = tap(jax.nn.relu(convolve(images, params["first"], stride, padding)), "relu1")
        if pooled:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        return tap(jax.nn.relu(convolve(x, params["second"], 1, 1)), "relu2").mean((1, 2))

    return apply


GUIDED_FIRST = Composite(guided_backprop.operations, first=(("conv",), stride_one))
"""Resamples the first convolution only."""


def signals(apply, params, seed, targets, composite):
    """[targets, images, h, w, c]; under jit, where other mistakes show than without."""
    send = jax.jit(
        lambda params: gradient(apply, params, IMAGES, seed, targets, composite=composite)
    )
    return np.asarray(send(params))


@pytest.mark.parametrize(("size", "stride", "padding"), SETTINGS)
@pytest.mark.parametrize(
    ("composite", "layer"),
    [(guided_backprop, "relu1"), (deconvnet, "relu2")],
    ids=["guided", "deconvnet"],
)
def test_the_grid_falls_tenfold(composite, layer, size, stride, padding):
    apply, params = network(stride, padding), parameters(size)
    plain, smooth = (
        signals(apply, params, kernel_map(layer), jnp.arange(KERNELS), rules)
        for rules in (composite, with_stride_one(composite))
    )
    for measure in (grid_share, phase_variation):
        assert np.median(measure(plain, stride) / measure(smooth, stride)) > 10


def test_without_strides_nothing_changes():
    plain, smooth = (
        signals(network(1, 1), parameters(3), kernel_map("relu2"), jnp.arange(KERNELS), rules)
        for rules in (guided_backprop, with_stride_one(guided_backprop))
    )
    np.testing.assert_array_equal(smooth, plain)


def test_the_grid_of_a_pooling_falls_if_poolings_are_resampled_too():
    apply, params = network(2, 3, pooled=True), parameters(7)
    plain, convolutions, poolings = (
        np.median(
            grid_share(signals(apply, params, kernel_map("relu2"), jnp.arange(KERNELS), rules), 4)
        )
        for rules in (
            guided_backprop,
            with_stride_one(guided_backprop),
            with_stride_one(guided_backprop, pooling=True),
        )
    )
    assert poolings < convolutions / 2
    assert convolutions < plain


@pytest.mark.parametrize(("size", "stride", "padding"), [(7, 2, 3), (9, 4, 4)])
def test_it_is_the_strided_signal_summed_over_a_cell(size, stride, padding):
    """Where the stride divides the places, resizing repeats each signal s x s times.

    The signal at the image is then the strided one's, added up over all shifts by less than s.
    """
    params = parameters(size)
    apply = network(stride, padding)
    assert (SIDE + 2 * padding - size + 1) % stride == 0
    plain, smooth = (
        signals(apply, params, kernel_map("relu1"), [1], rules)
        for rules in (Composite(), with_stride_one(variant="paper"))
    )
    expected = sum(
        np.roll(plain, (down, right), (2, 3)) for down in range(stride) for right in range(stride)
    )
    inner = slice(size, SIDE - size)  # what is rolled over the edge, or cut off there, is no proof
    np.testing.assert_allclose(
        smooth[:, :, inner, inner], expected[:, :, inner, inner], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("size", "stride", "padding"), SETTINGS)
def test_a_units_signal_leaves_its_receptive_field_by_less_than_the_stride(size, stride, padding):
    apply, params = network(stride, padding), parameters(size)
    maps = np.asarray(convolve(IMAGES[:1], params["first"], stride, padding))[0, 3:-3, 3:-3, 0]
    row, column = (int(at) + 3 for at in np.unravel_index(maps.argmax(), maps.shape))
    target = ([0], [row], [column])
    signal = signals(apply, params, unit("relu1"), target, with_stride_one(guided_backprop))[0, 0]
    for axis, place in ((1, row), (0, column)):
        seen = np.flatnonzero(signal.any((axis, 2)))
        first = place * stride - padding
        assert first - stride < seen.min()
        assert seen.max() < first + size + stride - 1
        assert len(seen) > size  # it does reach beyond


def test_the_first_layer_alone():
    """Its grid goes; the other strides are left alone."""

    def apply(params, images):
        x = tap(jax.nn.relu(convolve(images, params["first"], 2, 3)), "relu1")
        return tap(jax.nn.relu(convolve(x, params["second"], 2, 1)), "relu2").mean((1, 2))

    plain, first, every = (
        signals(apply, parameters(7), kernel_map("relu2"), jnp.arange(KERNELS), rules)
        for rules in (guided_backprop, GUIDED_FIRST, with_stride_one(guided_backprop))
    )
    assert np.median(grid_share(plain, 2) / grid_share(first, 2)) > 10
    assert np.median(grid_share(first, 4) / grid_share(every, 4)) > 2
