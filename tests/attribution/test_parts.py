"""Layers and rules below a seed's layer, named as the whole function names them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import chain, convolve, make_images, make_params

from jaxinterp.attribution import (
    backward,
    conductance,
    grad_cam,
    gradient,
    kernel_map,
    kernel_sum,
    layer_integrated_gradients,
    logit,
)
from jaxinterp.attribution.lrp import epsilon_everywhere, lrp, rules
from jaxinterp.errors import UserError
from jaxinterp.transform import Composite, TapError, tap

PARAMS, IMAGES = make_params(), make_images()


def branches(params, images, names=("relu", "relu", "relu")):
    """A stem and two branches, whose taps have the same name."""
    stem = tap(jax.nn.relu(convolve(images, params["one"])), names[0])
    first = tap(jax.nn.relu(convolve(stem, params["two"])), names[1])
    second = tap(jax.nn.relu(convolve(stem, -params["two"])), names[2])
    second = tap(2 * second, "b2")
    return (first + second).mean((1, 2)) @ params["dense"]


named_apart = functools.partial(branches, names=("stem", "a", "b"))


def zero(operation, inputs, cotangent):
    return (jnp.zeros_like(inputs[0]),)


CALLS = {
    "backward": lambda fn, name: backward(
        fn, PARAMS, IMAGES, kernel_sum("b2"), [0], layers=[name]
    ).layers[name],
    "grad_cam": lambda fn, name: grad_cam(fn, PARAMS, IMAGES, kernel_sum("b2"), [0], name),
    "lrp": lambda fn, name: lrp(
        fn,
        PARAMS,
        IMAGES,
        kernel_map("b2"),
        [0],
        layers=[name],
        composite=epsilon_everywhere(others=None),
    ).sums[name],
    "conductance": lambda fn, name: conductance(
        fn, PARAMS, IMAGES, kernel_sum("b2"), [0], [name], n_steps=2
    ).attributions[name],
    "layer": lambda fn, name: layer_integrated_gradients(
        fn, PARAMS, IMAGES, kernel_sum("b2"), [0], [name], n_steps=2
    ).attributions[name],
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_repeated_name_means_the_functions_tap_not_the_parts(call):
    """The part below "b2" has no `relu[1]`; what is left is counted anew in it."""
    with pytest.raises(UserError, match=r"'b2' does not depend on layer 'relu\[1\]'"):
        call(branches, "relu[1]")
    expected = np.asarray(call(named_apart, "b"))
    assert expected.any()
    np.testing.assert_allclose(call(branches, "relu[2]"), expected, rtol=1e-5)


def test_sums_of_relevance_have_the_functions_names():
    composite = epsilon_everywhere(others=None)
    result = lrp(branches, PARAMS, IMAGES, kernel_map("b2"), [0], composite=composite)
    assert list(result.sums) == ["relu[0]", "relu[2]", "b2"]


def test_a_rule_for_a_repeated_layer_goes_to_the_functions():
    def twice(params, images):
        x = tap(jax.nn.relu(images), "relu")
        return tap(jax.nn.relu(x * 2 - 1), "relu").mean((1, 2)) @ params["dense"][:3]

    def call(layer, seed):
        rules = Composite(layers={layer: zero})
        return gradient(twice, PARAMS, IMAGES, kernel_map(seed), [0], composite=rules)

    assert not call("relu[0]", "relu[0]").any()
    assert not call("relu[0]", "relu[1]").any()
    assert call("relu[1]", "relu[0]").any()  # it lies above


def test_a_layer_that_is_alone_in_the_part_but_not_in_the_function():
    def twice(params, images):
        x = tap(jax.nn.relu(convolve(images, params["one"])), "relu")
        return tap(jax.nn.relu(x), "relu").mean((1, 2)) @ params["dense"]

    heat = grad_cam(twice, PARAMS, IMAGES, kernel_sum("relu[0]"), [1], "relu[0]")
    maps = jax.nn.relu(convolve(IMAGES, PARAMS["one"]))
    np.testing.assert_allclose(heat[0], maps[..., 1], atol=1e-6)


@jax.custom_vjp
def halved(x):
    return tap(x / 2, "inside")


halved.defvjp(lambda x: (halved(x), None), lambda _, cotangent: (cotangent / 2,))


def with_own_derivative(params, images):
    x = halved(tap(convolve(images, params["one"]), "conv1"))
    return tap(x.mean((1, 2)) @ params["dense"], "logits")


def test_relevance_leaves_out_taps_where_nothing_can_be_added():
    composite = Composite({"dense": rules.epsilon()})
    call = functools.partial(lrp, with_own_derivative, PARAMS, IMAGES, logit(), [1])
    assert list(call(composite=composite).sums) == ["conv1", "logits"]
    with pytest.raises(TapError, match="inside"):
        call(composite=composite, layers=["inside"])


def test_one_layer_may_be_named_by_a_string():
    found = backward(chain, PARAMS, IMAGES, logit(), [1], layers="relu1").layers
    expected = backward(chain, PARAMS, IMAGES, logit(), [1], layers=["relu1"]).layers
    jax.tree.map(np.testing.assert_array_equal, found, expected)
