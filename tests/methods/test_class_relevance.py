"""Equation 3 of class-specific relevance against loops over steps, units and pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_networks import CLASSES, SIDE, chain, make_images, make_params, skipping

from jaxinterp.attribution import logit
from jaxinterp.attribution.quadrature import quadrature
from jaxinterp.errors import UserError
from jaxinterp.methods.class_relevance import PARTS, class_relevance
from jaxinterp.methods.relevance_baselines import BASELINE_NAMES, baseline_inputs
from jaxinterp.models.preprocess import CIFAR10
from jaxinterp.transform import UnknownTapError, capture, edit, tail, tap

PARAMS, IMAGES = make_params(), make_images(3)
# Small logits, so that no probability is 0 or 1 but for rounding.
PARAMS["dense"] = PARAMS["dense"] / 10
TARGETS, LAYERS, STEPS, BASELINE = np.array([4, 0, 2]), ["relu1", "relu2"], 4, np.float32(0.25)
MASKS = np.random.default_rng(2).uniform(size=(3, 11, 13)) < 0.4
PSI = {
    "absolute": np.abs,
    "positive": lambda maps: np.where(maps > 0, maps, 0),
    "negative": lambda maps: np.where(maps < 0, -maps, 0),
    "signed": np.asarray,
}


def probability(network, images):
    logits = network(PARAMS, images)
    return jax.nn.softmax(logits)[jnp.arange(len(images)), TARGETS].sum()


def gradient_at(layer, points):
    """Of the probability with respect to a layer's values, at images."""
    values = capture(skipping, [layer])(PARAMS, points)[layer]

    def replaced(values):
        return probability(edit(skipping, {layer: lambda _: values}), points)

    # Where an edit replaces a value, what skips around it keeps the points' own.
    return jax.grad(replaced)(values)


def along_images(layer):
    """Conductance: gradient times derivative along the line of images."""
    total, direction = 0, IMAGES - BASELINE
    for alpha, weight in zip(*quadrature("gauss_legendre", STEPS), strict=True):
        points = BASELINE + np.float32(alpha) * direction
        below = functools.partial(capture(skipping, [layer]), PARAMS)
        _, derivative = jax.jvp(below, (points,), (direction,))
        total += weight * gradient_at(layer, points) * derivative[layer]
    return total


def along_values(layer):
    """The straight line in the layer's own space, what skips around it that of the image."""
    start, end = (
        capture(skipping, [layer])(PARAMS, x)[layer] for x in (0 * IMAGES + BASELINE, IMAGES)
    )
    above = [tail(skipping, layer, PARAMS, image[None]).fn for image in IMAGES]

    def score(values):
        logits = jnp.concatenate([fn(value[None]) for fn, value in zip(above, values, strict=True)])
        return jax.nn.softmax(logits)[jnp.arange(len(IMAGES)), TARGETS].sum()

    mean = sum(
        weight * jax.grad(score)(start + alpha * (end - start))
        for alpha, weight in zip(*quadrature("gauss_legendre", STEPS), strict=True)
    )
    return (end - start) * mean


def value_at(maps, row, column):
    """Bilinear interpolation at a place, [h, w, units] -> [units]; the edges go on."""
    row, column = (
        min(max(place, 0), size - 1) for place, size in zip((row, column), maps.shape, strict=False)
    )
    top, left = int(row), int(column)
    bottom, right = min(top + 1, maps.shape[0] - 1), min(left + 1, maps.shape[1] - 1)
    down, along = row - top, column - left
    upper = (1 - along) * maps[top, left] + along * maps[top, right]
    lower = (1 - along) * maps[bottom, left] + along * maps[bottom, right]
    return (1 - down) * upper + down * lower


