"""Where in the images the tapped values of a function look, found by tracing it.

The function's equations are followed with windows instead of numbers. Nothing is computed.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.kinds import OTHER, Value, agree, recognise, vary
from jaxinterp.transform.mixtures import MIXTURES
from jaxinterp.transform.movements import MOVEMENTS
from jaxinterp.transform.operations import OPERATIONS
from jaxinterp.transform.program import Body, bodies, number_scan_inputs, trace
from jaxinterp.transform.sites import find_sites
from jaxinterp.transform.walk import CALLS, CUSTOM, REMAT, Level, Path, walk
from jaxinterp.transform.window_rules import shape_of
from jaxinterp.transform.windows import Window

__all__ = ["Sight", "locate"]

# Steps of a scan that are followed; what a longer one carries counts as unknown.
_MOST_STEPS = 64

_RULES = {**MIXTURES, **MOVEMENTS}

Taps = dict[Path, Value]


class Sight(NamedTuple):
    """What a tapped value is and sees.

    Attributes:
        shape: Of the value as `capture` returns it.
        windows: What its elements see along the images' first axis and each of their spatial axes.
        kind: What computes it: conv, batch_norm, relu, max_pool, average_pool, dense, add (of
            several values), concat, product (of several values: gates, normalisation by a value's
            own statistics), elementwise (any other activation), subsample, resize, input or other;
            empty if it does not depend on the images.
    """

    shape: tuple[int, ...]
    windows: tuple[Window, ...]
    kind: str


def locate(
    fn: Callable[..., Any], params: Any, images: Any, channel_axis: int = -1
) -> dict[str, Sight]:
    """Finds what every tapped value of `fn(params, images)` sees.

    Args:
        fn: A function that names values with `tap`.
        params: Its parameters, arrays or `jax.ShapeDtypeStruct`s.
        images: An array or `jax.ShapeDtypeStruct`; its first axis is the batch.
        channel_axis: Of the images; all axes but this one and the first are spatial.

    Returns:
        By tap, in the order of evaluation, as `taps` names them.

    Raises:
        TransformError: An argument is not an array.
    """
    program = trace(fn, (params, images), {})
    rank = len(images.shape)
    followed = [axis for axis in range(rank) if axis != channel_axis % rank]
    unit = [Window(tuple(int(a == axis) for a in range(rank)), 0, 0) for axis in followed]
    *variables, _ = program.body.jaxpr.invars
    follower = _Follower(program.body, len(followed))
    inputs = [follower.unseeing(variable) for variable in variables]
    observed = Value(tuple(images.shape), tuple(unit), "input", object())
    _, found = follower.follow(program.body, [*inputs, observed], ())
    sights = {}
    for site in find_sites(program.body):
        shape = (*site.lengths, *site.value.shape)
        value = found.get(site.path)
        if value is None or value.shape != shape:  # in something that is not followed
            value = Value(shape, (Window.whole(len(shape)),) * len(followed), OTHER)
        sights[site.label] = Sight(shape, value.windows, value.kind)
    return sights


class _Follower:
    """Follows one program along a number of axes of its images."""

    def __init__(self, body: Body, count: int) -> None:
        self._count = count
        self._relus: set[Path] = set()

        def visit(level: Level, index: int, equation: JaxprEqn) -> bool:
            if OPERATIONS["relu"](equation, level.facts):
                self._relus.add((*level.path, index))
            return True

        walk(body, visit)

    def unseeing(self, atom: Any, varies: tuple[bool, ...] | None = None) -> Value:
        """What does not depend on the images."""
        shape = shape_of(atom)
        windows = (Window.nothing(len(shape)),) * self._count
        varies = tuple(size > 1 for size in shape) if varies is None else varies
        return Value(shape, windows, varies=varies)

    def unknown(self, atom: Any) -> Value:
        """What may depend on the images in any way."""
        shape = shape_of(atom)
        return Value(shape, (Window.whole(len(shape)),) * self._count, OTHER, object())

    def follow(self, body: Body, inputs: Sequence[Value], path: Path) -> tuple[list[Value], Taps]:
        """The outputs of a body and the tapped values in it, by path."""
        jaxpr = body.jaxpr
        values = {variable: self.unseeing(variable) for variable in jaxpr.constvars}
        values.update(zip(jaxpr.invars, inputs, strict=True))
        taps: Taps = {}

        def read(atom: Any) -> Value:
            return self.unseeing(atom) if isinstance(atom, Literal) else values[atom]

        for index, equation in enumerate(jaxpr.eqns):
            here = (*path, index)
            outputs, inner = self._step(equation, [read(atom) for atom in equation.invars], here)
            values.update(zip(equation.outvars, outputs, strict=True))
            taps.update(inner)
            if equation.primitive.name == "name":
                taps[here] = outputs[0]
        return [read(out) for out in jaxpr.outvars], taps

    def _step(
        self, equation: JaxprEqn, operands: list[Value], path: Path
    ) -> tuple[list[Value], Taps]:
        name = equation.primitive.name
        if name in CALLS | REMAT | CUSTOM:
            outputs, taps = self.follow(bodies(equation)[0], operands, (*path, 0))
            if path in self._relus and outputs[0].is_seeing:
                outputs = [outputs[0]._replace(kind="relu")]
            return outputs, taps
        if name == "cond":
            return self._cond(equation, operands, path)
        if name == "scan":
            return self._scan(equation, operands, path)
        if name in ("while", "shard_map"):
            return self._unknown_steps(equation, operands, path)
        if name in ("optimization_barrier", "device_put"):
            return operands, {}
        if equation.effects:  # It may read what another equation wrote.
            return [self.unknown(out) for out in equation.outvars], {}
        if not any(one.is_seeing for one in operands):
            return [self.unseeing(o, vary(equation, operands, o)) for o in equation.outvars], {}
        moved = [_see(equation, [one.windows[k] for one in operands]) for k in range(self._count)]
        outputs = []
        for out, windows in zip(equation.outvars, zip(*moved, strict=True), strict=True):
            value = Value(shape_of(out), windows)
            kind, source = recognise(equation, operands, value)
            kind = "relu" if path in self._relus else kind
            outputs.append(value._replace(kind=kind, source=source))
        return outputs, {}

    def _cond(
        self, equation: JaxprEqn, operands: list[Value], path: Path
    ) -> tuple[list[Value], Taps]:
        choice, *inputs = operands
        taps: Taps = {}
        branches = []
        for number, body in enumerate(bodies(equation)):
            outputs, inner = self.follow(body, inputs, (*path, number))
            branches.append(outputs)
            taps.update(inner)
        joined = []
        for values in zip(*branches, strict=True):
            value = _join(values)
            everywhere = [window.arrange([None] * len(value.shape)) for window in choice.windows]
            pairs = zip(value.windows, everywhere, strict=True)
            windows = tuple(one.union(other, value.shape) for one, other in pairs)
            joined.append(value._replace(windows=windows))
        return joined, taps

    def _unknown_steps(
        self, equation: JaxprEqn, operands: list[Value], path: Path
    ) -> tuple[list[Value], Taps]:
        """A loop of unknown length, or parts of arrays: only the kinds of values are found."""
        given: list[list[Value]] = [operands]
        if equation.primitive.name == "while":
            conditions = equation.params["cond_nconsts"]
            fixed = conditions + equation.params["body_nconsts"]
            given = [operands[:conditions], operands[conditions:fixed]]
        taps: Taps = {}
        for number, (body, known) in enumerate(zip(bodies(equation), given, strict=True)):
            inputs = [self.unknown(variable) for variable in body.jaxpr.invars]
            for place, value in enumerate(known):
                if not value.is_seeing:
                    inputs[place] = self.unseeing(body.jaxpr.invars[place])
            taps.update(self.follow(body, inputs, (*path, number))[1])
        seeing = any(one.is_seeing for one in operands) or equation.effects
        outputs = [self.unknown(o) if seeing else self.unseeing(o) for o in equation.outvars]
        return outputs, taps

    def _scan(
        self, equation: JaxprEqn, operands: list[Value], path: Path
    ) -> tuple[list[Value], Taps]:
        """Step by step until nothing changes any more.

        A scan that carries nothing from the images reads another slice of them at each step: step
        k sees what step 0 sees, moved by k strides of the slices. Otherwise a step may read any.
        """
        (body,) = bodies(equation)
        constants, carried = number_scan_inputs(equation)
        fixed, initial = operands[:constants], operands[constants : constants + carried]
        rows = operands[constants + carried :]
        length = equation.params["length"]
        moving = [0] * self._count
        if not any(one.is_seeing for one in (*fixed, *initial)):
            moving = [_common_stride(rows, k) for k in range(self._count)]
        while True:
            slices = [_slice(row, moving) for row in rows]
            carry, steps, taps = initial, [], {}
            for step in range(max(length, 1)):
                if step == _MOST_STEPS:
                    carry = [self.unknown(variable) for variable in equation.outvars[:carried]]
                outputs, taps = self.follow(body, [*fixed, *carry, *slices], (*path, 0))
                steps.append([*outputs[carried:], *taps.values()])
                if step == _MOST_STEPS:
                    break
                before, carry = carry, outputs[:carried]
                if all(map(_is_same, before, carry)):
                    break
            if any(moving) and any(one.is_seeing for one in carry):
                moving = [0] * self._count
                continue
            stacked = [_stack(_join(one), length, moving) for one in zip(*steps, strict=True)]
            results = len(equation.outvars) - carried
            outputs = [*(carry if length else initial), *stacked[:results]]
            return outputs, dict(zip(taps, stacked[results:], strict=True))


def _see(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    """The windows of an equation's outputs; unknown if its primitive has no rule."""
    rule = _RULES.get(equation.primitive.name)
    if rule is None:
        return [Window.whole(len(shape_of(out))) for out in equation.outvars]
    return rule(equation, windows)


