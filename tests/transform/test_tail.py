"""The network above a tap, and whether it is all that stands above the image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.transform import TapError, UnknownTapError, tail, tap

IMAGE = jnp.linspace(-1.0, 2.0, 6)
PARAMS = {"w": jnp.linspace(0.0, 1.0, 36).reshape(6, 6), "b": jnp.arange(6.0)}


def chain(params, image):
    hidden = tap(jnp.tanh(image @ params["w"]), "hidden")
    return jnp.sin(hidden + params["b"])


def skip(params, image):
    """A residual block: the image reaches the output beside the tap."""
    return jax.jit(chain)(params, image) + jnp.exp(image)


def split(params, image):
    """Two outputs of one call, of which only one needs the image."""
    pair = jax.jit(lambda w, x: (jnp.tanh(x), jnp.cos(w)))(params["w"], image)
    return tap(pair[0], "hidden") @ pair[1]


def scanned(params, image):
    """Every step's value is cut."""

    def step(carry, row):
        return tap(jnp.sin(carry + row), "hidden"), carry.sum()

    return jax.lax.scan(jax.checkpoint(step), image, params["w"])[0]


def scanned_skip(params, image):
    def step(carry, row):
        return tap(jnp.sin(carry + row), "hidden"), carry.sum()

    last, sums = jax.lax.scan(step, image, params["w"])
    return last + sums


CASES = {
    "chain": (chain, True),
    "skip": (skip, False),
    "split": (split, True),
    "scan": (scanned, True),
    "scan with skip": (scanned_skip, False),
}


@pytest.mark.parametrize(("fn", "full_cut"), CASES.values(), ids=CASES)
def test_tail_continues_from_the_tap(fn, full_cut):
    above = tail(fn, "hidden", PARAMS, IMAGE)
    assert above.full_cut is full_cut
    for wrap in (lambda fn: fn, jax.jit):
        np.testing.assert_allclose(wrap(above.fn)(above.value), fn(PARAMS, IMAGE), rtol=1e-5)
    np.testing.assert_allclose(
        jax.vmap(above.fn)(above.value[None])[0], fn(PARAMS, IMAGE), rtol=1e-5
    )
    assert jnp.isfinite(jax.grad(lambda value: above.fn(value).sum())(above.value)).all()


def test_what_skips_keeps_the_images_own_value():
    above = tail(skip, "hidden", PARAMS, IMAGE)
    expected = jnp.sin(0.5 + PARAMS["b"]) + jnp.exp(IMAGE)
    np.testing.assert_allclose(above.fn(jnp.full(6, 0.5)), expected, rtol=1e-5)


def test_tail_computes_only_what_depends_on_the_tap():
    above = tail(skip, "hidden", PARAMS, IMAGE)
    program = str(jax.make_jaxpr(above.fn)(above.value))
    assert "sin" in program
    assert "tanh" not in program
    assert "exp" not in program


def test_tail_works_under_jit():
    @jax.jit
    def gradient(params, image):
        above = tail(chain, "hidden", params, image)
        return jax.grad(lambda value: above.fn(value).sum())(above.value)

    hidden = jnp.tanh(IMAGE @ PARAMS["w"])
    np.testing.assert_allclose(gradient(PARAMS, IMAGE), jnp.cos(hidden + PARAMS["b"]), rtol=1e-5)


def test_tail_needs_a_value_that_can_be_captured_and_edited():
    with pytest.raises(UnknownTapError, match="There is no tap 'hiden'; nearest: hidden"):
        tail(chain, "hiden", PARAMS, IMAGE)

    def branch(params, image):
        return jax.lax.cond(image.sum() > 0, chain, lambda _, x: x, params, image)

    with pytest.raises(TapError, match="inside a branch of a cond"):
        tail(branch, "hidden", PARAMS, IMAGE)
    custom = jax.custom_jvp(chain)
    custom.defjvp(lambda primals, tangents: (custom(*primals), tangents[1]))
    with pytest.raises(TapError, match="whose own derivative rule would be dropped"):
        tail(custom, "hidden", PARAMS, IMAGE)
