"""Where the units of random networks look, against what changes when pixels change."""

import dataclasses
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import event, given, settings
from jax import lax
from seen_pixels import ends, hull, sight_of, strays, units_along

SIDES = (48, 40)
CHANNELS = 2


@dataclasses.dataclass
class Maps:
    """Feature maps on their way through a network, and what the test knows of them.

    Attributes:
        x: [n, *, *, *], the channels on `channel_axis`.
        channel_axis: 3 or 1.
        jump: Pixels from one unit to the next, for both sides.
        lost: At most so many pixels were cut off at either end of each side.
        phased: Whether some units see less than others.
    """

    x: Any
    channel_axis: int
    jump: list[float]
    lost: list[float]
    phased: bool = False

    @property
    def sides(self) -> tuple[int, int]:
        return (1, 2) if self.channel_axis == 3 else (2, 3)

    def per_axis(self, default: Any, values: Any) -> list[Any]:
        """One value for each axis of x."""
        full = [default] * 4
        for axis, value in zip(self.sides, values, strict=True):
            full[axis] = value
        return full

    def stride(self, steps: Any) -> None:
        for side, step in enumerate(steps):
            self.lost[side] += self.jump[side] * (step - 1)
            self.jump[side] *= step

    def lose(self, counts: Any) -> None:
        for side, count in enumerate(counts):
            self.lost[side] += self.jump[side] * count


def weights(*shape):
    return np.random.default_rng(3).uniform(0.5, 1, shape).astype(np.float32) / np.prod(shape[:-1])


def convolve(maps: Maps, kernel, **options) -> Any:
    letters = "NHWC" if maps.channel_axis == 3 else "NCHW"
    depth = CHANNELS // options.get("feature_group_count", 1)
    return lax.conv_general_dilated(
        maps.x,
        weights(*kernel, depth, CHANNELS),
        dimension_numbers=(letters, "HWIO", letters),
        **({"window_strides": (1, 1)} | options),
    )


def keeping(kernel, dilation, before):
    """The padding with which a convolution of stride 1 keeps its input's shape."""
    whole = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return [(min(b, w), w - min(b, w)) for w, b in zip(whole, before, strict=True)]


pair = st.tuples
sizes = pair(st.integers(1, 4), st.integers(1, 4))
steps = pair(st.integers(1, 2), st.integers(1, 3))
gaps = pair(st.integers(1, 3), st.integers(1, 2))
margins = pair(*[pair(st.integers(-1, 3), st.integers(-1, 3))] * 2)
cuts = pair(*[pair(st.integers(0, 2), st.integers(0, 2))] * 2)


def cropped(padding):
    return [max(0, -min(pad)) for pad in padding]


def conv(maps, kernel, step, gap, padding, groups):
    maps.lose(cropped(padding))
    maps.x = convolve(
        maps, kernel, window_strides=step, rhs_dilation=gap, padding=padding,
        feature_group_count=groups,
    )  # fmt: skip
    maps.stride(step)


def transposed(maps, kernel, gap, padding):
    maps.x = convolve(maps, kernel, lhs_dilation=gap, padding=[(a + 1, b + 1) for a, b in padding])
    maps.jump = [jump / g for jump, g in zip(maps.jump, gap, strict=True)]
    maps.phased |= gap != (1, 1)


def pool(maps, kernel, step, gap, padding, average):
    padding = [(max(a, 0), max(b, 0)) for a, b in padding]
    maps.x = lax.reduce_window(
        maps.x,
        0.0 if average else -jnp.inf,
        lax.add if average else lax.max,
        maps.per_axis(1, kernel),
        maps.per_axis(1, step),
        maps.per_axis((0, 0), padding),
        window_dilation=maps.per_axis(1, gap),
    )
    if not average:
        maps.x = jnp.maximum(maps.x, 0)  # a window of padding only
    maps.stride(step)


