"""The suppression loss against a slow NumPy re-derivation of the paper's equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.losses import suppression_loss, suppression_reference, suppression_terms

GENERATOR = np.random.default_rng(0)
MAPS = GENERATOR.normal(size=(3, 5, 4, 6)).astype(np.float32)
ORIGINAL = GENERATOR.normal(size=(3, 5, 4, 6)).astype(np.float32)
INPUTS = GENERATOR.normal(size=(3, 9, 7, 2)).astype(np.float32)
KERNELS = np.array([0, 5, 2])


def printed_terms(maps, original, inputs, kernel, *, relative):
    """Eq. 1-3 for one example, sum by sum in float64."""
    height, width, channels = maps.shape
    area = 1 if relative else height * width
    difference = power = 0.0
    for y in range(height):
        for x in range(width):
            difference += (float(maps[y, x, kernel]) - float(original[y, x, kernel])) ** 2
            power += float(original[y, x, kernel]) ** 2
    rest = before = 0.0
    for j in range(channels):
        if j != kernel:
            rest += np.abs(maps[..., j].astype(np.float64)).sum()
            before += np.abs(original[..., j].astype(np.float64)).sum()
    pixels = inputs.shape[0] * inputs.shape[1]
    return (
        np.sqrt(difference) / (area * np.sqrt(power)),
        rest / (area * before),
        np.abs(inputs.astype(np.float64)).sum() / pixels,
    )


@pytest.mark.parametrize("normalization", ["relative", "paper"])
def test_terms_are_the_printed_equations(normalization):
    reference = suppression_reference(ORIGINAL, KERNELS)
    terms = suppression_terms(MAPS, INPUTS, reference, normalization=normalization)
    for lane in range(3):
        expected = printed_terms(
            MAPS[lane],
            ORIGINAL[lane],
            INPUTS[lane],
            KERNELS[lane],
            relative=normalization == "relative",
        )
        np.testing.assert_allclose([term[lane] for term in terms], expected, rtol=1e-5)


@pytest.mark.parametrize("normalization", ["relative", "paper"])
def test_loss_is_the_weighted_sum(normalization):
    terms = suppression_terms(
        MAPS, INPUTS, suppression_reference(ORIGINAL, KERNELS), normalization=normalization
    )
    loss = suppression_loss(
        MAPS, ORIGINAL, INPUTS, KERNELS, alpha=0.7, beta=0.2, normalization=normalization
    )
    np.testing.assert_allclose(loss, terms[0] + 0.7 * terms[1] + 0.2 * terms[2], rtol=1e-6)


def test_one_scalar_per_example_and_vmap_agree():
    batched = suppression_loss(MAPS, ORIGINAL, INPUTS, KERNELS)
    mapped = jax.vmap(suppression_loss)(MAPS, ORIGINAL, INPUTS, KERNELS)
    single = [suppression_loss(*each) for each in zip(MAPS, ORIGINAL, INPUTS, KERNELS, strict=True)]
    assert batched.shape == (3,)
    np.testing.assert_allclose(batched, mapped, rtol=1e-6)
    np.testing.assert_allclose(batched, single, rtol=1e-6)


def test_relative_terms_of_a_blank_image_and_of_the_original():
    reference = suppression_reference(ORIGINAL, KERNELS)
    blank = suppression_terms(np.zeros_like(ORIGINAL), np.zeros_like(INPUTS), reference)
    np.testing.assert_allclose(blank.preservation, 1, rtol=1e-6)
    np.testing.assert_array_equal(blank.suppression, 0)
    np.testing.assert_array_equal(blank.regularization, 0)
    same = suppression_terms(ORIGINAL, INPUTS, reference)
    np.testing.assert_array_equal(same.preservation, 0)
    np.testing.assert_allclose(same.suppression, 1, rtol=1e-6)


def test_gradient_is_finite_where_the_search_starts_and_right_elsewhere():
    def loss(maps):
        return suppression_loss(maps, ORIGINAL, INPUTS, KERNELS, alpha=0.5).sum()

    at_start = jax.grad(loss)(jnp.asarray(ORIGINAL))
    assert np.isfinite(at_start).all()
    gradient = jax.grad(loss)(jnp.asarray(MAPS))
    direction = GENERATOR.normal(size=MAPS.shape).astype(np.float32)
    step = 1e-3
    slope = (loss(MAPS + step * direction) - loss(MAPS - step * direction)) / (2 * step)
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=2e-2)


def test_silent_kernel_and_silent_others_give_finite_losses():
    only_first = ORIGINAL.copy()
    only_first[..., 1:] = 0
    loss = suppression_loss(MAPS, only_first, INPUTS, np.array([1, 0, 0]))
    assert np.isfinite(loss).all()
    gradient = jax.grad(
        lambda maps: suppression_loss(maps, only_first, INPUTS, np.array([1, 0, 0])).sum()
    )(jnp.asarray(only_first))
    assert np.isfinite(gradient).all()


def test_small_remainders_survive_beside_a_large_selected_map():
    """The others' sum is not had by subtracting the selected map from the total."""
    maps = np.full((1, 4, 4, 3), 1e-6, np.float32)
    maps[..., 0] = 1e3
    terms = suppression_terms(maps, INPUTS[:1], suppression_reference(ORIGINAL[:1, :4], [0]))
    before = np.abs(ORIGINAL[:1, :4, :, 1:]).sum(dtype=np.float64)
    np.testing.assert_allclose(terms.suppression, 32e-6 / before, rtol=1e-5)


@pytest.mark.parametrize("side", [10, 16, 20])
def test_the_kept_maps_norm_does_not_depend_on_the_batch(side):
    """To the last bit: XLA's CPU backend sums in another order for another number of lanes."""
    maps, original = GENERATOR.normal(size=(2, 32, side, side, 64)).astype(np.float32)
    kernels = np.arange(32)

    @jax.jit
    def slope(maps, original, kernels):
        inputs = jnp.zeros((len(maps), 2, 2, 3))
        return jax.grad(lambda m: suppression_loss(m, original, inputs, kernels).sum())(maps)

    together = slope(maps, original, kernels)
    for lanes in (1, 2, 8):
        part = slope(maps[:lanes], original[:lanes], kernels[:lanes])
        np.testing.assert_array_equal(part, together[:lanes])


def test_unknown_normalization_is_an_error():
    with pytest.raises(ValueError, match="'relative' or 'paper'"):
        suppression_loss(MAPS, ORIGINAL, INPUTS, KERNELS, normalization="none")
