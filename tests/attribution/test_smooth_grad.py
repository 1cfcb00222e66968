"""SmoothGrad: the noise's size, and independence from how the samples are processed."""

import functools

import jax
import numpy as np
import pytest
from small_networks import CLASSES, chain, linear, make_images, make_params

from jaxinterp.attribution import Seed, gradient, guided_backprop, logit, smooth_grad
from jaxinterp.errors import UserError
from jaxinterp.transform import guided_backprop as guided_rules

KEY, PARAMS, IMAGES = jax.random.key(0), make_params(), make_images()

# Half the squared norm of the image: its gradient is the noisy image itself.
HALF_SQUARE = Seed(None, lambda values, target: (values**2).sum((1, 2, 3)) / 2)


def itself(params, images):
    return images


def test_the_noise_has_the_share_of_each_images_range():
    images = np.stack([IMAGES[0], 10 * IMAGES[1]])
    options = {"n_samples": 1, "sigma": 0.2}
    noisy = smooth_grad(KEY, itself, None, images, HALF_SQUARE, [0], **options)[0]
    noise = np.asarray(noisy - images)
    ranges = images.max((1, 2, 3)) - images.min((1, 2, 3))
    np.testing.assert_allclose(noise.std((1, 2, 3)), 0.2 * ranges, rtol=0.15)
    np.testing.assert_allclose(noise.mean((1, 2, 3)), 0, atol=0.05 * ranges.max())
    assert np.abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.3
    many = smooth_grad(KEY, itself, None, images, HALF_SQUARE, [0], n_samples=100, sigma=0.2)[0]
    ratio = np.asarray(many - images).std((1, 2, 3)) / noise.std((1, 2, 3))
    np.testing.assert_allclose(ratio, 0.1, rtol=0.3)


def test_a_linear_network_has_its_gradient_whatever_the_noise():
    found = smooth_grad(KEY, linear, PARAMS, IMAGES, logit(), [0, 2], n_samples=7, batch_size=4)
    expected = gradient(linear, PARAMS, IMAGES, logit(), [0, 2])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_half_precision_stays_so_whatever_the_type_of_sigma():
    images = jax.numpy.asarray(IMAGES, jax.numpy.bfloat16)
    call = functools.partial(
        smooth_grad, KEY, itself, None, images, HALF_SQUARE, [0], n_samples=300, batch_size=1
    )
    found = call(sigma=np.float32(0))
    assert found.dtype == images.dtype
    difference = np.asarray(found[0] - images, np.float32)
    np.testing.assert_allclose(difference, 0, atol=5e-3 * np.abs(IMAGES).max())


def test_without_noise_it_is_the_gradient():
    options = {"n_samples": 3, "sigma": 0.0}
    found = smooth_grad(KEY, chain, PARAMS, IMAGES, logit(), [1], **options, composite=guided_rules)
    expected = guided_backprop(chain, PARAMS, IMAGES, logit(), [1])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_micro_batches_and_jit_change_nothing():
    call = functools.partial(
        smooth_grad, KEY, chain, seed=logit(), targets=[0, 3, 4], n_samples=7, times_input=True
    )
    expected = call(PARAMS, IMAGES)
    for size in (2, 50):
        np.testing.assert_allclose(call(PARAMS, IMAGES, batch_size=size), expected, atol=1e-5)
    traced = jax.jit(functools.partial(call, batch_size=6))(PARAMS, IMAGES)
    np.testing.assert_allclose(traced, expected, atol=1e-5)
    other = smooth_grad(jax.random.key(1), chain, PARAMS, IMAGES, logit(), [0], n_samples=7)
    assert np.abs(other * IMAGES - expected[0]).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples"),
        ({"n_samples": 1.5}, "whole number"),
        ({"sigma": -0.1}, "sigma"),
        ({"targets": [CLASSES]}, "out of range"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        smooth_grad(KEY, chain, PARAMS, IMAGES, logit(), **{"targets": [0], **options})
