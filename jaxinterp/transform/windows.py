"""Which coordinates of an image the elements of an array see: an affine law, and its algebra."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

__all__ = ["Window", "regroup"]


class Window(NamedTuple):
    """What the elements of an array see along one axis of the images.

    The element with index (i_0, i_1, ...) sees nothing outside the coordinates from
    sum_a strides[a] i_a + first to sum_a strides[a] i_a + last. Both ends are met in the middle of
    a large image; an end outside the image stands for padding.

    Every operation here may widen what is seen, never narrow it: where the law would no longer be
    affine, an axis no longer moves the window (its stride is 0) and the window covers all that was
    seen along it; or the window is unbounded, and what is left of the law is its strides: where
    along the image the element lies.

    Attributes:
        strides: Coordinates between neighbours, for each axis of the array.
        first: The first coordinate that element 0 sees; -inf if unbounded.
        last: The last one; inf if unbounded. `last < first` if the image is not seen at all.
    """

    strides: tuple[int, ...]
    first: float
    last: float

    @classmethod
    def nothing(cls, rank: int) -> Window:
        """Elements that do not depend on the images."""
        return cls((0,) * rank, math.inf, -math.inf)

    @classmethod
    def whole(cls, rank: int) -> Window:
        """Elements of which nothing is known."""
        return cls((0,) * rank, -math.inf, math.inf)

    @property
    def is_nothing(self) -> bool:
        return self.last < self.first

    @property
    def is_bounded(self) -> bool:
        return math.isfinite(self.first) and math.isfinite(self.last)

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that move the window."""
        return tuple(axis for axis, stride in enumerate(self.strides) if stride)

    def cover(self, axis: int, size: int) -> Window:
        """What any element along one axis of this length sees."""
        reach = self.strides[axis] * max(size - 1, 0)
        strides = (*self.strides[:axis], 0, *self.strides[axis + 1 :])
        return Window(strides, self.first + min(reach, 0), self.last + max(reach, 0))

    def collapse(self, axes: Iterable[int], shape: Sequence[int]) -> Window:
        """What any element along some axes of an array of this shape sees."""
        window = self
        for axis in axes:
            window = window.cover(axis, shape[axis])
        return window

    def slide(
        self,
        axis: int,
        size: int,
        *,
        step: int = 1,
        low: int = 0,
        high: int | None = None,
        dilation: int = 1,
    ) -> Window:
        """What a new element o sees that reads elements o step + low to o step + high of an axis.

        Args:
            axis: Which one.
            size: Its length.
            step: From one new element to the next, in elements of the axis.
            low: The first element that new element 0 reads; negative in padding.
            high: The last one; `low` unless given.
            dilation: The elements read lie so far apart, with zeros between them. A stride that is
                no multiple of it cannot be told in whole pixels.
        """
        stride = self.strides[axis]
        if stride % dilation:
            return self.cover(axis, size)
        stride //= dilation
        ends = (stride * low, stride * (low if high is None else high))
        strides = (*self.strides[:axis], stride * step, *self.strides[axis + 1 :])
        return Window(strides, self.first + min(ends), self.last + max(ends))

    def arrange(self, sources: Iterable[int | None]) -> Window:
        """The same with other axes: the old axis that each new one is; None moves nothing."""
        strides = tuple(0 if source is None else self.strides[source] for source in sources)
        return Window(strides, self.first, self.last)

    def union(self, other: Window, shape: Sequence[int]) -> Window:
        """What elements see that depend on elements of two arrays of one shape.

        If only one of them moves along an axis, elements still lie where that one's do, but what
        they see is no longer told.
        """
        if self.is_nothing or other.is_nothing:
            return other if self.is_nothing else self
        one, two = self, other
        pairs = list(zip(self.strides, other.strides, strict=True))
        differing = [axis for axis, (a, b) in enumerate(pairs) if a and b and a != b]
        one, two = one.collapse(differing, shape), two.collapse(differing, shape)
        if one.strides == two.strides:
            return Window(one.strides, min(one.first, two.first), max(one.last, two.last))
        strides = tuple(a or b for a, b in zip(one.strides, two.strides, strict=True))
        return Window(strides, -math.inf, math.inf)

    def reshape(self, old: Sequence[int], new: Sequence[int]) -> Window:
        """What the elements of an array see once it has another shape."""
        if 0 in old:
            return Window.nothing(len(new)) if self.is_nothing else Window.whole(len(new))
        window, strides = self, [0] * len(new)
        for before, after in regroup(old, new):
            moving = [axis for axis in before if old[axis] > 1]
            merges = all(
                self.strides[a] == self.strides[b] * old[b] for a, b in itertools.pairwise(moving)
            )
            if not merges:
                window = window.collapse(moving, old)
                continue
            stride = self.strides[moving[-1]] if moving else 0
            if not moving and len(before) == len(after) == 1:
                stride = self.strides[before[0]]  # a single element, but it would move
            for axis in reversed(after):
                strides[axis] = stride
                stride *= new[axis]
        return Window(tuple(strides), window.first, window.last)


def regroup(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Which axes become which when an array is reshaped, in the smallest groups; no size is 0.

    An axis of length 1 that has no counterpart is in a group of its own.
    """
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        a = old[i] if i < len(old) else None
        b = new[j] if j < len(new) else None
        before, after = [i], [j]
        if a != b and a == 1:
            after = []
        elif a != b and b == 1:
            before = []
        elif a != b:
            left, right = old[i], new[j]
            while left != right:
                if left < right:
                    before.append(before[-1] + 1)
                    left *= old[before[-1]]
                else:
                    after.append(after[-1] + 1)
                    right *= new[after[-1]]
        groups.append((before, after))
        i, j = i + len(before), j + len(after)
    return groups
