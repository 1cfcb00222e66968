"""The measures of a grid, on grids that are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.errors import UserError
from jaxinterp.metrics.artefact import grid_share, phase_variation

SIDE = 120  # a multiple of 2, 3, 4 and 5


def grid(stride, side=SIDE):
    """One pixel of each cell."""
    signal = np.zeros((side, side, 1), np.float32)
    signal[::stride, ::stride] = 1
    return signal


def smooth(side=SIDE):
    y, x = np.mgrid[:side, :side] / side
    return (np.sin(5 * x) + np.cos(4 * y + 1))[..., None].astype(np.float32)


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
def test_a_grid_is_all_grid_and_a_smooth_signal_is_none(stride):
    assert grid_share(grid(stride), stride) > 0.99
    assert grid_share(smooth(), stride) < 1e-4
    np.testing.assert_allclose(phase_variation(grid(stride), stride), stride**2 - 1, rtol=1e-5)
    assert phase_variation(np.ones_like(grid(stride)), stride) < 1e-10


@pytest.mark.parametrize(("row", "column"), [(1, 0), (0, 1), (1, 1), (2, 1), (2, 2)])
def test_every_frequency_of_the_grid_counts(row, column):
    y, x = np.mgrid[:128, :128]
    wave = np.cos(2 * np.pi * (row * y + column * x) / 4)[..., None].astype(np.float32)
    assert grid_share(wave, 4) > 0.99
    between = np.cos(2 * np.pi * (row + 0.5) * y / 4)[..., None].astype(np.float32)
    assert grid_share(between, 4) < 0.01


def test_grid_share_slowly():
    """The sum over frequencies one by one, from the transform's definition."""
    side, stride, bandwidth = 12, 3, 0.1
    signal = np.random.default_rng(0).normal(size=(side, side, 2))
    window = np.sin(np.pi * np.arange(1, side + 1) / (side + 1)) ** 2
    window = np.outer(window, window)[..., None]
    centred = (signal - (signal * window).sum((0, 1)) / window.sum()) * window
    total = at_grid = 0.0
    y, x = np.mgrid[:side, :side]
    for row in range(side):
        for column in range(side):
            wave = np.exp(-2j * np.pi * (row * y + column * x) / side)
            power = (np.abs((centred * wave[..., None]).sum((0, 1))) ** 2).sum()
            total += power
            at_grid += power * any(
                np.hypot(row / side - i / stride, column / side - j / stride) <= bandwidth
                for i in range(stride + 1)
                for j in range(stride + 1)
                if i % stride or j % stride
            )
    share = grid_share(signal.astype(np.float32), stride, bandwidth=bandwidth)
    np.testing.assert_allclose(share, at_grid / total, rtol=1e-4)


def test_neither_size_nor_batch_matters():
    signals = np.stack([grid(2), smooth(), grid(2) + 3 * smooth()])
    for measure in (grid_share, phase_variation):
        together = measure(signals, 2)
        assert together.shape == (3,)
        np.testing.assert_allclose(together, [measure(one, 2) for one in signals], atol=1e-6)
        np.testing.assert_allclose(together, measure(7 * signals, 2), rtol=1e-4, atol=1e-6)
        assert measure(np.zeros_like(signals), 2).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", ["uint8", "bfloat16"])
def test_other_dtypes_are_measured_as_float32(dtype):
    signal = np.random.default_rng(0).integers(0, 100, (32, 32, 1)).astype(jnp.dtype(dtype))
    for measure in (grid_share, phase_variation):
        expected = measure(signal.astype(np.float32), 2)
        assert expected > 0
        np.testing.assert_allclose(measure(signal, 2), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (lambda: grid_share(grid(2), 1), "at least 2 pixels, not 1"),
        (lambda: phase_variation(grid(2), 1), "at least 2 pixels, not 1"),
        (lambda: grid_share(grid(4), 4, bandwidth=0.125), "between 0 and 0.125"),
        (lambda: grid_share(grid(4), 4, bandwidth=0), "between 0 and 0.125"),
        (lambda: phase_variation(grid(2, side=3), 4), "3 x 3 pixels is smaller than a cell"),
    ],
)
def test_what_is_no_grid(measure, words):
    with pytest.raises(UserError, match=words):
        measure()
