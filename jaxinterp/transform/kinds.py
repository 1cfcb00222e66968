"""What kind of layer computed a value, told from its equations and not from any name.

A kind is carried along from one value to the next. Casts, reshapes, slices, biases and constant
factors keep it, so that a convolution with its bias is a convolution.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from jax.extend.core import JaxprEqn

from jaxinterp.transform.facts import RESHAPING
from jaxinterp.transform.mixtures import ELEMENTWISE
from jaxinterp.transform.program import Atom
from jaxinterp.transform.window_rules import shape_of
from jaxinterp.transform.windows import Window

__all__ = ["OTHER", "Value", "agree", "recognise", "vary"]

OTHER = "other"

# What changes neither a value's numbers nor, but for dropping some, which there are.
_MOVING = RESHAPING | {
    *("dynamic_slice", "gather", "layout_constraint", "name", "neg", "pad"),
    *("reduce_precision", "reshard", "rev", "sharding_constraint", "slice", "split"),
    *("stop_gradient", "tile", "unstack"),
}
_POOLINGS = {
    "reduce_max": "max_pool",
    "reduce_window_max": "max_pool",
    "reduce_sum": "average_pool",
    "reduce_window_sum": "average_pool",
}


class Value(NamedTuple):
    """What is known of a value.

    Attributes:
        shape: Of the value.
        windows: What it sees along the images' batch axis and each of their spatial axes; of a
            value that does not depend on the images, nothing.
        kind: What computed it; empty if it does not depend on the images.
        source: The same object for all values computed element by element from one value.
        varies: Along which axes it may vary, if it does not depend on the images.
    """

    shape: tuple[int, ...]
    windows: tuple[Window, ...]
    kind: str = ""
    source: object = None
    varies: tuple[bool, ...] = ()

    @property
    def is_seeing(self) -> bool:
        """Whether it depends on the images."""
        return any(not window.is_nothing for window in self.windows)

    @property
    def spatial_axes(self) -> set[int]:
        """The axes along which the place in the image changes."""
        return {axis for window in self.windows[1:] for axis in window.axes}

    @property
    def is_laid_out(self) -> bool:
        """Whether its elements lie along every spatial axis of the images."""
        return all(window.axes for window in self.windows[1:])


def agree(kinds: Sequence[str]) -> str:
    """The kind of what is one of several values."""
    found = set(kinds) - {""}
    return found.pop() if len(found) == 1 else OTHER if found else ""


def vary(equation: JaxprEqn, operands: Sequence[Value], out: Atom) -> tuple[bool, ...]:
    """Along which axes a value that does not depend on the images may vary."""
    shape, name = shape_of(out), equation.primitive.name
    longer = tuple(size > 1 for size in shape)
    if name in ELEMENTWISE:
        aligned = [_align(one.varies, len(shape)) for one in operands]
        return tuple(any(flags) for flags in zip(*aligned, strict=True))
    if name == "broadcast_in_dim":
        flags = [False] * len(shape)
        for axis, place in enumerate(equation.params["broadcast_dimensions"]):
            flags[place] = operands[0].varies[axis]
        return tuple(flags)
    if name in RESHAPING and not any(operands[0].varies):
        return (False,) * len(shape)
    return longer


def recognise(equation: JaxprEqn, operands: Sequence[Value], out: Value) -> tuple[str, object]:
    """The kind and source of an output; some operand depends on the images.

    Args:
        equation: What computes it; no ReLU.
        operands: Its operands.
        out: The output, its windows known.
    """
    name = equation.primitive.name
    seeing = [one for one in operands if one.is_seeing]
    fresh = object()
    if name in ELEMENTWISE and name not in _MOVING:
        return _recognise_elementwise(equation, operands, seeing)
    if name in ("concatenate", "stack") and len(seeing) > 1:
        return "concat", fresh
    if name in _MOVING or name in ("concatenate", "stack"):
        (one, *others) = seeing
        subsampled = name == "slice" and any(
            (equation.params["strides"] or (1,) * len(one.shape))[axis] > 1
            for axis in one.spatial_axes
        )
        kind = "subsample" if subsampled else one.kind
        return (OTHER, fresh) if others else (kind, one.source)
    if name == "conv_general_dilated":
        return "conv", fresh
    if name == "dot_general":
        return _recognise_product(equation, operands, out), fresh
    if name in _POOLINGS:
        return (_POOLINGS[name] if _is_pooling(equation, operands[0]) else OTHER), fresh
    return OTHER, fresh


def _recognise_elementwise(
    equation: JaxprEqn, operands: Sequence[Value], seeing: Sequence[Value]
) -> tuple[str, object]:
    name = equation.primitive.name
    one, *others = seeing
    if others:
        if all(other.source is one.source for other in others):
            return "elementwise", one.source
        kinds = {"add": "add", "add_any": "add", "div": "product", "mul": "product"}
        return kinds.get(name, "elementwise"), object()
    if name in ("add", "sub", "add_any"):
        return one.kind, one.source
    if name == "mul" or (name == "div" and operands[0].is_seeing):
        (factor,) = (value for value in operands if not value.is_seeing)
        return _scale(one, factor), one.source
    return "elementwise", one.source


def _scale(value: Value, factor: Value) -> str:
    """The kind of a value times a factor that does not depend on the images."""
    kept = ("input", "product", "batch_norm")
    aligned = _align(factor.varies, len(value.shape))
    varying = {axis for axis, flag in enumerate(aligned) if flag}
    if not varying or value.kind in kept:
        return value.kind
    moving = {axis for window in value.windows for axis in window.axes}
    if varying & moving:
        # An average of the pixels that there are, or a mask.
        return value.kind if value.kind == "average_pool" else "elementwise"
    return "batch_norm"


def _recognise_product(equation: JaxprEqn, operands: Sequence[Value], out: Value) -> str:
    contracted, _ = equation.params["dimension_numbers"]
    seeing = [place for place in (0, 1) if operands[place].is_seeing]
    if len(seeing) > 1:
        return OTHER
    (place,) = seeing
    value, matrix = operands[place], operands[1 - place]
    if contracted[place] and set(contracted[place]) <= value.spatial_axes:
        read = math.prod(matrix.shape[axis] for axis in contracted[1 - place])
        return "average_pool" if math.prod(matrix.shape) < read**2 else "resize"
    return "conv" if out.is_laid_out else "dense"


def _is_pooling(equation: JaxprEqn, operand: Value) -> bool:
    parameters = equation.params
    if "axes" in parameters:
        axes = set(parameters["axes"])
    else:
        axes = {axis for axis, size in enumerate(parameters["window_dimensions"]) if size > 1}
    return axes <= operand.spatial_axes


def _align(varies: Sequence[bool], rank: int) -> list[bool]:
    return [False] * (rank - len(varies)) + list(varies)
