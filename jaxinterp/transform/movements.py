"""What a primitive that only moves elements makes of the windows of its operands."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.program import Atom
from jaxinterp.transform.window_rules import WindowRule, join, shape_of, spread
from jaxinterp.transform.windows import Window

__all__ = ["MOVEMENTS"]


def _reshape(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    old, new = shape_of(equation.invars[0]), shape_of(equation.outvars[0])
    order = equation.params.get("dimensions")
    window = windows[0]
    if order is not None:
        window, old = window.arrange(order), tuple(old[axis] for axis in order)
    return [window.reshape(old, new)]


def _transpose(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    return [windows[0].arrange(equation.params["permutation"])]


def _squeeze(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    rank = len(shape_of(equation.invars[0]))
    dropped = [axis % rank for axis in equation.params["dimensions"]]
    return [windows[0].arrange(axis for axis in range(rank) if axis not in dropped)]


def _broadcast(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    old, new = shape_of(equation.invars[0]), shape_of(equation.outvars[0])
    sources: list[int | None] = [None] * len(new)
    for axis, place in enumerate(equation.params["broadcast_dimensions"]):
        sources[place] = axis if old[axis] == new[place] else None
    return [windows[0].arrange(sources)]


def _tile(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    shape, repeats = shape_of(equation.invars[0]), equation.params["reps"]
    repeated = [axis for axis, count in enumerate(repeats) if count != 1]
    return [windows[0].collapse(repeated, shape)]


def _slice(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    shape, starts = shape_of(equation.invars[0]), equation.params["start_indices"]
    steps = equation.params["strides"] or (1,) * len(shape)
    window = windows[0]
    for axis, (size, start, step) in enumerate(zip(shape, starts, steps, strict=True)):
        window = window.slide(axis, size, step=step, low=start)
    return [window]


def _split(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    axis, sizes = equation.params["axis"], equation.params["sizes"]
    size = shape_of(equation.invars[0])[axis]
    starts = [int(sum(sizes[:place])) for place in range(len(sizes))]
    return [windows[0].slide(axis, size, low=start) for start in starts]


def _reverse(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    shape, window = shape_of(equation.invars[0]), windows[0]
    for axis in equation.params["dimensions"]:
        window = window.slide(axis, shape[axis], step=-1, low=shape[axis] - 1)
    return [window]


def _pad(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    shape, window = shape_of(equation.invars[0]), windows[0]
    for axis, (before, _, between) in enumerate(equation.params["padding_config"]):
        window = window.slide(axis, shape[axis], low=-before, dilation=between + 1)
    out = shape_of(equation.outvars[0])
    return [window.union(spread(equation, windows, [1]), out)]


def _concatenate(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    axis = equation.params["dimension"]
    lengths = [shape_of(atom)[axis] for atom in equation.invars]
    pieces = [(n, w.strides[axis]) for n, w in zip(lengths, windows, strict=True)]
    main = max((piece for piece in pieces if piece[1]), default=(0, 0), key=lambda one: one[0])[1]
    placed, start = [], 0
    for length, window in zip(lengths, windows, strict=True):
        if window.strides[axis] not in (0, main):  # reflected edges: most elements lie as before
            strides = (*window.strides[:axis], main, *window.strides[axis + 1 :])
            window = Window(strides, -math.inf, math.inf)
        placed.append(window.slide(axis, length, low=-start))
        start += length
    return [join(placed, shape_of(equation.outvars[0]))]


def _stack(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    shape, axis = shape_of(equation.outvars[0]), equation.params["axis"]
    kept = range(len(shape) - 1)
    sources = [*kept[:axis], None, *kept[axis:]]
    return [join((window.arrange(sources) for window in windows), shape)]


def _unstack(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    shape, axis = shape_of(equation.invars[0]), equation.params["axis"]
    kept = [other for other in range(len(shape)) if other != axis]
    places = range(len(equation.outvars))
    return [windows[0].slide(axis, shape[axis], low=place).arrange(kept) for place in places]


def _start(atom: Atom, room: int) -> tuple[int, int]:
    """Between which indices a dynamic slice starts that has so much room; JAX clamps it."""
    if not isinstance(atom, Literal):
        return 0, room
    start = min(max(int(atom.val), 0), room)
    return start, start


def _dynamic_slice(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    operand, *starts = equation.invars
    old, new, window = shape_of(operand), shape_of(equation.outvars[0]), windows[0]
    for axis, start in enumerate(starts):
        low, high = _start(start, old[axis] - new[axis])
        window = window.slide(axis, old[axis], low=low, high=high)
    return [window.union(spread(equation, windows, range(1, len(windows))), new)]


def _dynamic_update_slice(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    operand, update, *starts = equation.invars
    old, new, window = shape_of(operand), shape_of(update), windows[1]
    for axis, start in enumerate(starts):
        low, high = _start(start, old[axis] - new[axis])
        window = window.slide(axis, new[axis], low=-high, high=-low)
    indices = spread(equation, windows, range(2, len(windows)))
    return [join([windows[0], window, indices], old)]


def _gather(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    """Axes that are sliced keep their order; along those that are picked from, all is seen."""
    parameters = equation.params
    numbers, sizes = parameters["dimension_numbers"], parameters["slice_sizes"]
    shape, out = shape_of(equation.invars[0]), shape_of(equation.outvars[0])
    window = windows[0]
    sources: list[int | None] = [None] * len(out)
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    sliced = [axis for axis in range(len(shape)) if axis not in dropped]
    for axis, place in zip(sliced, sorted(numbers.offset_dims), strict=True):
        sources[place] = axis
        if axis in numbers.start_index_map:
            window = window.slide(axis, shape[axis], low=0, high=shape[axis] - sizes[axis])
    window = window.collapse(numbers.collapsed_slice_dims, shape)
    places = [place for place in range(len(out)) if place not in numbers.offset_dims]
    pairs = zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    for axis, index in pairs:
        sources[places[index]] = axis
    return [window.arrange(sources).union(spread(equation, windows, [1]), out)]


def _scatter(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    out = shape_of(equation.outvars[0])
    return [windows[0].union(spread(equation, windows, [1, 2]), out)]


MOVEMENTS: Mapping[str, WindowRule] = MappingProxyType(
    {
        "broadcast_in_dim": _broadcast,
        "concatenate": _concatenate,
        "dynamic_slice": _dynamic_slice,
        "dynamic_update_slice": _dynamic_update_slice,
        "gather": _gather,
        "pad": _pad,
        "reshape": _reshape,
        "rev": _reverse,
        **dict.fromkeys(
            (
                *("scatter", "scatter-add", "scatter-max", "scatter-min", "scatter-mul"),
                "scatter-sub",
            ),
            _scatter,
        ),
        "slice": _slice,
        "split": _split,
        "squeeze": _squeeze,
        "stack": _stack,
        "tile": _tile,
        "transpose": _transpose,
        "unstack": _unstack,
    }
)
