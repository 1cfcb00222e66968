"""The list of taps has every name, with the shape it is captured with."""

import jax
import jax.numpy as jnp

from jaxinterp.transform import capture, tap, taps

X = jax.ShapeDtypeStruct((2, 3), jnp.bfloat16)


def fn(x, key):
    x = tap(x * 2, "double")

    def step(carry, _):
        return tap(carry + 1, "carry"), tap(carry.sum(), "sum")

    x, _ = jax.lax.scan(step, x, None, length=5)
    noise = tap(key, "key")
    x = jax.lax.cond(x.sum() > 0, lambda x: tap(x, "branch"), lambda x: x, x)
    return tap(tap(x, "double") + jax.random.normal(noise), "out")


def test_taps_lists_everything_in_order_without_arrays():
    found = taps(fn, X, jax.eval_shape(lambda: jax.random.key(0)))
    assert {name: value.shape for name, value in found.items()} == {
        "double[0]": (2, 3),
        "carry": (5, 2, 3),
        "sum": (5,),
        "key": (),
        "branch": (2, 3),
        "double[1]": (2, 3),
        "out": (2, 3),
    }
    assert found["carry"].dtype == jnp.bfloat16
    assert jnp.issubdtype(found["key"].dtype, jax.dtypes.prng_key)


def test_taps_agrees_with_capture():
    key = jax.random.key(0)
    found = taps(fn, X, key)
    del found["branch"]
    captured = jax.eval_shape(capture(fn, found), X, key)
    assert {name: (value.shape, value.dtype) for name, value in captured.items()} == {
        name: (value.shape, value.dtype) for name, value in found.items()
    }
