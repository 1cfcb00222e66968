"""What was compiled for a function serves it only as long as it does the same."""

import functools

import jax
import numpy as np
import pytest
from small_networks import linear, make_images, make_params

from jaxinterp.attribution import integrated_gradients, logit
from jaxinterp.attribution.fingerprints import Fingerprinted, fingerprint
from jaxinterp.attribution.loops import _compiled
from jaxinterp.attribution.lrp import epsilon_plus_flat
from jaxinterp.attribution.smooth_grad import _Samples as smooth_walk
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.resnet import RESNETS, ResNet

PARAMS, IMAGES = make_params(), make_images(1)
FACTORS = {"global": 1.0}


def scaled_by_global(params, images):
    return linear(params, images) * FACTORS["global"]


def closures():
    """Functions with a factor that may change, and what changes it."""
    inside = {"factor": 1.0}
    factor = 1.0

    def rebind(value):
        nonlocal factor
        factor = value

    class Scaled:
        factor = 1.0

        def apply(self, params, images):
            return linear(params, images) * self.factor

    array, owner = np.ones(1, np.float32), Scaled()
    return {
        "global": (scaled_by_global, lambda value: FACTORS.update({"global": value})),
        "container": (
            lambda params, images: linear(params, images) * inside["factor"],
            lambda value: inside.update(factor=value),
        ),
        "variable": (lambda params, images: linear(params, images) * factor, rebind),
        "array": (lambda params, images: linear(params, images) * array, array.fill),
        "method": (owner.apply, lambda value: setattr(owner, "factor", value)),
    }


@pytest.mark.parametrize("case", closures())
def test_a_function_that_changed_is_compiled_anew(case):
    fn, change = closures()[case]

    def score(factor):
        change(factor)
        return integrated_gradients(fn, PARAMS, IMAGES, logit(), [1], n_steps=1).score

    np.testing.assert_allclose(score(3.0), 3 * score(1.0), rtol=1e-6)


def test_what_stays_the_same_is_compiled_once():
    blueprint = Blueprint(lambda: ResNet(RESNETS["resnet18"], classes=10))
    composites = (epsilon_plus_flat(), epsilon_plus_flat())
    partial = functools.partial(linear, PARAMS["one"].shape)
    for value in (blueprint.apply, linear, jax.jit(linear), logit(), composites[0], partial):
        assert fingerprint(value) == fingerprint(value)
    walks = [smooth_walk(linear, logit(), composite) for composite in composites]
    assert _compiled(walks[0], 1) is _compiled(walks[0], 1)
    assert _compiled(walks[0], 1) is not _compiled(walks[0], 2)
    assert fingerprint(1) != fingerprint(True)
    assert fingerprint(0.0) != fingerprint(-0.0)
    assert Fingerprinted.of(lambda x: x * PARAMS["one"]) is None
