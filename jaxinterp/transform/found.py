"""Which operations a program consists of."""

from collections.abc import Sequence
from typing import NamedTuple

from jax.extend.core import JaxprEqn, Literal

from jaxinterp.transform.facts import RESHAPING, Facts, is_floating
from jaxinterp.transform.operations import OPERATIONS, Match, Operation
from jaxinterp.transform.operations.span import as_function
from jaxinterp.transform.program import Body, bodies
from jaxinterp.transform.sites import find_sites
from jaxinterp.transform.walk import CUSTOM, OPENED, Level, Path, walk

__all__ = ["Found", "find_operations"]

# What moves, selects or casts elements: a gradient there is the signal itself, moved back.
_MOVING = RESHAPING | {
    *("concatenate", "dynamic_slice", "dynamic_update_slice", "gather", "name", "pad"),
    *("optimization_barrier", "psum", "reduce_max", "reduce_min", "reduce_precision", "reshard"),
    *("rev", "scatter", "sharding_constraint", "slice", "sort", "split", "stack", "stop_gradient"),
    *("tile", "unstack"),
}


class Found(NamedTuple):
    """An operation of a program and where it lies."""

    kind: str
    match: Match
    path: Path
    layers: tuple[str, ...]
    level: Level
    equation: JaxprEqn
    after: str

    @property
    def description(self) -> str:
        """For messages: the kind, and the tap on it or the last one before it."""
        if self.layers:
            return f"the {self.kind!r} that is {self.layers[0]!r}"
        return f"{self.kind!r}" + (f" (after {self.after!r})" if self.after else "")


def find_operations(body: Body, varying: Sequence[bool]) -> tuple[list[Found], list[Found]]:
    """All operations of known kinds, in program order, and everything else that acts on values.

    Args:
        body: The program, without calls (`inline`).
        varying: Which of its inputs depend on the images.

    Returns:
        Operations of the kinds in `OPERATIONS`; and other equations that compute floating-point
        values from the images, whose kind is their primitive's name.
    """
    labels = {site.path: site.label for site in find_sites(body)}
    everything: list[Found] = []
    rest: list[Found] = []
    spanned: set[int] = set()
    last_tap = ""

    def visit(level: Level, index: int, equation: JaxprEqn) -> bool:
        nonlocal last_tap
        path = (*level.path, index)
        last_tap = labels.get(path, last_tap)
        inside_custom = any(one.primitive.name in CUSTOM for one in level.enclosing)
        for kind, recognise in OPERATIONS.items():
            match = recognise(equation, level.facts)
            if match is not None:
                layers = _layers(level, equation, labels)
                found = Found(kind, match, path, layers, level, equation, last_tap)
                everything.append(found)
                spanned.update(id(one) for one in match.spans)
                return False
        if not inside_custom and _acts(equation, level.facts):
            match = _anything(equation, level.facts)
            layers = _layers(level, equation, labels)
            name = equation.primitive.name
            rest.append(Found(name, match, path, layers, level, equation, last_tap))
        return True

    walk(body, visit, varying=varying)
    return (
        [one for one in everything if id(one.equation) not in spanned],
        [one for one in rest if id(one.equation) not in spanned],
    )


def _layers(level: Level, equation: JaxprEqn, labels: dict[Path, str]) -> tuple[str, ...]:
    uses = level.facts.uses(equation.outvars[0]) if equation.outvars else []
    taps = ((*level.path, place) for place, use in uses if use.primitive.name == "name")
    return tuple(labels[tap] for tap in taps if tap in labels)


def _acts(equation: JaxprEqn, facts: Facts) -> bool:
    """Whether an equation does more to values of the images than move them."""
    name = equation.primitive.name
    opened = bodies(equation) and name in OPENED - CUSTOM
    if name in _MOVING or opened:
        return False
    if not any(facts.varies(atom) and is_floating(atom) for atom in equation.invars):
        return False
    if name == "select_n" and not facts.varies(equation.invars[0]):
        return False
    return any(map(is_floating, equation.outvars))


def _anything(equation: JaxprEqn, facts: Facts) -> Match:
    atoms = [atom for atom in equation.invars if not isinstance(atom, Literal)]
    activations = [a for a in dict.fromkeys(atoms) if facts.varies(a) and is_floating(a)]
    weights = [atom for atom in dict.fromkeys(atoms) if atom not in activations]
    inputs = (*activations, *weights)
    apply = as_function([equation], inputs, equation.outvars[0])
    return Match(Operation(equation.primitive.name, apply, len(activations)), inputs)
