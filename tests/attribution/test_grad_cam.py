"""Grad-CAM against its two equations."""

import functools

import jax
import numpy as np
import pytest
from small_networks import SIDE, chain, make_images, make_params

from jaxinterp.attribution import grad_cam, kernel_sum, logit
from jaxinterp.errors import UserError
from jaxinterp.transform import tail, tap

PARAMS, IMAGES = make_params(), make_images()


def test_it_is_the_rectified_sum_of_maps_weighed_by_mean_gradients():
    targets = [0, 2, 4]
    found = np.asarray(grad_cam(chain, PARAMS, IMAGES, logit(), targets, "pool1"))
    above = tail(chain, "pool1", PARAMS, IMAGES)
    maps = np.asarray(above.value)
    for row, target in enumerate(targets):
        slope = jax.grad(lambda values, target=target: above.fn(values)[:, target].sum())
        weights = np.asarray(slope(above.value)).mean((1, 2))
        for image in range(len(IMAGES)):
            expected = np.zeros(maps.shape[1:3])
            for kernel in range(maps.shape[-1]):
                expected += weights[image, kernel] * maps[image, :, :, kernel]
            np.testing.assert_allclose(found[row, image], np.maximum(expected, 0), atol=1e-5)
    assert found.max() > 0


def test_resizing_is_bilinear():
    call = functools.partial(grad_cam, chain, PARAMS, IMAGES, logit(), [0, 2], "pool1")
    small, large = np.asarray(call()), np.asarray(call(resize=True))
    assert large.shape == (2, 2, SIDE, SIDE)
    # Pixel 2 i + 1 of a row lies a quarter of the way from pixel i to pixel i + 1.
    rows = 0.75 * small[:, :, :-1] + 0.25 * small[:, :, 1:]
    expected = 0.75 * rows[..., :-1] + 0.25 * rows[..., 1:]
    np.testing.assert_allclose(large[:, :, 1:-2:2, 1:-2:2], expected, atol=1e-5)


def test_channels_may_come_first():
    def channels_first(params, images):
        maps = tap(jax.nn.relu(images), "maps")
        return maps.mean((2, 3)) @ params["dense"][:3]

    def channels_last(params, images):
        maps = tap(jax.nn.relu(images), "maps")
        return maps.mean((1, 2)) @ params["dense"][:3]

    wide = make_images()[:, :5]
    options = {"seed": logit(), "targets": [0, 2], "layer": "maps", "resize": True}
    expected = grad_cam(channels_last, PARAMS, wide, **options)
    first = wide.transpose(0, 3, 1, 2)
    found = grad_cam(channels_first, PARAMS, first, **options, channel_axis=1)
    assert found.shape == (2, 2, 5, SIDE)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_refused():
    with pytest.raises(UserError, match="feature maps"):
        grad_cam(chain, PARAMS, IMAGES, logit(), [0], "logits")
    with pytest.raises(UserError, match="does not depend"):
        grad_cam(chain, PARAMS, IMAGES, kernel_sum("relu1"), [0], "relu2")
