"""Layer tables found by tracing: networks of any framework, any layout, and what cannot be told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from framework_networks import MAKERS, make_weights
from jax import lax

from jaxinterp.errors import UserError
from jaxinterp.models.describe import describe
from jaxinterp.models.network import Network
from jaxinterp.models.preprocess import Preprocess
from jaxinterp.transform import capture, tap

IMAGES = jax.ShapeDtypeStruct((2, 16, 12, 3), "float32")
KERNEL = jnp.ones((3, 3, 3, 5))


def conv(x, kernel=KERNEL, stride=(1, 1), padding="SAME", letters="NHWC", **options):
    numbers = (letters, "HWIO", letters)
    return lax.conv_general_dilated(
        x, kernel, stride, padding, dimension_numbers=numbers, **options
    )


def row_of(fn, images=IMAGES, **options):
    """The row of the value that `fn(images)` returns."""
    (row,) = describe(lambda _, x: tap(fn(x), "out"), (), images, **options)
    return row


def geometry(row):
    return row.stride, row.receptive_field, row.padding


@pytest.mark.parametrize("framework", MAKERS)
def test_the_same_network_in_every_framework(framework):
    network = MAKERS[framework](make_weights())
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), network.params)
    image = jax.ShapeDtypeStruct((2, 8, 8, 2), "float32")
    for params, images in ((network.params, np.zeros((2, 8, 8, 2), np.float32)), (shapes, image)):
        table = describe(network.apply, params, images)
        assert [(row.name, row.kind, row.channels, *geometry(row)) for row in table] == [
            ("conv1", "conv", 4, 1, 3, 1),
            ("relu1", "relu", 4, 1, 3, 1),
            ("conv2", "conv", 5, 2, 8, 3),
            ("relu2", "relu", 5, 2, 8, 3),
            ("logits", "dense", 3, None, None, None),
        ]
        assert {row.channel_axis for row in table} == {-1}


def test_channels_first():
    def apply(params, images):
        x = tap(conv(images, letters="NCHW", stride=(2, 2)), "conv")
        x = tap(x * params["scale"][:, None, None], "bn")
        return tap(x.mean((2, 3)) @ params["dense"], "logits")

    params = {"scale": jnp.ones(5), "dense": jnp.ones((5, 7))}
    images = jax.ShapeDtypeStruct((2, 3, 16, 12), "float32")
    norm, logits = describe(apply, params, images, channel_axis=1)[1:]
    assert (norm.kind, norm.channels, norm.channel_axis) == ("batch_norm", 5, 1)
    assert geometry(norm) == (2, 3, 0)  # SAME padding of an even side is below
    assert (logits.channels, logits.channel_axis, logits.is_map) == (7, -1, False)
    wrapped = describe(lambda p, x: apply(p, x.transpose(0, 3, 1, 2)), params, IMAGES)
    assert list(wrapped)[1:] == [norm, logits]


def test_taps_in_the_code_for_one_image():
    def one(params, image):  # [c, h, w]
        x = conv(image[None], params, letters="NCHW", padding="VALID")[0]
        return tap(tap(x, "conv").mean((1, 2)), "mean")

    apply = jax.vmap(one, (None, 0))
    images = jax.ShapeDtypeStruct((2, 3, 16, 12), "float32")
    row, mean = describe(apply, KERNEL, images, channel_axis=1)
    assert (geometry(row), row.channels, row.channel_axis) == ((1, 3, 0), 5, 1)
    assert (geometry(mean), mean.channels, mean.channel_axis) == ((None,) * 3, 5, -1)
    # One after the other; captured values are stacked, so that they are maps of the whole batch.
    mapped = describe(lambda p, x: lax.map(lambda i: one(p, i), x), KERNEL, images, channel_axis=1)
    assert list(mapped) == [row, mean]


def test_axes_that_differ_have_a_number_each():
    row = row_of(lambda x: conv(x, jnp.ones((5, 2, 3, 4)), (2, 1), ((2, 2), (0, 1))))
    assert geometry(row) == ((2, 1), (5, 2), (2, 0))
    row = row_of(lambda x: conv(x, jnp.ones((3, 3, 3, 4)), (2, 1), ((1, 1), (1, 1))))
    assert geometry(row) == ((2, 1), 3, 1)


@pytest.mark.parametrize(
    ("shape", "letters", "kernel"),
    [
        ((2, 30, 3), ("NHC", "HIO", "NHC"), (4,)),
        ((2, 9, 9, 9, 3), ("NHWDC", "HWDIO", "NHWDC"), (4,) * 3),
    ],
)
def test_signals_and_volumes(shape, letters, kernel):
    def fn(x):
        weights = jnp.ones((*kernel, 3, 6))
        steps = (2,) * len(kernel)
        return lax.conv_general_dilated(x, weights, steps, "VALID", dimension_numbers=letters)

    row = row_of(fn, jax.ShapeDtypeStruct(shape, "float32"))
    assert (geometry(row), row.channels) == ((2, 4, 0), 6)


# No feature maps [n, h, w, channels] or [n, channels, h, w], though there may be axes along them.
@pytest.mark.parametrize(
    ("fn", "channels", "channel_axis"),
    [
        (lambda x: x.transpose(0, 2, 1, 3), 3, -1),
        (lambda x: x.transpose(1, 2, 0, 3), 3, -1),
        (lambda x: x[:, ::-1], 3, -1),
        (lambda x: x.mean(-1), 0, -1),
        (lambda x: x.mean((1, 2)), 3, -1),
        (lambda x: x.mean((1, 2), keepdims=True), 3, -1),
        (lambda x: x.mean(2), 3, -1),
        (lambda x: x[:, 4, 4], 3, -1),
        (lambda x: x.reshape(2, -1), 16 * 12 * 3, -1),
        (lambda x: x.reshape(2, -1, 3), 3, -1),
        (lambda x: x.reshape(2, 8, 2, 12, 3), 3, -1),
        (lambda x: conv(x).sum(), 0, -1),
        (lambda x: jnp.sort(x, 1), 3, -1),
        (lambda x: jnp.abs(jnp.fft.fft(x, axis=1)), 3, -1),
        (lambda x: jnp.ones((2, 8, 8, 3)), 3, -1),
    ],
)  # fmt: skip
def test_what_is_no_set_of_maps(fn, channels, channel_axis):
    row = row_of(fn)
    assert not row.is_map
    assert geometry(row) == (None, None, None)
    assert (row.channels, row.channel_axis) == (channels, channel_axis)


def test_maps_behind_a_gate_are_maps_of_which_each_unit_sees_all():
    def apply(params, images):
        x = conv(images, stride=(2, 2), padding=((1, 1), (1, 1)))
        gate = jax.nn.sigmoid(x.mean((1, 2), keepdims=True))
        return tap(conv(x * gate, jnp.ones((1, 1, 5, 5))), "gated").mean((1, 2))

    table = describe(apply, (), IMAGES)
    assert table[0].is_map
    assert geometry(table[0]) == (2, None, None)


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_maps_with_other_edges_than_zeros_are_maps(mode):
    padding = ((0, 0), (1, 1), (2, 2), (0, 0))
    row = row_of(lambda x: conv(jnp.pad(x, padding, mode=mode), stride=(2, 2), padding="VALID"))
    assert row.is_map
    assert row.stride == 2
    assert (row.receptive_field is None) == (mode != "wrap")


def test_a_pooling_that_adapts_is_told_by_images_of_two_sizes():
    def apply(params, images):
        x = tap(conv(images), "conv")
        if x.shape[1] != 8:
            x = jnp.einsum("ph,nhwc->npwc", np.ones((8, x.shape[1]), np.float32), x)
        return tap(x, "pooled")

    small, large = (jax.ShapeDtypeStruct((2, side, 8, 3), "float32") for side in (8, 12))
    assert geometry(describe(apply, (), small)[1]) == (1, 3, 1)
    for sizes in ((small, large), (large, small)):
        table = describe(apply, (), *sizes)
        assert geometry(table[0]) == (1, 3, 1)
        assert geometry(table[1]) == (None, None, None)
    assert describe(apply, (), small, large)[1].kind == "average_pool"
    assert describe(apply, (), large, small)[1].kind == "conv"

    def widening(params, images):
        return tap(conv(images, rhs_dilation=(images.shape[1] // 8 + 1, 1)), "conv")

    sizes = (small, jax.ShapeDtypeStruct((2, 16, 8, 3), "float32"))
    assert geometry(describe(widening, (), *sizes)[0]) == (1, None, None)

    def renaming(params, images):
        return tap(images, f"side{images.shape[1]}")

    with pytest.raises(UserError, match="other values for images of another size"):
        describe(renaming, (), small, large)


def test_repeated_taps_and_taps_in_loops():
    def apply(params, images):
        x = tap(tap(images, "x") * 2, "x")
        x, _ = lax.scan(lambda c, w: (tap(conv(c, w), "step"), None), x, params)
        return tap(lax.while_loop(lambda c: c.sum() < 9, lambda c: tap(c * 2, "loop"), x), "out")

    table = describe(apply, jnp.ones((4, 3, 3, 3, 3)), IMAGES)
    assert [row.name for row in table] == ["x[0]", "x[1]", "step", "loop", "out"]
    # All steps are captured at once, [4, n, h, w, c], so they are no maps of one layer.
    assert [row.stride for row in table] == [1, 1, None, None, None]
    assert [row.channels for row in table] == [3] * 5


def test_constants_and_kinds():
    table = describe(lambda p, x: tap(x, "x") * tap(p, "p"), jnp.ones(3), IMAGES)
    assert [row.kind for row in table] == ["input", "constant"]
    table = describe(lambda p, x: tap(x, "x"), (), IMAGES, kinds={"x": "local_response_norm"})
    assert table[0].kind == "local_response_norm"


def test_aliases():
    def apply(params, images):
        return tap(tap(images, "a"), "b")

    table = describe(apply, (), IMAGES, aliases={"a": "module.1", "b": ("module.2", "stage")})
    assert [(row.alias, row.more_aliases) for row in table] == [
        ("module.1", ()),
        ("module.2", ("stage",)),
    ]
    assert table.find("module.2") is table.find("stage") is table[1]


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ((2, 3), {}, r"spatial axes and a channel axis; these have shape \(2, 3\)"),
        ((2, 8, 8, 3), {"channel_axis": 0}, "Axis 0 cannot be the channel axis"),
        ((2, 8, 8, 3), {"channel_axis": 4}, "Axis 4 cannot be the channel axis"),
        ((2, 8, 8, 3), {"channel_axis": -4}, "Axis -4 cannot be the channel axis"),
        ((2, 8, 8, 3), {"aliases": {"conv": "a"}}, "no tap 'conv'; nearest: conv1.*an alias"),
        ((2, 8, 8, 3), {"kinds": {"dense": "a"}}, "no tap 'dense'; choose from: x, conv1.*a kind"),
        ((2, 8, 8, 3), {"aliases": {"conv1": ("a", "b"), "x": "b"}}, "'b' is given to 'conv1' and"),
    ],
)
def test_bad_input_is_refused(images, options, message):
    with pytest.raises(UserError, match=message):
        describe(
            lambda _, x: tap(tap(x, "x"), "conv1"), (), np.zeros(images, np.float32), **options
        )


def test_a_network_without_names_is_refused():
    with pytest.raises(UserError, match=r"names no value: name its layers with `jaxinterp.tap`"):
        describe(lambda _, x: conv(x), (), IMAGES)


def test_parameters_that_are_no_arrays_are_refused():
    with pytest.raises(UserError, match="holds a str"):
        describe(lambda _, x: tap(x, "x"), {"activation": "relu"}, IMAGES)


def test_an_error_of_the_network_says_where_it_came_from():
    with pytest.raises(ValueError, match="feature dimension") as caught:
        describe(lambda _, x: tap(conv(x[..., :2]), "x"), (), IMAGES)
    assert "images (2, 16, 12, 3)" in caught.value.__notes__[-1]


def test_nothing_is_computed_and_nothing_is_copied():
    # 36 GB, were it more than a view of one number.
    kernel = np.broadcast_to(np.float32(1), (3, 3, 1000, 10**6))
    images = np.broadcast_to(np.float32(1), (10**4, 500, 500, 1000))
    row = describe(lambda p, x: tap(conv(x, p), "conv"), kernel, images)[0]
    assert (row.channels, geometry(row)) == (10**6, (1, 3, 1))


def test_a_described_network_gives_maps_where_the_table_says():
    def apply(params, images):
        x = conv(images.transpose(0, 3, 1, 2), params, stride=(2, 2), letters="NCHW")
        return tap(x, "conv").mean((2, 3))

    layers = describe(apply, KERNEL, IMAGES)
    preprocess = Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3, size=16, resize=16)
    network = Network("mine", apply, KERNEL, preprocess, layers)
    row = network.layers.find("conv")
    maps = capture(network.apply, ["conv"])(network.params, jnp.ones((2, 16, 12, 3)))["conv"]
    assert maps.shape[row.channel_axis] == row.channels == 5
    assert maps.shape[2:] == (16 // row.stride, 12 // row.stride)
