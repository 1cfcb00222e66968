"""What a primitive that computes with elements makes of the windows of its operands."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from jax.extend.core import JaxprEqn

from jaxinterp.transform.window_rules import WindowRule, join, shape_of, spread
from jaxinterp.transform.windows import Window

__all__ = ["ELEMENTWISE", "MIXTURES"]

# Of arrays of one shape; an operand may also be a scalar or have axes of length 1 instead.
ELEMENTWISE = frozenset(
    {
        *("abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2"),
        *("atanh", "bessel_i0e", "bessel_i1e", "cbrt", "ceil", "clamp", "clz", "complex", "conj"),
        *("convert_element_type", "copy", "copy_p", "cos", "cosh", "digamma", "div"),
        *("eq", "eq_to", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt"),
        *("igamma", "igamma_grad_a", "igammac", "imag", "integer_pow", "is_finite", "le", "le_to"),
        *(
            "layout_constraint",
            "lgamma",
            "log",
            "log1p",
            "logistic",
            "lt",
            "lt_to",
            "max",
            "min",
            "mul",
            "name",
            "ne",
        ),
        *("neg", "nextafter", "not", "or", "pcast", "polygamma", "population_count", "pow"),
        *("pvary", "real", "reduce_precision", "regularized_incomplete_beta", "rem", "reshard"),
        *(
            "round",
            "rsqrt",
            "select_n",
            "sharding_constraint",
            "shift_left",
            "shift_right_arithmetic",
        ),
        *("shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub"),
        *("tan", "tanh", "xor", "zeta"),
    }
)


def _elementwise(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    shape = shape_of(equation.outvars[0])
    aligned = []
    for atom, window in zip(equation.invars, windows, strict=True):
        own = shape_of(atom)
        skipped = len(shape) - len(own)
        sources = [
            axis - skipped if axis >= skipped and own[axis - skipped] == size else None
            for axis, size in enumerate(shape)
        ]
        aligned.append(window.arrange(sources))
    return [join(aligned, shape)]


def _bitcast(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    shape = shape_of(equation.outvars[0])
    same = shape_of(equation.invars[0]) == shape
    return [windows[0] if same else Window.whole(len(shape))]


def _reduction(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    """Also of several operands at once (`lax.reduce`), followed by their initial values."""
    parameters = equation.params
    axes = parameters["axes"] if "axes" in parameters else parameters["dimensions"]
    shape = shape_of(equation.invars[0])
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    joined = join(windows[: len(equation.outvars)], shape)
    reduced = joined.collapse(axes, shape).arrange(kept)
    starts = spread(equation, windows, range(len(equation.outvars), len(windows)))
    return [reduced.union(starts, (1,) * len(kept))] * len(equation.outvars)


def _mix(axes: Callable[[JaxprEqn, int], Iterable[int]]) -> WindowRule:
    """The rule of what mixes all elements along some axes and keeps the shape, such as a sort."""

    def rule(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
        shape = shape_of(equation.invars[0])
        mixed = join(windows, shape).collapse(axes(equation, len(shape)), shape)
        return [mixed] * len(equation.outvars)

    return rule


def _convolution(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    parameters = equation.params
    numbers = parameters["dimension_numbers"]
    shape, kernel = map(shape_of, equation.invars)
    batch, channel, *spatial = numbers.lhs_spec
    window = windows[0].cover(channel, shape[channel])
    if parameters["batch_group_count"] > 1:
        window = window.cover(batch, shape[batch])
    for k, (axis, length) in enumerate(zip(spatial, numbers.rhs_spec[2:], strict=True)):
        before = parameters["padding"][k][0]
        window = window.slide(
            axis,
            shape[axis],
            step=parameters["window_strides"][k],
            low=-before,
            high=parameters["rhs_dilation"][k] * (kernel[length] - 1) - before,
            dilation=parameters["lhs_dilation"][k],
        )
    sources: list[int | None] = [None] * len(shape)
    for source, place in zip(numbers.lhs_spec, numbers.out_spec, strict=True):
        sources[place] = None if source == channel else source
    out = shape_of(equation.outvars[0])
    return [window.arrange(sources).union(spread(equation, windows, [1]), out)]


def _reduce_window(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    parameters = equation.params
    count = len(equation.outvars)
    shape = shape_of(equation.invars[0])
    window = join(windows[:count], shape)
    for axis, size in enumerate(shape):
        before = parameters["padding"][axis][0]
        reach = parameters["window_dilation"][axis] * (parameters["window_dimensions"][axis] - 1)
        window = window.slide(
            axis,
            size,
            step=parameters["window_strides"][axis],
            low=-before,
            high=reach - before,
            dilation=parameters["base_dilation"][axis],
        )
    starts = spread(equation, windows, range(count, len(windows)))
    return [window.union(starts, shape_of(equation.outvars[0]))] * count


def _dot_general(equation: JaxprEqn, windows: Sequence[Window]) -> list[Window]:
    contracted, batched = equation.params["dimension_numbers"]
    out = shape_of(equation.outvars[0])
    shapes = [shape_of(atom) for atom in equation.invars]
    free = [
        [axis for axis in range(len(shape)) if axis not in (*summed, *paired)]
        for shape, summed, paired in zip(shapes, contracted, batched, strict=True)
    ]
    nowhere: list[list[int | None]] = [[None] * len(axes) for axes in free]
    left, right = (
        window.collapse(summed, shape)
        for window, summed, shape in zip(windows, contracted, shapes, strict=True)
    )
    left = left.arrange([*batched[0], *free[0], *nowhere[1]])
    right = right.arrange([*batched[1], *nowhere[0], *free[1]])
    return [left.union(right, out)]


MIXTURES: Mapping[str, WindowRule] = MappingProxyType(
    {
        **dict.fromkeys(ELEMENTWISE, _elementwise),
        **dict.fromkeys(
            (
                *("argmax", "argmin", "reduce", "reduce_and", "reduce_max", "reduce_min"),
                *("reduce_or", "reduce_prod", "reduce_sum", "reduce_xor"),
            ),
            _reduction,
        ),
        **dict.fromkeys(
            ("reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum"),
            _reduce_window,
        ),
        **dict.fromkeys(
            ("cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"),
            _mix(lambda equation, _: [equation.params["axis"]]),
        ),
        "bitcast_convert_type": _bitcast,
        "conv_general_dilated": _convolution,
        "dot_general": _dot_general,
        "sort": _mix(lambda equation, _: [equation.params["dimension"]]),
        "top_k": _mix(lambda equation, rank: [equation.params.get("axis", -1) % rank]),
    }
)
