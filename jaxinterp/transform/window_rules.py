"""What the rules for windows have in common: see `mixtures` and `movements`."""

from collections.abc import Callable, Iterable, Sequence

from jax.extend.core import JaxprEqn

from jaxinterp.transform.program import Atom
from jaxinterp.transform.windows import Window

__all__ = ["WindowRule", "join", "shape_of", "spread"]

# Takes an equation and one window for each operand, all along the same axis of the images, and
# gives one for each output. At least one operand sees the images.
WindowRule = Callable[[JaxprEqn, Sequence[Window]], list[Window]]


def shape_of(atom: Atom) -> tuple[int, ...]:
    """The shape of a variable or literal."""
    return tuple(getattr(atom.aval, "shape", ()))


def join(windows: Iterable[Window], shape: Sequence[int]) -> Window:
    """What elements see that depend on elements of several arrays of one shape."""
    joined = Window.nothing(len(shape))
    for window in windows:
        joined = joined.union(window, shape)
    return joined


def spread(equation: JaxprEqn, windows: Sequence[Window], operands: Iterable[int]) -> Window:
    """What an output sees that may depend on every element of some operands."""
    rank = len(shape_of(equation.outvars[0]))
    shapes = {place: shape_of(equation.invars[place]) for place in operands}
    return join(
        (
            windows[place].collapse(range(len(shape)), shape).arrange([None] * rank)
            for place, shape in shapes.items()
        ),
        (1,) * rank,
    )
