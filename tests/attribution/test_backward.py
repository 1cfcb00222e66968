"""The backward pass from seeds: what arrives, what is shared, what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import CLASSES, SIDE, chain, equations, linear, make_images, make_params

from jaxinterp.attribution import (
    Seed,
    backward,
    deconvnet,
    gradient,
    guided_backprop,
    kernel_map,
    kernel_sum,
    logit,
    probability,
    unit,
)
from jaxinterp.errors import UserError
from jaxinterp.transform import (
    Composite,
    RuleError,
    UnknownTapError,
    capture,
    guided_backprop as guided_rules,
    tail,
    with_rules,
)

PARAMS, IMAGES = make_params(), make_images()


def layer_of(name, images):
    return capture(chain, [name])(PARAMS, images)[name]


def margin(logits, pair):
    first, second = pair
    rows = jnp.arange(len(logits))
    return logits[rows, first] - logits[rows, second]


# A seed, its targets [t], and the score of one image by plain indexing.
SEEDS = {
    "logit": (logit(), [1, 4], lambda x, k: chain(PARAMS, x)[0, k]),
    "probability": (probability(), [1, 4], lambda x, k: jax.nn.softmax(chain(PARAMS, x))[0, k]),
    "unit": (
        unit("relu2"),
        (np.array([0, 3]), np.array([1, 2]), np.array([3, 0])),
        lambda x, t: layer_of("relu2", x)[0, t[1], t[2], t[0]],
    ),
    "kernel_sum": (
        kernel_sum("relu2"),
        [0, 3],
        lambda x, k: layer_of("relu2", x)[0, :, :, k].sum(),
    ),
    "kernel_map": (
        kernel_map("relu1"),
        [0, 3],
        lambda x, k: (layer_of("relu1", x)[0, :, :, k] ** 2).sum() / 2,
    ),
    "own": (
        Seed(None, margin),
        (np.array([0, 3]), np.array([1, 2])),
        lambda x, t: chain(PARAMS, x)[0, t[0]] - chain(PARAMS, x)[0, t[1]],
    ),
}


@pytest.mark.parametrize(("seed", "targets", "score"), SEEDS.values(), ids=SEEDS)
def test_every_target_of_every_image_gets_its_own_gradient(seed, targets, score):
    found = backward(chain, PARAMS, IMAGES, seed, targets)
    as_rows = targets if isinstance(targets, list) else list(zip(*targets, strict=True))
    for row, target in enumerate(as_rows):
        one = jax.value_and_grad(lambda image, target=target: score(image[None], target))
        scores, expected = jax.jit(jax.vmap(one))(IMAGES)
        assert jnp.abs(expected).max() > 0
        np.testing.assert_allclose(found.score[row], scores, rtol=1e-5)
        np.testing.assert_allclose(found.images[row], expected, atol=1e-5)


def test_each_image_may_have_its_own_targets():
    both = gradient(chain, PARAMS, IMAGES, logit(), [1, 4])
    own = gradient(chain, PARAMS, IMAGES, logit(), np.array([[1, 4], [4, 1], [1, 1]]))
    np.testing.assert_allclose(own[0], [both[0, 0], both[1, 1]], atol=1e-6)
    np.testing.assert_allclose(own[1], [both[1, 0], both[0, 1]], atol=1e-6)
    np.testing.assert_allclose(own[2], both[0], atol=1e-6)


def test_what_arrives_at_layers_is_the_gradient_of_the_part_above():
    found = backward(chain, PARAMS, IMAGES, logit(), [2], layers=["relu1", "logits", "conv1"])
    for name, signal in found.layers.items():
        above = tail(chain, name, PARAMS, IMAGES)
        expected = jax.grad(lambda x, above=above: above.fn(x)[:, 2].sum())(above.value)
        np.testing.assert_allclose(signal[0], expected, atol=1e-5)


def test_relevance_starts_from_the_logit_itself_or_the_seeds_own():
    found = backward(chain, PARAMS, IMAGES, logit(), [2], start="relevance")
    expected = np.zeros((2, CLASSES))
    expected[:, 2] = chain(PARAMS, IMAGES)[:, 2]
    np.testing.assert_allclose(found.start[0], expected, rtol=1e-6)
    found = backward(chain, PARAMS, IMAGES, kernel_map("relu1"), [3], start="relevance")
    maps = layer_of("relu1", IMAGES)
    np.testing.assert_allclose(found.start[0, ..., 3], maps[..., 3])
    assert not found.start[0, ..., :3].any()


def test_targets_share_the_forward_pass_and_nothing_above_the_seed_is_computed():
    def count(targets, primitive, seed):
        traced = jax.make_jaxpr(lambda x: gradient(chain, PARAMS, x, seed, targets))(IMAGES)
        return equations(traced.jaxpr, primitive)

    seed = kernel_map("relu2")
    assert count([1], "conv_general_dilated", seed) == count(
        [0, 1, 2], "conv_general_dilated", seed
    )
    assert count([1], "dot_general", logit()) > 0
    assert count([1], "dot_general", seed) == 0


@pytest.mark.parametrize("method", [guided_backprop, deconvnet])
def test_guided_backprop_and_deconvnet_at_one_relu(method):
    def network(params, images):
        return jax.nn.relu(images).mean((1, 2)) @ params["dense"][:3]

    found = method(network, PARAMS, IMAGES, logit(), [1])[0]
    signal = np.broadcast_to(PARAMS["dense"][:3, 1] / SIDE**2, IMAGES.shape)
    passes = signal > 0 if method is deconvnet else (signal > 0) & (IMAGES > 0)
    assert (signal < 0).any()
    np.testing.assert_allclose(found, np.where(passes, signal, 0), rtol=1e-6)


def test_a_composite_need_not_occur_below_the_seed_but_in_the_network():
    seed = kernel_sum("conv1")
    guided = guided_backprop(chain, PARAMS, IMAGES, seed, [1])
    np.testing.assert_allclose(guided, gradient(chain, PARAMS, IMAGES, seed, [1]))
    with pytest.raises(RuleError, match="relu"):
        guided_backprop(linear, PARAMS, IMAGES, seed, [1])
    layers = Composite(guided_rules.operations, layers={"relu2": None})
    found = gradient(chain, PARAMS, IMAGES, kernel_map("relu1"), [1], composite=layers)
    expected = guided_backprop(chain, PARAMS, IMAGES, kernel_map("relu1"), [1])
    np.testing.assert_allclose(found, expected)


def test_rules_apply_to_the_whole_pass():
    found = guided_backprop(chain, PARAMS, IMAGES, logit(), [1])[0]
    ruled = with_rules(chain, guided_rules)
    expected = jax.grad(lambda x: ruled(PARAMS, x)[:, 1].sum())(IMAGES)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_channel_axis_may_be_elsewhere():
    def channels_first(params, images):
        return chain(params, images.transpose(0, 2, 3, 1)).reshape(-1, CLASSES, 1, 1)

    first = IMAGES.transpose(0, 3, 1, 2)
    found = gradient(channels_first, PARAMS, first, logit(channel_axis=1), [2])
    expected = gradient(chain, PARAMS, IMAGES, logit(), [2])
    np.testing.assert_allclose(found, expected.transpose(0, 1, 4, 2, 3), atol=1e-6)


def test_jit_and_times_input():
    call = functools.partial(gradient, chain, seed=logit(), times_input=True)
    found = jax.jit(call)(PARAMS, IMAGES, targets=jnp.array([2]))
    expected = gradient(chain, PARAMS, IMAGES, logit(), [2])
    np.testing.assert_allclose(found, expected * IMAGES, atol=1e-5)


def test_seeds_made_twice_are_one():
    assert unit("relu1") is unit("relu1")
    assert hash(logit()) == hash(logit())


WRONG = {
    "class": (logit(), [1, CLASSES], {}, UserError, "Target 6 .* 0 to 5"),
    "negative": (logit(), [-1], {}, UserError, "Target -1"),
    "row": (unit("relu1"), ([0], [SIDE], [0]), {}, UserError, "Target 8"),
    "parts": (unit("relu1"), [0], {}, UserError, "3 parts"),
    "unequal": (unit("relu1"), ([0, 1], [0], [0]), {}, UserError, "equally many"),
    "float": (logit(), [1.0], {}, UserError, "whole numbers"),
    "shape": (logit(), np.zeros((1, 3), int), {}, UserError, r"\[t, 2\]"),
    "above": (kernel_sum("relu1"), [0], {"layers": ["relu2"]}, UserError, "does not depend"),
    "seed layer": (kernel_sum("relu3"), [0], {}, UnknownTapError, "nearest: relu2"),
    "layer": (logit(), [0], {"layers": ["relu3"]}, UnknownTapError, "nearest: relu2"),
    "no targets": (logit(), [], {}, UserError, "no targets"),
    "vectors": (unit("logits"), ([0], [0], [0]), {}, UserError, r"kernel_sum"),
    "channels": (logit(channel_axis=5), [0], {}, UserError, "no channel axis 5"),
    "start": (logit(), [0], {"start": "signal"}, UserError, "'signal'"),
    "score": (Seed(None, lambda x, k: x), [0], {}, UserError, "one number for each image"),
}


@pytest.mark.parametrize(
    ("seed", "targets", "options", "error", "message"), WRONG.values(), ids=WRONG
)
def test_what_is_refused(seed, targets, options, error, message):
    with pytest.raises(error, match=message):
        backward(chain, PARAMS, IMAGES, seed, targets, **options)


WRONG_NETWORKS = {
    "tuple": (lambda params, images: (images, images), IMAGES, "one array, not a tuple"),
    "sum": (lambda params, images: images.sum(0), IMAGES, "must begin with .* 2 images"),
    "one number": (lambda params, images: images, np.float32(1), "first axis"),
}


@pytest.mark.parametrize(("fn", "images", "message"), WRONG_NETWORKS.values(), ids=WRONG_NETWORKS)
def test_what_is_refused_of_networks_and_images(fn, images, message):
    targets = [0] if np.ndim(images) else np.zeros((1, 1), int)
    with pytest.raises(UserError, match=message):
        backward(fn, PARAMS, images, logit(), targets)


def test_whole_numbers_are_no_images():
    with pytest.raises(UserError, match="uint8"):
        gradient(chain, PARAMS, np.zeros((1, SIDE, SIDE, 3), np.uint8), logit(), [0])