def fold(maps, average):
    """2x2 pooling by reshaping."""
    halves = [maps.x.shape[axis] // 2 for axis in maps.sides]
    whole = maps.per_axis(slice(None), [slice(2 * half) for half in halves])
    maps.x = maps.x[tuple(whole)]
    shape = [
        size
        for axis, length in enumerate(maps.x.shape)
        for size in ((length // 2, 2) if axis in maps.sides else (length,))
    ]
    a, b = maps.sides
    folded = maps.x.reshape(shape)
    maps.x = folded.mean((a + 1, b + 2)) if average else folded.max((a + 1, b + 2))
    maps.stride((2, 2))


def pad(maps, padding):
    maps.lose(cropped(padding))
    config = maps.per_axis((0, 0, 0), [(before, after, 0) for before, after in padding])
    maps.x = lax.pad(maps.x, 0.0, config)


def crop(maps, cut, step):
    maps.lose([max(both) for both in cut])
    slices = [
        slice(start, maps.x.shape[axis] - stop, jump)
        for axis, (start, stop), jump in zip(maps.sides, cut, step, strict=True)
    ]
    maps.x = maps.x[tuple(maps.per_axis(slice(None), slices))]
    maps.stride(step)


def residual(maps, kernel, gap, before):
    maps.x = maps.x + convolve(maps, kernel, rhs_dilation=gap, padding=keeping(kernel, gap, before))


def downsample(maps, kernel, step, before):
    """A residual block whose shortcut leaves pixels out."""
    branch = convolve(maps, kernel, window_strides=step, padding=keeping(kernel, (1, 1), before))
    slices = maps.per_axis(slice(None), [slice(None, None, one) for one in step])
    maps.x = maps.x[tuple(slices)] + branch
    maps.stride(step)


def concatenate(maps, kernel, before):
    branch = convolve(maps, kernel, padding=keeping(kernel, (1, 1), before))
    both = jnp.concatenate([maps.x, branch], maps.channel_axis)
    one, other = jnp.split(both, 2, maps.channel_axis)  # as many channels as before
    maps.x = one + other


def product(maps):
    """A 1x1 convolution written as a product."""
    if maps.channel_axis == 3:
        maps.x = maps.x @ weights(CHANNELS, CHANNELS)
    else:
        maps.x = jnp.einsum("cd,nchw->ndhw", weights(CHANNELS, CHANNELS), maps.x)


def affine(maps):
    shape = [CHANNELS if axis == maps.channel_axis else 1 for axis in range(4)]
    maps.x = jax.nn.relu(maps.x * weights(*shape, 1)[..., 0] + weights(*shape, 1)[..., 0])


def turn(maps, permutation):
    """Transposed there and back, in a jit."""

    def inner(x):
        moved = x.transpose(permutation)
        return moved.transpose(np.argsort(permutation)) * 2

    maps.x = jax.jit(inner)(maps.x)


def operation(fn, *arguments):
    return st.tuples(st.just(fn), *arguments)


OPERATIONS = st.one_of(
    operation(conv, sizes, steps, gaps, margins, st.sampled_from([1, 2])),
    operation(conv, sizes, st.just((1, 1)), gaps, margins, st.just(1)),
    operation(transposed, sizes, pair(st.integers(1, 2), st.integers(1, 2)), margins),
    operation(pool, sizes, steps, gaps, margins, st.booleans()),
    operation(fold, st.booleans()),
    operation(pad, margins),
    operation(crop, cuts, steps),
    operation(residual, sizes, gaps, pair(st.integers(0, 6), st.integers(0, 6))),
    operation(downsample, sizes, steps, pair(st.integers(0, 3), st.integers(0, 3))),
    operation(concatenate, sizes, pair(st.integers(0, 3), st.integers(0, 3))),
    operation(product),
    operation(affine),
    operation(turn, st.permutations(range(4))),
)


def lines(channel_axis):
    """The plain images and, one line of pixels after the other, those with a bright line."""
    base = np.random.default_rng(2).uniform(0.5, 1, (1 + sum(SIDES), *SIDES, CHANNELS))
    bright = base[:1].repeat(len(base), 0).astype(np.float32)
    for row in range(SIDES[0]):
        bright[1 + row, row] += 1000
    for column in range(SIDES[1]):
        bright[1 + SIDES[0] + column, :, column] += 1000
    return bright if channel_axis == 3 else bright.transpose(0, 3, 1, 2)


@given(st.lists(OPERATIONS, min_size=1, max_size=5), st.sampled_from([3, 1]))
@settings(max_examples=60)
def test_units_of_random_networks_see_their_windows(operations, channel_axis):
    images = lines(channel_axis)
    known = Maps(None, channel_axis, [1, 1], [0, 0])

    def network(x):
        known.x, known.jump, known.lost = x, [1, 1], [0, 0]
        for fn, *arguments in operations:
            fn(known, *arguments)
        return known.x

    sight = sight_of(network, images, channel_axis=channel_axis)
    if not all(sight.shape):
        return  # nothing is left of the images
    values = np.asarray(jax.jit(network)(images))
    changed = values[1:] != values[:1]
    for side, seen in enumerate(np.split(changed, [SIDES[0]])):
        window = sight.windows[1 + side]
        seen = seen[:, None]  # of one image
        assert not len(strays(window, seen))
        if not window.is_bounded or not window.axes:
            # Strides of less than a pixel; or one unit, of which reshaping does not keep the axis.
            assert known.phased or sight.shape[known.sides[side]] == 1
            continue
        assert window.axes == (known.sides[side],)
        assert window.strides[known.sides[side]] == known.jump[side]
        first, last = ends(window, seen.shape[1:])
        first, last = (units_along(window, one[None])[0] for one in (first, last))
        margin = known.lost[side]
        inside = (first >= margin) & (last < SIDES[side] - margin)
        low, high = hull(units_along(window, seen))
        event(f"units to check: {inside.any()}")
        if known.phased:
            continue
        np.testing.assert_array_equal(low[inside], first[inside])
        np.testing.assert_array_equal(high[inside], last[inside])