def masked_sum(maps, mask):
    """Upsamples every map to the mask and adds up what the mask shows, [units]."""
    height, width = mask.shape
    return sum(
        mask[i, j]
        * value_at(
            maps, (i + 0.5) * maps.shape[0] / height - 0.5, (j + 0.5) * maps.shape[1] / width - 0.5
        )
        for i in range(height)
        for j in range(width)
    )


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("path", "slowly"), [("input", along_images), ("layer", along_values)])
def test_relevance_slowly(path, slowly, part):
    options = {"path": path, "part": part, "baselines": BASELINE, "n_steps": STEPS}
    found = class_relevance(skipping, PARAMS, IMAGES, TARGETS, LAYERS, MASKS, **options)
    assert list(found.units) == LAYERS
    for layer in LAYERS:
        attributions = integrated(slowly, layer)
        maps = PSI[part](attributions)
        expected = [masked_sum(one, mask) for one, mask in zip(maps, MASKS, strict=True)]
        largest = np.abs(expected).max()
        assert largest > 1e-3
        np.testing.assert_allclose(found.units[layer], expected, atol=1e-4 * largest)
        change = found.score - found.baseline_score[layer]
        np.testing.assert_allclose(
            found.delta[layer], attributions.sum((1, 2, 3)) - change, atol=1e-5
        )
    scores = jax.nn.softmax(skipping(PARAMS, IMAGES))[np.arange(3), TARGETS]
    np.testing.assert_allclose(found.score, scores, rtol=1e-5)
    np.testing.assert_array_equal(found.mask_sum, MASKS.sum((1, 2)))


@functools.cache
def integrated(derivation, layer):
    derive = jax.jit(
        lambda: derivation(layer), compiler_options={"xla_backend_optimization_level": 0}
    )
    return np.asarray(derive())


def relevance(*, images=IMAGES, targets=TARGETS, masks=None, network=chain, **options):
    options = {"n_steps": 3, "layers": LAYERS} | options
    layers = options.pop("layers")
    return class_relevance(network, PARAMS, images, targets, layers, masks, **options)


def test_parts_masks_and_completeness_add_up():
    parts = {part: relevance(part=part, masks=MASKS).units for part in PARTS}
    masks = [relevance(masks=mask).units for mask in (MASKS, ~MASKS, np.ones_like(MASKS))]
    # Sides that the maps' sides divide: every position then stands for equally many pixels.
    whole = np.ones((3, 2 * SIDE, 2 * SIDE))
    signed = relevance(part="signed", sum_over="positions", masks=whole)
    for layer, values in parts["absolute"].items():
        close = functools.partial(np.testing.assert_allclose, atol=1e-4 * np.max(values))
        close(values, parts["positive"][layer] + parts["negative"][layer])
        close(parts["signed"][layer], parts["positive"][layer] - parts["negative"][layer])
        close(masks[0][layer] + masks[1][layer], masks[2][layer])
        change = signed.score - signed.baseline_score[layer]
        close(signed.units[layer].sum(1), change + signed.delta[layer])


def test_no_mask_is_ones_on_the_images_grid():
    ones = relevance(masks=np.ones((3, SIDE, SIDE)))
    jax.tree.map(np.testing.assert_array_equal, relevance(), ones)


def test_pixels_are_positions_times_the_pixels_of_one():
    masks = np.repeat(np.repeat(MASKS[:, :8, :8], 3, 1), 3, 2)
    pixels, positions = (
        relevance(masks=masks, sum_over=over).units for over in ("pixels", "positions")
    )
    for layer, factor in {"relu1": 9, "relu2": 36}.items():
        np.testing.assert_allclose(pixels[layer], factor * positions[layer], rtol=1e-5)


@pytest.mark.parametrize("path", ["input", "layer"])
def test_batches_and_jit_change_nothing(path):
    together = relevance(path=path, masks=MASKS)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    for n in range(3):
        one = slice(n, n + 1)
        alone = relevance(
            path=path, images=IMAGES[one], targets=TARGETS[one], masks=MASKS[one], batch_size=2
        )
        jax.tree.map(lambda a, b, one=one: close(a, b[one]), alone, together)
    traced = jax.jit(
        lambda images, targets, masks: relevance(
            path=path, images=images, targets=targets, masks=masks
        ),
        compiler_options={"xla_backend_optimization_level": 0},
    )(IMAGES, TARGETS, MASKS)
    jax.tree.map(close, traced, together)


