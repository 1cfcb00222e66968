"""What kind of layer computed a value, over many ways to write it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax
from seen_pixels import sight_of

IMAGES = jax.ShapeDtypeStruct((2, 8, 8, 4), "float32")
ONES = np.ones(4, np.float32)
SLOPES = jnp.arange(1.0, 5.0)


def conv(x, side=3, **options):
    options = {"window_strides": (1, 1), "padding": "SAME"} | options
    kernel = jnp.ones((side, side, 4 // options.get("feature_group_count", 1), 4))
    return lax.conv_general_dilated(
        x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options
    )


def pool(x, reduce=lax.max, start=-jnp.inf, window=(1, 2, 2, 1)):
    return lax.reduce_window(x, start, reduce, window, window, "VALID")


def blocks(x):
    return x.reshape(2, 4, 2, 4, 2, 4)


def normalise(x, axes):
    mean = x.mean(axes, keepdims=True)
    return (x - mean) * lax.rsqrt(((x - mean) ** 2).mean(axes, keepdims=True) + 1e-5)


def batch_norm(x, training=False):
    """Flax's, with its own parameters."""
    return linen.BatchNorm(use_running_average=not training).apply(
        {"params": {"scale": SLOPES, "bias": ONES}, "batch_stats": {"mean": ONES, "var": SLOPES}},
        x,
        mutable=["batch_stats"],
    )[0]


EQUINOX_BATCH_NORM = eqx.nn.make_with_state(eqx.nn.BatchNorm)(4, "batch", mode="batch")


def equinox_batch_norm(x):
    layer, state = EQUINOX_BATCH_NORM
    mapped = jax.vmap(
        eqx.nn.inference_mode(layer), axis_name="batch", in_axes=(0, None), out_axes=(0, None)
    )
    return mapped(x.transpose(0, 3, 1, 2), state)[0]


def separable(x):
    x = conv(x, 3, feature_group_count=4)
    return conv(x, 1)


