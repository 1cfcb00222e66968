"""Measures against scikit-image, NumPy and cases whose answer is known."""

import jax
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from jaxinterp.metrics import correlation, map_similarity, mse_rest, mse_selected, ssim

GENERATOR = np.random.default_rng(0)


def noisy_pair(height, width, noise=0.3):
    """A smooth map and a disturbed copy, non-negative as after a ReLU."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    smooth = np.maximum(np.sin(7 * x) + np.cos(5 * y), 0)
    other = np.maximum(smooth + noise * GENERATOR.normal(size=smooth.shape), 0)
    return smooth.astype(np.float32), other.astype(np.float32)


@pytest.mark.parametrize("shape", [(11, 11), (16, 12), (32, 40)])
def test_ssim_is_scikit_images_from_11_px_on(shape):
    first, second = noisy_pair(*shape)
    limit = first.max()
    expected = structural_similarity(
        first,
        second,
        data_range=limit,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    np.testing.assert_allclose(ssim(first, second, data_range=limit), expected, atol=2e-5)


@pytest.mark.parametrize(("side", "window"), [(7, 7), (8, 7), (9, 9), (10, 9)])
def test_ssim_of_smaller_maps_slowly(side, window):
    first, second = noisy_pair(side, side)
    weights = np.exp(-0.5 * ((np.arange(window) - window // 2) / 1.5) ** 2)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    c1, c2 = (0.01 * first.max()) ** 2, (0.03 * first.max()) ** 2
    values = []
    for y in range(side - window + 1):
        for x in range(side - window + 1):
            a = first[y : y + window, x : x + window].astype(np.float64)
            b = second[y : y + window, x : x + window].astype(np.float64)
            ma, mb = (weights * a).sum(), (weights * b).sum()
            va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
            cab = (weights * (a - ma) * (b - mb)).sum()
            upper = (2 * ma * mb + c1) * (2 * cab + c2)
            values.append(upper / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    np.testing.assert_allclose(
        ssim(first, second, data_range=first.max()), np.mean(values), atol=2e-5
    )


@pytest.mark.parametrize("side", [4, 7, 16])
def test_similarity_is_1_for_equal_maps_and_low_for_unrelated_ones(side):
    maps = np.abs(GENERATOR.normal(size=(50, side, side))).astype(np.float32)
    np.testing.assert_allclose(map_similarity(maps, maps)[1], 1, atol=1e-5)
    name, unrelated = map_similarity(maps[:25], maps[25:])
    assert name == ("ssim" if side >= 7 else "correlation")
    # dm_pix's SSIM gives unrelated 4 x 4 maps 0.79.
    assert abs(np.mean(unrelated)) < 0.2


def test_ssim_refuses_small_maps_and_unequal_shapes():
    with pytest.raises(ValueError, match="at least 7x7, got 6x9"):
        ssim(np.ones((6, 9)), np.ones((6, 9)), data_range=1.0)
    with pytest.raises(ValueError, match="cannot be compared"):
        ssim(np.ones((8, 9)), np.ones((9, 8)), data_range=1.0)


def test_correlation_is_numpys_and_0_for_constant_maps():
    first, second = GENERATOR.normal(size=(2, 10, 5, 6)).astype(np.float32)
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(correlation(first, second), expected, atol=1e-5)
    np.testing.assert_array_equal(correlation(first, np.ones_like(first)), 0)


def test_errors_slowly():
    maps, original = GENERATOR.normal(size=(2, 4, 5, 6, 7)).astype(np.float32)
    kernels = np.array([0, 6, 3, 3])
    for lane, kernel in enumerate(kernels):
        others = [j for j in range(7) if j != kernel]
        np.testing.assert_allclose(
            mse_rest(maps, kernels)[lane], np.mean(maps[lane][..., others] ** 2), rtol=1e-5
        )
        np.testing.assert_allclose(
            mse_selected(maps, original, kernels)[lane],
            np.mean((maps[lane] - original[lane])[..., kernel] ** 2),
            rtol=1e-5,
        )
    np.testing.assert_allclose(
        jax.vmap(mse_rest)(maps, kernels), mse_rest(maps, kernels), rtol=1e-6
    )