def channels_first(params, images):
    """Tapped: maps as [n, c, h, w] and as [n, h, w, c], maps of one position, a vector."""
    x = jnp.moveaxis(jnp.tanh(images @ params["one"][1, 1]), -1, 1)
    x = tap(jnp.moveaxis(tap(x, "first"), 1, -1), "last")
    x = tap(x.mean((1, 2), keepdims=True), "one position")
    return tap(x[:, 0, 0], "vector") @ params["dense"]


@pytest.mark.parametrize("compiled", [False, True])
def test_channels_first_single_positions_and_vectors(compiled):
    layers = ["first", "last", "one position", "vector"]

    def found(masks):
        return relevance(
            network=channels_first, layers=layers, masks=masks, channel_axes={"first": 1}
        ).units

    units = (jax.jit(found) if compiled else found)(MASKS.astype(np.float32))
    ones = found(None)["vector"] / SIDE**2
    # What is seen at every pixel counts as often as the mask has pixels.
    expected = ones * MASKS.sum((1, 2))[:, None]
    np.testing.assert_allclose(units["vector"], expected, rtol=1e-5)
    np.testing.assert_allclose(units["one position"], expected, rtol=1e-5)
    np.testing.assert_allclose(units["first"], units["last"], rtol=1e-5)


def test_another_seed_is_explained():
    found = relevance(seed=logit())
    scores = chain(PARAMS, IMAGES)[np.arange(3), TARGETS]
    np.testing.assert_allclose(found.score, scores, rtol=1e-5)


@pytest.mark.parametrize("name", BASELINE_NAMES)
def test_baselines_by_name(name):
    pictures = np.random.default_rng(3).uniform(size=(2, 9, 12, 3)).astype(np.float32)
    inputs = CIFAR10(pictures)
    seen = CIFAR10.invert(baseline_inputs(name, inputs, CIFAR10))
    assert seen.shape == pictures.shape
    if name == "blur":
        rows, columns = (np.arange(size) for size in pictures.shape[1:3])
        weights = np.exp(-0.5 * ((rows - 4) / 0.9) ** 2)[:, None]
        weights = weights * np.exp(-0.5 * ((columns - 11) / 1.2) ** 2)
        expected = (weights[..., None] * pictures).sum((1, 2)) / weights.sum()
        np.testing.assert_allclose(seen[:, 4, 11], expected, atol=1e-5)
        grey = baseline_inputs(name, np.full_like(inputs, 0.3), CIFAR10)
        np.testing.assert_allclose(grey, 0.3, rtol=1e-5)
    else:
        colour = {"mean": CIFAR10.mean, "black": 0, "white": 1}[name]
        np.testing.assert_allclose(seen, np.broadcast_to(colour, seen.shape), atol=1e-6)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(UserError, match="'blak'; nearest: black"):
        baseline_inputs("blak", IMAGES, CIFAR10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "image"}, "path must be"),
        ({"part": "posetive"}, "nearest: positive"),
        ({"sum_over": "units"}, "sum_over must be"),
        ({"layers": []}, "at least one layer"),
        ({"masks": MASKS[:2]}, r"\[3, m, m'\], one for each image, not \[2, 11, 13\]"),
        ({"masks": MASKS[:, 0]}, "one for each image"),
        ({"targets": TARGETS[:2]}, "its class"),
        ({"targets": [0, 1, CLASSES]}, "out of range"),
        ({"channel_axes": {"relu3": 1}}, "nearest: relu"),
        ({"channel_axes": {"relu1": 0}}, "channels on axis 0"),
        ({"n_steps": 0}, "at least 1"),
        ({"images": np.zeros((3, SIDE, SIDE, 3), np.uint8)}, "float"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        relevance(**options)


def test_an_unknown_layer_is_refused():
    with pytest.raises(UnknownTapError, match="relu2"):
        relevance(layers=["relu4"])
