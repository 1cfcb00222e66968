"""Max pooling with its own gradient, and adaptive average pooling, against slow loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinterp.models.layers import adaptive_average_pool
from jaxinterp.models.pooling import MaxPool, Padding, max_pool


def slow_max_pool(
    x: np.ndarray,
    dy: np.ndarray | None = None,
    window: int = 2,
    stride: int = 2,
    padding: Padding = ((0, 0), (0, 0)),
) -> tuple[np.ndarray, np.ndarray]:
    """Maxima of windows, and where `dy` goes: to the first maximum in row-major order."""
    n, height, width, channels = x.shape
    (above, below), (left, right) = padding
    rows = (height + above + below - window) // stride + 1
    columns = (width + left + right - window) // stride + 1
    y = np.zeros((n, rows, columns, channels), x.dtype)
    dx = np.zeros_like(x)
    for i, row, column, channel in np.ndindex(y.shape):
        top, start = row * stride - above, column * stride - left
        places = [
            (r, c)
            for r in range(top, top + window)
            for c in range(start, start + window)
            if 0 <= r < height and 0 <= c < width
        ]
        values = [x[i, r, c, channel] for r, c in places]
        first = values.index(max(values))
        y[i, row, column, channel] = values[first]
        if dy is not None:
            dx[(i, *places[first], channel)] += dy[i, row, column, channel]
    return y, dx


# Values 0, 1 and 2 only: most windows have ties.
def tied(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 3, shape).astype(np.float32)


def cotangent(x, seed=1):
    shape = (x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3])
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


SIZES = [(2, 2), (4, 6), (5, 4), (4, 7), (5, 3), (9, 9)]


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_max_pool_equals_the_slow_one(size, jitted):
    x = tied((2, *size, 3))
    dy = cotangent(x)
    pool = jax.jit(max_pool) if jitted else max_pool
    y, pull = jax.vjp(pool, jnp.asarray(x))
    expected, expected_gradient = slow_max_pool(x, dy)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(pull(dy)[0], expected_gradient)


# (window, stride, padding): torchvision's ResNets, AlexNet, VGG-F, and unusual ones.
WINDOWS = [
    (3, 2, ((1, 1), (1, 1))),
    (3, 2, ((0, 0), (0, 0))),
    (3, 2, ((0, 1), (0, 1))),
    (3, 1, ((1, 0), (0, 2))),
    (2, 3, ((0, 0), (1, 1))),
    (5, 3, ((2, 2), (2, 2))),
    (1, 1, ((0, 0), (0, 0))),
]


@pytest.mark.parametrize("size", [(5, 5), (6, 9), (11, 7)], ids=str)
@pytest.mark.parametrize("settings", WINDOWS, ids=str)
def test_max_pool_with_other_windows_equals_the_slow_one(settings, size):
    x = tied((2, *size, 3))
    y, pull = jax.vjp(lambda x: max_pool(x, *settings), jnp.asarray(x))
    # Whole numbers, so that the order in which overlapping windows add up makes no difference.
    dy = np.random.default_rng(1).integers(-9, 9, y.shape).astype(np.float32)
    expected, expected_gradient = slow_max_pool(x, dy, *settings)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(pull(dy)[0], expected_gradient)


def test_padding_is_never_a_maximum():
    y = max_pool(jnp.full((1, 3, 3, 1), -5.0), 3, 2, ((1, 1), (1, 1)))
    np.testing.assert_array_equal(y, np.full((1, 2, 2, 1), -5))
    layer = MaxPool(kernel_size=3, stride=2, padding=1)
    np.testing.assert_array_equal(layer(jnp.full((1, 3, 3, 1), -5.0)), y)


def test_the_made_windows_do_tie():
    x = tied((2, 9, 9, 3))
    _, dx = slow_max_pool(x, np.ones_like(cotangent(x)))
    y = np.repeat(np.repeat(slow_max_pool(x)[0], 2, 1), 2, 2)
    assert (x[:, :8, :8] == y).sum() > 1.5 * dx.sum()


def test_zeros_all_tie_and_the_first_corner_lights_up():
    gradient = jax.grad(lambda x: max_pool(x).sum())(jnp.zeros((1, 4, 4, 1)))
    expected = np.zeros((4, 4))
    expected[::2, ::2] = 1
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


def test_max_pool_under_vmap_over_images_and_over_cotangents():
    x = tied((3, 2, 5, 4, 2))
    dy = np.stack([cotangent(one, seed) for seed, one in enumerate(x)])

    def gradient(x, dy):
        return jax.vjp(max_pool, x)[1](dy)[0]

    expected = np.stack([slow_max_pool(*pair)[1] for pair in zip(x, dy, strict=True)])
    np.testing.assert_array_equal(jax.jit(jax.vmap(gradient))(x, dy), expected)
    # One image, many cotangents: how the kernels of one image are interpreted.
    expected = np.stack([slow_max_pool(x[0], one)[1] for one in dy])
    np.testing.assert_array_equal(jax.vmap(gradient, (None, 0))(x[0], dy), expected)


def test_a_window_that_is_not_a_number_does_not_spoil_its_neighbours():
    x = tied((1, 4, 4, 1))
    dy = cotangent(x)
    expected, expected_gradient = slow_max_pool(x, dy)
    x[0, 1, 2, 0] = np.nan  # window (0, 1)
    y, pull = jax.vjp(max_pool, jnp.asarray(x))
    whole = np.ones((2, 2), bool)
    whole[0, 1] = False
    assert np.isnan(y[0, 0, 1, 0])
    np.testing.assert_array_equal(y[0, :, :, 0][whole], expected[0, :, :, 0][whole])
    gradient = np.asarray(pull(dy)[0])
    pixels = np.repeat(np.repeat(whole, 2, 0), 2, 1)[None, :, :, None]
    np.testing.assert_array_equal(gradient, np.where(pixels, expected_gradient, 0))


@pytest.mark.parametrize("size", [(1, 4), (4, 1), (1, 1)], ids=str)
def test_maps_too_small_to_pool_are_refused(size):
    with pytest.raises(ValueError, match=f"at least 2x2, got {size[0]}x{size[1]}"):
        max_pool(jnp.zeros((1, *size, 1)))


def test_the_layer_pools_and_states_its_geometry():
    x = tied((1, 6, 6, 2))
    layer = MaxPool()
    np.testing.assert_array_equal(layer(jnp.asarray(x)), slow_max_pool(x)[0])
    assert (layer.kernel_size, layer.stride, layer.padding) == (2, 2, 0)


def slow_adaptive_pool(x: np.ndarray, grid: int) -> np.ndarray:
    n, height, width, channels = x.shape
    y = np.zeros((n, grid, grid, channels))
    for i, p, q, channel in np.ndindex(y.shape):
        rows = range(int(np.floor(p * height / grid)), int(np.ceil((p + 1) * height / grid)))
        columns = range(int(np.floor(q * width / grid)), int(np.ceil((q + 1) * width / grid)))
        y[i, p, q, channel] = np.mean([x[i, r, c, channel] for r in rows for c in columns])
    return y


@pytest.mark.parametrize("grid", [1, 4, 7])
@pytest.mark.parametrize(
    "size", [(1, 1), (2, 3), (7, 7), (4, 7), (8, 14), (10, 9), (4, 4)], ids=str
)
def test_adaptive_average_pool_equals_the_slow_one(size, grid):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    y = adaptive_average_pool(jnp.asarray(x), grid)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, slow_adaptive_pool(x, grid), atol=1e-6)
