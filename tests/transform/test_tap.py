"""`tap` is the identity whatever JAX does to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.transform import capture, tap, taps

X = jnp.linspace(-1.0, 2.0, 6)


def tapped(x):
    return tap(jnp.sin(x), "sine") ** 2


def untapped(x):
    return jnp.sin(x) ** 2


WRAPS = {
    "eager": lambda fn: fn,
    "jit": jax.jit,
    "grad": lambda fn: jax.grad(lambda x: fn(x).sum()),
    "jvp": lambda fn: lambda x: jax.jvp(fn, (x,), (x,))[1],
    "vmap": jax.vmap,
    "hessian": lambda fn: jax.hessian(lambda x: fn(x).sum()),
    "remat": lambda fn: jax.grad(lambda x: jax.checkpoint(fn)(x).sum()),
    "scan": lambda fn: lambda x: jax.lax.scan(lambda c, _: (fn(c), None), x, None, length=2)[0],
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_tap_is_the_identity(wrap):
    np.testing.assert_array_equal(wrap(tapped)(X), wrap(untapped)(X))


def test_each_leaf_of_a_pytree_is_a_tap():
    def fn(x):
        pair = tap({"a": x, "b": x + 1}, "pair")
        return pair["a"] * pair["b"]

    assert list(taps(fn, X)) == ["pair[0]", "pair[1]"]
    np.testing.assert_array_equal(capture(fn, ["pair[1]"])(X)["pair[1]"], X + 1)


def test_remat_policies_see_the_name():
    policy = jax.checkpoint_policies.save_only_these_names("sine")

    def gradient(policy):
        kept = jax.checkpoint(lambda x: jnp.sin(tapped(x)).sum(), policy=policy)
        return str(jax.make_jaxpr(jax.grad(kept))(X)).count(" sin ")

    assert gradient(policy) == gradient(jax.checkpoint_policies.nothing_saveable) - 1