CASES = {
    "input": [
        lambda x: x,
        lambda x: x.transpose(0, 3, 1, 2)[:, ::-1],
        lambda x: (x / 255 - ONES) / SLOPES,
    ],
    "conv": [
        conv,
        lambda x: conv(x) + SLOPES,
        lambda x: (conv(x) * 0.1 + SLOPES).astype(jnp.bfloat16),
        lambda x: -conv(x)[:, 1:],
        lambda x: x @ jnp.ones((4, 5)) + jnp.ones(5),
        lambda x: jnp.einsum("nhwc,cd->ndhw", x, jnp.ones((4, 5))),
        lambda x: conv(jax.nn.relu(x)),
        separable,
        jax.vmap(lambda x: conv(x[None])[0]),
        lambda x: lax.map(lambda one: conv(one[None])[0], x),
        lambda x: nnx.Conv(4, 3, (3, 3), rngs=nnx.Rngs(0))(x),
        lambda x: lax.fori_loop(0, 3, lambda _, y: conv(y), x),
        lambda x: lax.cond(SLOPES[0] > 0, conv, lambda x: conv(x, 5), x),
        lambda x: jnp.unstack(conv(x), axis=3)[1],
    ],
    "batch_norm": [
        lambda x: conv(x) * SLOPES + ONES,
        lambda x: (conv(x) - SLOPES) / SLOPES * SLOPES,
        lambda x: batch_norm(conv(x)),
        lambda x: batch_norm(jax.nn.relu(x)),
        lambda x: batch_norm(jax.nn.gelu(x)),
        lambda x: batch_norm(pool(x, lax.add, 0.0) / 4),
        lambda x: conv(x).transpose(0, 3, 1, 2) * SLOPES[:, None, None],
        lambda x: batch_norm(conv(x).mean((1, 2))),
        lambda x: equinox_batch_norm(conv(x)),
    ],
    "relu": [
        lambda x: jax.nn.relu(x),
        lambda x: jnp.maximum(conv(x), 0),
        lambda x: jnp.maximum(0.0, conv(x)) * 2,
        lambda x: jax.nn.relu(conv(x) + x),
        lambda x: jax.nn.relu(x.reshape(2, -1)),
        jax.checkpoint(lambda x: jax.nn.relu(conv(x))),
    ],
    "max_pool": [
        pool,
        lambda x: blocks(x).max((2, 4)),
        lambda x: x.max((1, 2)),
        lambda x: linen.max_pool(x, (3, 3), (2, 2), "SAME"),
        lambda x: eqx.nn.MaxPool2d(2, 2)(x[0].transpose(2, 0, 1)),
        lambda x: jax.vmap(eqx.nn.MaxPool2d(2, 2))(x.transpose(0, 3, 1, 2)),
    ],
    "average_pool": [
        lambda x: pool(x, lax.add, 0.0) / 4,
        lambda x: blocks(x).mean((2, 4)),
        lambda x: x.mean((1, 2), keepdims=True),
        lambda x: x.mean((1, 2)).reshape(2, 4),
        lambda x: linen.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False),
        lambda x: jax.vmap(eqx.nn.AvgPool2d(2, 2))(x.transpose(0, 3, 1, 2)),
        lambda x: jnp.einsum("ph,qw,nhwc->npqc", np.ones((3, 8)), np.ones((3, 8)), x),
    ],
    "dense": [
        lambda x: x.reshape(2, -1) @ jnp.ones((256, 3)) + jnp.ones(3),
        lambda x: x.mean((1, 2)) @ jnp.ones((4, 3)),
        lambda x: jnp.einsum("nhwc,hwcd->nd", x, jnp.ones((8, 8, 4, 3))),
        lambda x: jax.vmap(eqx.nn.Linear(4, 3, key=jax.random.key(0)))(x.mean((1, 2))),
    ],
    "add": [
        lambda x: x + conv(x),
        lambda x: conv(x) + ONES + batch_norm(conv(x, 1)),
        lambda x: (x + conv(x)) * 0.5,
    ],
    "concat": [
        lambda x: jnp.concatenate([x, conv(x)], -1),
        lambda x: jnp.stack([x, conv(x)], 1),
    ],
    "product": [
        lambda x: x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True)),
        lambda x: conv(x) * jax.nn.sigmoid(conv(x, 1)),
        lambda x: x * (1 + pool(x * x, lax.add, 0.0, (1, 1, 1, 1))) ** -0.75,
        lambda x: normalise(conv(x), (1, 2, 3)) * SLOPES + ONES,
        lambda x: batch_norm(conv(x), training=True),
        lambda x: jax.nn.softmax(x),
    ],
    "elementwise": [
        jax.nn.gelu, jax.nn.silu, jax.nn.relu6, jax.nn.softplus, jax.nn.elu, jax.nn.hard_swish,
        jnp.tanh, jax.nn.leaky_relu, jax.nn.sigmoid,
        lambda x: jnp.maximum(x, 0) + 0.1 * jnp.minimum(x, 0),
        lambda x: jnp.clip(conv(x), 0, 6),
        lambda x: conv(x) ** 2,
        lambda x: conv(x) * jnp.arange(64.0).reshape(8, 8, 1),
        lambda x: jnp.where(conv(x) > 0, 1, 0),
    ],
    "subsample": [
        lambda x: x[:, ::2, ::2],
        lambda x: jnp.pad(jax.nn.relu(x)[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (1, 1))),
    ],
    "resize": [lambda x: jax.image.resize(x, (2, 16, 16, 4), "linear")],
    "other": [
        lambda x: jnp.sort(x, 1),
        lambda x: x.sum(-1),
        lambda x: x.max((1, 2, 3)),
        lambda x: pool(x, window=(1, 1, 1, 2)),
        lambda x: x.reshape(2, 64, 4) @ x.reshape(2, 64, 4).transpose(0, 2, 1),
        lambda x: lax.cond(SLOPES[0] > 0, conv, jax.nn.relu, x),
        lambda x: jnp.argmax(x, -1),
        lambda x: jnp.cumsum(x, 1),
    ],
    "": [lambda x: jnp.broadcast_to(SLOPES, x.shape) * SLOPES],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, i) for kind, fns in CASES.items() for i in range(len(fns))]
)
def test_kind(kind, number):
    assert sight_of(CASES[kind][number], IMAGES).kind == kind
