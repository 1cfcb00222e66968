"""Where a program taps values, and which of those places a name means."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
from jax.extend.core import JaxprEqn

from jaxinterp.errors import nearest
from jaxinterp.transform.errors import TapError, UnknownTapError
from jaxinterp.transform.program import Body
from jaxinterp.transform.walk import CUSTOM, OPENED, REMAT, Level, Path, is_differentiated, walk

__all__ = ["Site", "find_sites", "forbid", "select"]


class Site(NamedTuple):
    """One place where a value is tapped.

    Attributes:
        label: The tap's name, with `[i]` appended if the name is met several times.
        path: The way to the equation.
        value: The shape and type of the tapped value at one step of the loops around it.
        enclosing: The equations around it, outermost first.
        differentiated: Whether the function itself differentiates the value.
    """

    label: str
    path: Path
    value: jax.ShapeDtypeStruct
    enclosing: tuple[JaxprEqn, ...]
    differentiated: bool

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of the scans around it, outermost first."""
        scans = (one for one in self.enclosing if one.primitive.name == "scan")
        return tuple(one.params["length"] for one in scans)


def find_sites(body: Body) -> list[Site]:
    """Finds all taps in program order, however deep."""
    found: list[tuple[str, Site]] = []

    def visit(level: Level, index: int, equation: JaxprEqn) -> bool:
        primitive = equation.primitive.name
        if primitive == "name":
            aval = equation.outvars[0].aval
            value = jax.ShapeDtypeStruct(aval.shape, aval.dtype)  # type: ignore[attr-defined]
            differentiated = is_differentiated(level, equation)
            path = (*level.path, index)
            site = Site("", path, value, level.enclosing, differentiated)
            found.append((equation.params["name"], site))
        # What a gradient inside the function computes again is the same tap, not another one.
        return not (primitive in REMAT and equation.params["differentiated"])

    walk(body, visit)
    counts = Counter(name for name, _ in found)
    met: Counter[str] = Counter()
    sites = []
    for name, site in found:
        label = name if counts[name] == 1 else f"{name}[{met[name]}]"
        met[name] += 1
        sites.append(site._replace(label=label))
    clashes = [label for label, times in Counter(site.label for site in sites).items() if times > 1]
    if clashes:
        raise TapError(f"the tap name {clashes[0]!r} also stands for a repeated tap; rename one")
    return sites


def select(sites: Sequence[Site], names: Iterable[str]) -> list[Site]:
    """The sites that names mean, in the order of the names.

    Raises:
        UnknownTapError: A name is tapped nowhere, or more than once.
    """
    by_label = {site.label: site for site in sites}
    chosen = []
    for name in names:
        if name not in by_label:
            raise UnknownTapError(_explain_unknown(name, list(by_label)))
        chosen.append(by_label[name])
    return chosen


def forbid(site: Site, verb: str, places: Iterable[str]) -> None:
    """Raises a TapError if a site lies inside one of some places, or one that never opens."""
    reasons = {
        "while": "a while loop, whose number of steps is not known",
        "cond": "a branch of a cond, which may not be taken",
        "shard_map": "a shard_map, where each device holds its own part of the value",
    }
    for equation in site.enclosing:
        primitive = equation.primitive.name
        if primitive in CUSTOM and "custom" in places:
            reason = f"a {primitive.removesuffix('_call')} function, whose own derivative rule "
            reason += "would be dropped"
        elif primitive in places:
            reason = reasons[primitive]
        elif primitive not in OPENED:
            reason = f"a {primitive}, which cannot be opened"
        else:
            continue
        raise TapError(f"cannot {verb} {site.label!r}: it lies inside {reason}")


def _explain_unknown(name: str, labels: list[str]) -> str:
    repeated = [label for label in labels if label.startswith(f"{name}[")]
    if repeated:
        return (
            f"{name!r} is tapped {len(repeated)} times: ask for {repeated[0]!r} to "
            f"{repeated[-1]!r} instead"
        )
    if not labels:
        return f"There is no tap {name!r}: the function names no value."
    return nearest(name, labels, kind="tap")
