"""The algebra of windows against explicit sets of pixels."""

import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from jaxinterp.transform.windows import Window, regroup


def pixels(window, shape):
    """An array of the given shape of frozensets: the pixels that each element sees."""
    found = np.empty(shape, object)
    for index in np.ndindex(*shape):
        start = sum(i * stride for i, stride in zip(index, window.strides, strict=True))
        seen = range(start + int(window.first), start + int(window.last) + 1)
        found[index] = frozenset(seen)
    return found


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@st.composite
def reshapes(draw):
    """A shape, another of the same size, and a window over the first."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6))

    def grouped():
        shape, group = [], 1
        for factor in factors:
            group *= factor
            if draw(st.booleans()):
                shape.append(group)
                group = 1
        return (*shape, group)

    old, new = grouped(), grouped()
    strides = [draw(st.sampled_from([0, 1, 2, 3, 6])) for _ in old]
    if draw(st.booleans()):  # as far as axes can be merged
        strides[-1] = 1
        for axis in range(len(old) - 1, 0, -1):
            strides[axis - 1] = strides[axis] * old[axis]
    return old, new, Window(tuple(strides), -1, 2)


@given(reshapes())
def test_a_reshaped_array_sees_what_it_saw(case):
    old, new, window = case
    before = pixels(window, old).reshape(new)
    after = pixels(window.reshape(old, new), new)
    assert all(one <= other for one, other in zip(before.flat, after.flat, strict=True))


@pytest.mark.parametrize(
    ("old", "strides", "new", "expected"),
    [
        # Folding into blocks, and back; flattening; an axis of length 1 keeps its stride.
        ((2, 8, 6, 3), (0, 4, 0, 0), (2, 4, 2, 3, 2, 3), (0, 8, 4, 0, 0, 0)),
        ((2, 4, 2, 3, 2, 3), (0, 8, 4, 0, 0, 0), (2, 8, 6, 3), (0, 4, 0, 0)),
        ((2, 8, 6, 3), (0, 4, 0, 0), (2, 144), (0, 0)),
        ((2, 8, 6, 3), (0, 4, 0, 0), (16, 6, 3), (0, 0, 0)),
        ((2, 8, 6, 4), (0, 4, 0, 0), (2, 8, 6, 2, 2), (0, 4, 0, 0, 0)),
        ((2, 1, 1, 4), (0, 32, 0, 0), (2, 1, 1, 2, 2), (0, 32, 0, 0, 0)),
        ((2, 4, 4, 4), (0, 32, 0, 0), (2, 1, 2, 2, 1, 4, 4), (0, 0, 64, 32, 0, 0, 0)),
        ((1, 8, 6, 3), (1, 0, 0, 0), (8, 6, 3), (0, 0, 0)),
    ],
)
def test_strides_of_reshaped_arrays(old, strides, new, expected):
    assert Window(strides, 0, 0).reshape(old, new).strides == expected


@given(shapes, st.data())
def test_groups_of_a_reshape_hold_equally_many_elements(old, data):
    size = math.prod(old)
    choices = [new for k in (1, 2, 3) for new in itertools.product((1, 2, 3, 4, 6), repeat=k)]
    new = data.draw(st.sampled_from([one for one in choices if math.prod(one) == size] or [old]))
    groups = regroup(old, new)
    for before, after in groups:
        assert math.prod(old[a] for a in before) == math.prod(new[a] for a in after)
    for side, shape in enumerate((old, new)):
        assert [axis for group in groups for axis in group[side]] == list(range(len(shape)))


@given(shapes, st.data())
def test_a_union_sees_both(shape, data):
    def draw():
        strides = tuple(data.draw(st.integers(-2, 2)) for _ in shape)
        first = data.draw(st.integers(-3, 3))
        return Window(strides, first, first + data.draw(st.integers(0, 3)))

    one, other = draw(), draw()
    union = one.union(other, shape)
    if not union.is_bounded:
        # What is left is where elements lie, unless both say otherwise.
        for a, b, left in zip(one.strides, other.strides, union.strides, strict=True):
            assert left == (0 if a and b and a != b else a or b)
        return
    seen = [pixels(window, shape).flat for window in (one, other, union)]
    assert all(a | b <= c for a, b, c in zip(*seen, strict=True))


def test_nothing_and_everything():
    one = Window((1, 0), -2, 3)
    nothing, whole = Window.nothing(2), Window.whole(2)
    assert nothing.is_nothing
    assert not whole.is_nothing
    assert not whole.is_bounded
    assert one.union(nothing, (4, 4)) == one == nothing.union(one, (4, 4))
    assert one.union(whole, (4, 4)) == Window((1, 0), -math.inf, math.inf)
    for window in (nothing, whole):
        changed = window.slide(0, 4, step=2, low=-1, high=3).collapse([0, 1], (4, 4))
        assert changed == window
