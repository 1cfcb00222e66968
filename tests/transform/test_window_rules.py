"""What is said to be seen against what is seen, primitive by primitive."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from seen_pixels import ends, hull, seen_along, sight_of, strays, units_along

SHAPE = (3, 14, 12, 4)
HIDDEN = jnp.array([5])  # a number that is not known while tracing
RANDOM = np.random.default_rng(0)


def positive(*shape):
    return jnp.asarray(RANDOM.uniform(0.5, 1, shape), jnp.float32)


def conv(x, kernel=(3, 2), **options):
    options = {"window_strides": (1, 1), "padding": "SAME"} | options
    depth = x.shape[3] // options.get("feature_group_count", 1)
    numbers = ("NHWC", "HWIO", "NHWC")
    weights = positive(*kernel, depth, 4)
    return lax.conv_general_dilated(x, weights, dimension_numbers=numbers, **options)


def conv_with_its_own_corner(x):
    corner = x[0, :3, :2, :, None] * positive(4)
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, corner, (1, 1), "SAME", dimension_numbers=numbers)


def conv_of_axes(x):
    """A convolution that takes [h, c, n, w] and gives [w, n, c, h]."""
    numbers = lax.ConvDimensionNumbers((2, 1, 0, 3), (3, 2, 0, 1), (1, 2, 3, 0))
    x = x.transpose(1, 3, 0, 2)
    return lax.conv_general_dilated(
        x, positive(5, 2, 4, 6), (2, 1), ((1, 3), (0, 2)), dimension_numbers=numbers
    )


def window(x, reduce=lax.max, start=-jnp.inf, size=(1, 3, 2, 1), step=(1, 2, 1, 1), **options):
    return lax.reduce_window(x, start, reduce, size, step, **({"padding": "SAME"} | options))


def halve(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


@jax.custom_vjp
def custom_halve(x):
    return halve(x)


custom_halve.defvjp(lambda x: (halve(x), x), lambda x, dy: (jnp.zeros_like(x),))


def depth_to_space(x):
    n, h, w, _ = x.shape
    return x.reshape(n, h, w, 2, 2).transpose(0, 1, 3, 2, 4).reshape(n, 2 * h, 2 * w, 1)


def space_to_depth(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, 7, 6, 16)


def tokens(x):
    """Reshaped to one token a pixel, multiplied and reshaped back."""
    return (x.reshape(3, 14 * 12, 4) @ positive(4, 5)).reshape(3, 14, 12, 5)


def deepen(x, length):
    """The same convolution again and again, in a scan."""
    weights = positive(3, 1, 4, 4) / 8

    def step(x, _):
        numbers = ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(x, weights, (1, 1), "SAME", dimension_numbers=numbers)
        return x, x

    return lax.scan(step, x, None, length=length)


def through_a_mutable_array(x):
    memory = jax.new_ref(jnp.zeros(SHAPE))
    memory[...] = x[:, ::-1]
    return jax.freeze(memory) + 0 * positive(4)


def through_a_mutable_array_in_a_loop(x):
    memory = jax.new_ref(x[:, ::-1])
    return lax.while_loop(lambda c: c.sum() < 9, lambda c: c + memory[...], jnp.zeros(SHAPE))


def attend(x):
    flat = x.reshape(3, -1, 4)
    scores = jax.nn.softmax(flat @ flat.transpose(0, 2, 1) / 1e4)
    return (scores @ flat).reshape(x.shape)


# Windows whose two ends are seen by every unit in the middle of the images.
EXACT = {
    "input": lambda x: x,
    "casts and activations": lambda x: jax.nn.gelu(x.astype(jnp.bfloat16).astype(jnp.float32)),
    "bias": lambda x: x + positive(4),
    "bias below channels": lambda x: x * positive(12)[:, None],
    "clip": lambda x: jnp.clip(x, 0, 1e9),
    "where": lambda x: jnp.where(x > 0, x, 0),
    "conv": conv,
    "conv, strided": lambda x: conv(x, window_strides=(2, 3)),
    "conv, asymmetric": lambda x: conv(x, padding=((0, 2), (3, 1))),
    "conv, cropping": lambda x: conv(x, padding=((-1, 0), (2, -2))),
    "conv, dilated": lambda x: conv(x, rhs_dilation=(2, 4)),
    "conv, grouped": lambda x: conv(x, feature_group_count=2),
    "conv, other axes": conv_of_axes,
    "conv as a product": lambda x: x @ positive(4, 5),
    "conv as an einsum": lambda x: jnp.einsum("cd,nhwc->ndwh", positive(4, 6), x),
    "max pool": window,
    "max pool, padded and dilated": lambda x: window(
        x, padding=((0, 0), (2, 1), (0, 1), (0, 0)), window_dilation=(1, 2, 3, 1)
    ),
    "sum pool": lambda x: window(x, lax.add, 0.0),
    "min pool of negatives": lambda x: window(-x, lax.min, jnp.inf),
    "generic pool": lambda x: window(x, lambda a, b: a + b * 2, 0.0),
    "pool of two values": lambda x: lax.reduce_window(
        (x, -x), (0.0, 0.0), lambda a, b: (a[0] + b[0], a[1] + b[1]), (1, 3, 3, 1), (1, 1, 1, 1),
        "SAME",
    )[1],
    "pool by reshaping": halve,
    "pool in a custom_vjp": custom_halve,
    "local response norm": lambda x: x / window(x, lax.add, 0.0, (1, 1, 1, 3), (1, 1, 1, 1)),
    "pool, then conv": lambda x: conv(halve(x)),
    "transpose": lambda x: x.transpose(3, 2, 0, 1),
    "new axes": lambda x: x[:, None, :, :, None].squeeze(1),
    "split channels": lambda x: x.reshape(3, 14, 12, 2, 2).sum(-1),
    "merge batch": lambda x: conv(x[None].reshape(SHAPE)).reshape(3, 1, 14, 12, 4),
    "space to depth": space_to_depth,
    "stride": lambda x: x[:, ::2, 1::3],
    "crop": lambda x: x[:, 2:, :-3],
    "split": lambda x: jnp.split(x, (4, 9), axis=1)[1],
    "flip": lambda x: x[:, ::-1, ::-1],
    "flip, then conv": lambda x: conv(x[:, ::-1]),
    "pad": lambda x: jnp.pad(x, ((0, 0), (2, 0), (0, 3), (1, 1))),
    "pad, cropping": lambda x: lax.pad(x, 0.0, ((0, 0, 0), (-2, 1, 0), (1, -1, 0), (0, 0, 0))),
    "slices put together": lambda x: jnp.concatenate([x[:, :5], x[:, 5:9], x[:, 9:]], 1),
    "concatenated channels": lambda x: jnp.concatenate([x, conv(x)], -1),
    "stacked": lambda x: jnp.stack([x, conv(x)], 1),
    "unstacked channels": lambda x: jnp.unstack(x, axis=3)[2],
    "sum of branches": lambda x: x + conv(x) + conv(x, (1, 5)),
    "strided sum of branches": lambda x: x[:, ::2, ::2] + conv(x, window_strides=(2, 2)),
    "known slice": lambda x: lax.dynamic_slice(x, (0, 2, 3, 0), (3, 8, 6, 4)),
    "clamped slice": lambda x: lax.dynamic_slice(x, (0, 9, 0, 0), (3, 8, 6, 4)),
    "known update": lambda x: lax.dynamic_update_slice(jnp.zeros((3, 20, 20, 4)), x, (0, 3, 5, 0)),
    "mean of channels": lambda x: x.mean(-1),
    "argmax of channels": lambda x: jnp.argmax(x * jnp.arange(4), -1),
    "sorted channels": lambda x: jnp.sort(x, -1),
    "cumulative channels": lambda x: jnp.cumsum(x, -1),
    "softmax of channels": lambda x: jax.nn.softmax(x / 1e3),
    "picked channels": lambda x: x[..., jnp.array([2, 0])],
    "jit": jax.jit(conv),
    "remat": jax.checkpoint(conv),
    "vmap": jax.vmap(lambda x: conv(x[None])[0]),
    "map": lambda x: lax.map(lambda one: conv(one[None])[0], x),
    "map in batches": lambda x: lax.map(lambda one: conv(one[None])[0], x, batch_size=2),
    "scan": lambda x: deepen(x, 3)[0],
    "placed with another": lambda x: jax.device_put((x, jnp.ones(3)))[0],
    "barrier": lambda x: lax.optimization_barrier((x, 1))[0],
}  # fmt: skip

# Windows whose ends are seen by some units, not by all.
PHASED = {
    "conv, transposed": lambda x: lax.conv_transpose(
        x[:, ::2, ::2], positive(3, 2, 4, 4), (2, 2), "SAME"
    ),
    "conv, transposed by hand": lambda x: conv(
        x[:, ::2, ::4], (2, 3), padding=((2, 1), (0, 0)), lhs_dilation=(2, 4)
    ),
    "zeros between": lambda x: conv(
        lax.pad(x[:, ::2, ::2], 0.0, ((0, 0, 0), (0, 1, 1), (1, 1, 1), (0, 0, 0))), padding="VALID"
    ),
}

# What is seen cannot be told so exactly.
ROUGH = {
    "conv, finer than pixels": lambda x: conv(
        x, padding=((1, 1), (0, 0)), lhs_dilation=(2, 1)
    ),
    "conv, weights of the images": conv_with_its_own_corner,
    "conv, rows as channels": lambda x: conv(x.transpose(0, 3, 2, 1)),
    "conv, batches mixed": lambda x: conv(
        x.transpose(1, 0, 2, 3), (3, 3), batch_group_count=2
    ),
    "mean": lambda x: x.mean((1, 2)),
    "mean, kept": lambda x: x.mean((1, 2), keepdims=True),
    "mean of rows": lambda x: x.mean(1),
    "mean of turned rows": lambda x: x[:, ::-1].mean(1),
    "mean of a crop": lambda x: x[:, 3:6, 2:4].mean((1, 2)),
    "flattened": lambda x: x.reshape(3, -1),
    "dense": lambda x: x.reshape(3, -1) @ positive(14 * 12 * 4, 5),
    "tokens": tokens,
    "attention": attend,
    "depth to space": depth_to_space,
    "gate": lambda x: x * jax.nn.sigmoid(x.mean((1, 2), keepdims=True) / 100),
    "batch statistics": lambda x: x - x.mean((0, 1, 2)),
    "group statistics": lambda x: (x - x.mean((1, 2), keepdims=True)) * positive(4),
    "reflected edges": lambda x: jnp.pad(x, ((0, 0), (2, 2), (1, 1), (0, 0)), mode="reflect"),
    "repeated edges": lambda x: jnp.pad(x, ((0, 0), (2, 2), (1, 1), (0, 0)), mode="edge"),
    "rolled": lambda x: jnp.roll(x, (3, -2), (1, 2)),
    "one row for all": lambda x: jnp.broadcast_to(x[:, 5:6], SHAPE),
    "one row times all": lambda x: x * x[:, 5:6],
    "sum of unlike strides": lambda x: x[:, ::2] + x[:, 3:10],
    "tiled": lambda x: jnp.tile(x, (1, 2, 1, 1)),
    "repeated": lambda x: jnp.repeat(x, 2, 1),
    "resized": lambda x: jax.image.resize(x, (3, 28, 7, 4), "linear"),
    "resized to the nearest": lambda x: jax.image.resize(x, (3, 28, 24, 4), "nearest"),
    "adaptive pool": lambda x: jnp.einsum("ph,nhwc->npwc", positive(5, 14), x),
    "sorted": lambda x: jnp.sort(x, 1),
    "top of rows": lambda x: lax.top_k(x, 3, axis=1)[0],
    "sorted with another": lambda x: lax.sort((x, x[:, ::-1]), dimension=2)[1],
    "cumulative": lambda x: jnp.cumsum(x, 1),
    "cumulative maximum": lambda x: lax.cummax(x, 2, reverse=True),
    "largest": lambda x: lax.top_k(x.transpose(0, 1, 3, 2), 2)[0],
    "argmax": lambda x: jnp.argmax(x * positive(14, 1, 1), 1),
    "reduced twice": lambda x: lax.reduce(
        (x, x), (0.0, 0.0), lambda a, b: (a[0] + b[1],) * 2, [1]
    )[0],
    "Fourier": lambda x: jnp.abs(jnp.fft.fft(x.transpose(0, 1, 3, 2))),
    "picked rows": lambda x: x[:, jnp.array([0, 13, 2])],
    "unstacked rows": lambda x: jnp.unstack(x, axis=1)[5],
    "mutable array": through_a_mutable_array,
    "mutable array in a loop": through_a_mutable_array_in_a_loop,
    "one row": lambda x: x[:, 5],
    "unknown slice": lambda x: lax.dynamic_slice_in_dim(x, HIDDEN[0], 6, 1),
    "slice of the images": lambda x: lax.dynamic_slice_in_dim(x, (x.sum() % 5).astype(int), 6, 1),
    "unknown slices": lambda x: jax.vmap(lambda one, at: lax.dynamic_slice_in_dim(one, at, 6))(
        x, jnp.array([0, 4, 2])
    ),
    "unknown update": lambda x: lax.dynamic_update_slice_in_dim(
        jnp.zeros(SHAPE), x[:, :5], HIDDEN[0], 1
    ),
    "update of the images": lambda x: lax.dynamic_update_slice_in_dim(
        x, x[:, 6:9], (x.sum() % 5).astype(int), 1
    ),
    "scatter": lambda x: x.at[:, 3].set(x[:, 7]),
    "scatter of zeros": lambda x: x.at[..., 1].set(0),
    "sliding product": lambda x: x[:, :-1] * x[:, 1:],
    "scan over rows": lambda x: lax.scan(
        lambda c, row: (c + row, c), jnp.zeros((3, 12, 4)), x.transpose(1, 0, 2, 3)
    )[1],
    "scan over rows, backwards": lambda x: lax.scan(
        lambda c, row: (c + row, c), jnp.zeros((3, 12, 4)), x.transpose(1, 0, 2, 3), reverse=True
    )[1],
    "scan over rows, alone": lambda x: lax.map(
        lambda row: row * 2, x.transpose(1, 0, 2, 3), batch_size=None
    ),
    "scan over unlike rows": lambda x: lax.map(
        lambda rows: rows[0] * rows[1], (x.swapaxes(0, 1)[:7], x.swapaxes(0, 1)[::2])
    ),
    "scan, first step unlike": lambda x: lax.scan(
        lambda c, row: (jnp.zeros_like(c), row + c), x[:, 5], x.swapaxes(0, 1), reverse=True
    )[1],
    "scan, all steps": lambda x: deepen(x, 3)[1],
    "scan, too long": lambda x: deepen(x / 1e9, 80)[0],
    "scan that swaps": lambda x: lax.scan(
        lambda c, _: ((c[1], c[0]), c[0]), (x[:, :7], x[:, 7:]), None, length=3
    )[1],
    "while": lambda x: lax.while_loop(lambda c: c.sum() < 1e9, lambda c: conv(c), x),
    "cond of the images": lambda x: lax.cond(x.sum() > 4000, lambda x: x + 1, conv, x),
    "cond": lambda x: lax.cond(HIDDEN[0] > 2, conv, lambda x: x, x),
    "switch": lambda x: lax.switch(HIDDEN[0] - 4, [lambda x: x * 2, conv], x),
    "unknown primitive": lambda x: jnp.linalg.cholesky(x @ x.transpose(0, 1, 3, 2) + jnp.eye(12)),
    "gradient": lambda x: jax.grad(lambda x: (halve(x) ** 2).sum())(x),
    "gradient of a pool": lambda x: jax.grad(lambda x: (window(x) ** 2).sum())(x),
    "gradient of a conv": lambda x: jax.grad(lambda x: (conv(x) ** 2).sum())(x),
    "nothing": lambda x: jnp.zeros_like(x) + positive(4),
}  # fmt: skip


@functools.cache
def images():
    return np.random.default_rng(1).uniform(0.5, 1.5, SHAPE).astype(np.float32)


@pytest.mark.parametrize("name", [*EXACT, *PHASED, *ROUGH])
def test_nothing_is_seen_outside_the_window(name):
    fn = (EXACT | PHASED | ROUGH)[name]
    sight = sight_of(fn, images())
    for axis, window in zip((0, 1, 2), sight.windows, strict=True):
        seen = seen_along(fn, images(), axis)
        assert seen.shape[1:] == sight.shape
        found = strays(window, seen)
        assert not len(found), (axis, window, found[:5])


@pytest.mark.parametrize("name", [*EXACT, *PHASED])
def test_both_ends_of_the_window_are_seen(name):
    fn = (EXACT | PHASED)[name]
    sight = sight_of(fn, images())
    for axis, window in zip((1, 2), sight.windows[1:], strict=True):
        assert window.is_bounded
        seen = units_along(window, seen_along(fn, images(), axis))
        first, last = ends(window, sight.shape)
        first, last = (units_along(window, one[None])[0] for one in (first, last))
        # In the middle of the image; units that see nothing are padding.
        inside = (first >= 3) & (last < SHAPE[axis] - 3) & seen.any(0)
        low, high = hull(seen)
        assert inside.any()
        if name in EXACT:
            np.testing.assert_array_equal(low[inside], first[inside])
            np.testing.assert_array_equal(high[inside], last[inside])
        else:
            assert (low == first)[inside].any()
            assert (high == last)[inside].any()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        # Where the axes lie is still told: strides of the axes, and whether the window is.
        ("gate", ((0, 1, 0, 0), False)),
        ("batch statistics", ((0, 1, 0, 0), False)),
        ("conv, transposed", ((0, 1, 0, 0), True)),
        ("attention", ((0, 0, 0, 0), True)),
        ("reflected edges", ((0, 1, 0, 0), False)),
        ("repeated edges", ((0, 1, 0, 0), False)),
        ("sorted", ((0, 0, 0, 0), True)),
        ("rolled", ((0, 1, 0, 0), True)),
        ("unknown primitive", ((0, 0, 0, 0), False)),
        ("while", ((0, 0, 0, 0), False)),
        ("scan, too long", ((0, 0, 0, 0), False)),
        ("scan over rows, alone", ((1, 0, 0, 0), True)),
        ("scan, all steps", ((0, 0, 1, 0, 0), True)),
        ("unknown slices", ((0, 1, 0, 0), True)),
    ],
)
def test_what_is_left_of_the_window_where_it_cannot_be_told(name, known):
    vertical = sight_of((PHASED | ROUGH)[name], images()).windows[1]
    assert (vertical.strides, vertical.is_bounded) == known


def test_every_step_of_a_scan_counts():
    for length in (1, 2, 5):
        vertical = sight_of(lambda x, n=length: deepen(x, n)[0], images()).windows[1]
        assert (vertical.first, vertical.last) == (-length, length)


def test_what_does_not_depend_on_the_images_sees_nothing():
    sight = sight_of(ROUGH["nothing"], images())
    assert all(window.is_nothing for window in sight.windows)
    assert sight.kind == ""