def _common_stride(rows: Sequence[Value], k: int) -> int:
    """By how much the slices of several values move along an axis of the images; 0 if not alike."""
    strides = {row.windows[k].strides[0] for row in rows if row.is_seeing}
    return strides.pop() if len(strides) == 1 else 0


def _is_same(one: Value, other: Value) -> bool:
    return one.windows == other.windows and one.kind == other.kind


def _join(values: Sequence[Value]) -> Value:
    """What is one of several values of one shape."""
    first, *others = values
    windows = first.windows
    for other in others:
        pairs = zip(windows, other.windows, strict=True)
        windows = tuple(one.union(two, first.shape) for one, two in pairs)
    kind = agree([one.kind for one in values])
    source = first.source if all(other.source is first.source for other in others) else object()
    unseeing = [one.varies for one in values if not one.is_seeing]
    varies = tuple(any(flags) for flags in zip(*unseeing, strict=True))
    return Value(first.shape, windows, kind, source, varies)


def _slice(row: Value, moving: Sequence[int]) -> Value:
    """The slice that a scan reads first, or any along axes of the images that do not move."""
    windows = []
    for window, stride in zip(row.windows, moving, strict=True):
        window = window if stride else window.cover(0, row.shape[0])
        windows.append(window.arrange(range(1, len(row.shape))))
    return row._replace(shape=row.shape[1:], windows=tuple(windows), varies=row.varies[1:])


def _stack(value: Value, length: int, moving: Sequence[int]) -> Value:
    """The slices that a scan writes, put together along a leading axis."""
    windows = tuple(
        Window((0 if window.is_nothing else stride, *window.strides), window.first, window.last)
        for window, stride in zip(value.windows, moving, strict=True)
    )
    shape, varies = (length, *value.shape), (length > 1, *value.varies)
    return value._replace(shape=shape, windows=windows, varies=varies)
