"""Which units are turned off together: a plan of ablations.

Paper 004 (Islam et al. 2021), section V-C: for a class, the 1, 2 and 3 % units of every layer with
the highest and with the lowest relevance (Eq. 3) are turned off. Random units are the control.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import numpy as np
from jax import Array

from jaxinterp.errors import UserError, nearest

__all__ = [
    "SHARES",
    "AblationPlan",
    "AblationVariant",
    "Which",
    "ablated_units",
    "plan_ablations",
    "random_units",
    "units_to_ablate",
]

Which = Literal["none", "most", "least", "random"]

SHARES = (0.01, 0.02, 0.03)
"""The paper's."""

_DIRECTIONS: tuple[Which, ...] = ("most", "least")


@dataclasses.dataclass(frozen=True)
class AblationVariant:
    """One way to ablate the network.

    Attributes:
      which: "none", the network itself; "most" or "least" relevant units; "random" ones.
      share: of each layer's units, in (0, 1]; 0 for "none".
      target_class: the class whose relevance chose the units, an index of a logit; None for "none"
        and "random".
      draw: of random units, counted from 0; None for others.
    """

    which: Which
    share: float = 0.0
    target_class: int | None = None
    draw: int | None = None


@dataclasses.dataclass(frozen=True)
class AblationPlan:
    """Ways to ablate a network, with the units that each leaves on.

    Attributes:
      variants: the first one is "none".
      keep: bool [variants, units] for each layer; False where a unit is turned off.
      classes: whose images are looked at, as indices of logits.
    """

    variants: tuple[AblationVariant, ...]
    keep: dict[str, np.ndarray]
    classes: tuple[int, ...]

    def find(self, variant: AblationVariant) -> int:
        """The place of a variant in the plan.

        Raises:
          UserError: it is not in the plan.
        """
        try:
            return self.variants.index(variant)
        except ValueError:
            raise UserError(f"The plan has no {variant}.") from None

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the variants, in ascending order."""
        return tuple(sorted({one.share for one in self.variants if one.which != "none"}))

    @property
    def controls(self) -> dict[float, list[int]]:
        """For each share that has random controls, their places in the plan."""
        found: dict[float, list[int]] = {}
        for place, one in enumerate(self.variants):
            if one.which == "random":
                found.setdefault(one.share, []).append(place)
        return found


def units_to_ablate(units: int, share: float) -> int:
    """How many units a share of a layer is: share * units, halves rounded up, and one at least.

    Raises:
      UserError: a share outside (0, 1], or a layer of fewer than two units, which would be turned
        off as a whole.
    """
    if not 0 < share <= 1:
        raise UserError(f"A share of units to ablate lies in (0, 1]; it cannot be {share}.")
    if units < 2:
        raise UserError(f"A layer of {units} unit cannot lose some of its units: it needs two.")
    return max(1, int(share * units + 0.5))


def ablated_units(
    scores: Mapping[str, np.ndarray], share: float, which: Literal["most", "least"] = "most"
) -> dict[str, np.ndarray]:
    """The units that are left on when the highest or lowest scores of each layer are turned off.

    Args:
      scores: of the units of each layer, float [units]. NaN is neither high nor low: such units
        are turned off last.
      share: of each layer's units, in (0, 1]; see `units_to_ablate` for rounding.
      which: "most" turns off the highest scores, "least" the lowest. Of equal scores the lower
        index goes first, either way.

    Returns:
      bool [units] for each layer; False where a unit is turned off.

    Raises:
      UserError: a share or layer as in `units_to_ablate`, no such `which`, or scores that are not
        one number a unit.
    """
    if which not in _DIRECTIONS:
        raise UserError(nearest(which, _DIRECTIONS, kind="choice of units"))
    keep = {}
    for name, values in scores.items():
        values = np.asarray(values, float)
        if values.ndim != 1:
            raise UserError(
                f"Layer {name!r} needs one score a unit, [units], not {list(values.shape)}."
            )
        count = _count(name, len(values), share)
        # Sorting is stable, and NumPy puts NaN last, of negative values too.
        order = np.argsort(-values if which == "most" else values, kind="stable")
        keep[name] = np.ones(len(values), bool)
        keep[name][order[:count]] = False
    return keep


def random_units(
    key: Array, sizes: Mapping[str, int], share: float, count: int
) -> dict[str, np.ndarray]:
    """Controls: as many units of each layer as `ablated_units` turns off, chosen at random.

    Each draw puts the units of every layer into a random order and turns off the first. With the
    same key, the units of a smaller share are among those of a larger one, as they are for the
    most and least relevant.

    Args:
      key: of `jax.random`.
      sizes: units of each layer.
      share: of each layer's units, in (0, 1].
      count: of draws, at least 1.

    Returns:
      bool [count, units] for each layer; False where a unit is turned off.

    Raises:
      UserError: a share or layer as in `units_to_ablate`, or no draw.
    """
    if count < 1:
        raise UserError(f"Random controls need at least one draw, not {count}.")
    keep = {}
    for layer_key, (name, units) in zip(
        jax.random.split(key, max(len(sizes), 1)), sizes.items(), strict=False
    ):
        off = _count(name, units, share)
        rank = np.argsort(np.asarray(jax.random.uniform(layer_key, (count, units))), axis=1)
        keep[name] = np.ones((count, units), bool)
        np.put_along_axis(keep[name], rank[:, :off], False, axis=1)
    return keep


def plan_ablations(
    relevance: Mapping[str, np.ndarray],
    shares: Sequence[float] = SHARES,
    draws: int = 20,
    *,
    key: Array,
    classes: Sequence[int] | None = None,
    targets: Sequence[int] | None = None,
) -> AblationPlan:
    """The paper's ablations with controls, for every class and share.

    In order: "none"; for each share the most and then the least relevant units of each target
    class, and then the random draws, which serve all classes.

    Args:
      relevance: of the units of each layer for each class, float [units, classes]; see
        `ablated_units` for ties and NaN.
      shares: of each layer's units.
      draws: of random units for each share; 0 for no control.
      key: of `jax.random`, for the draws.
      classes: the logit of each column of `relevance`; unless given, column i is logit i.
      targets: those of `classes` for which units are chosen; all unless given.

    Returns:
      1 + shares * (2 * targets + draws) variants.

    Raises:
      UserError: no layer; relevance of other shapes, or classes that are not as many; a class
        named twice or a target that is none of them; a share or layer as in `units_to_ablate`; no
        share, or one given twice; a negative number of draws.
    """
    columns = _columns(relevance, classes)
    chosen = list(columns) if targets is None else list(targets)
    for target in chosen:
        if target not in columns:
            raise UserError(nearest(str(target), map(str, columns), kind="class"))
    if not shares or len(set(shares)) < len(shares):
        raise UserError(f"Shares must be given, each once; they are {list(shares)}.")
    if draws < 0:
        raise UserError(f"The number of random draws cannot be negative: {draws}.")
    sizes = {name: len(values) for name, values in relevance.items()}
    variants = [AblationVariant("none")]
    rows = [{name: np.ones((1, units), bool) for name, units in sizes.items()}]
    for share in shares:
        for target in chosen:
            scores = {name: values[:, columns[target]] for name, values in relevance.items()}
            for which in ("most", "least"):
                variants.append(AblationVariant(which, share, target))
                keep = ablated_units(scores, share, which)
                rows.append({name: units[None] for name, units in keep.items()})
        if draws:
            variants += [AblationVariant("random", share, draw=draw) for draw in range(draws)]
            rows.append(random_units(key, sizes, share, draws))
    keep = {name: np.concatenate([row[name] for row in rows]) for name in sizes}
    return AblationPlan(tuple(variants), keep, tuple(columns))


def _count(name: str, units: int, share: float) -> int:
    try:
        return units_to_ablate(units, share)
    except UserError as error:
        raise UserError(f"Layer {name!r}: {error}") from None


def _columns(relevance: Mapping[str, np.ndarray], classes: Sequence[int] | None) -> dict[int, int]:
    """The column of each class."""
    if not relevance:
        raise UserError("There is no layer to ablate: give the relevance of at least one.")
    first = next(iter(relevance.values()))
    for name, values in relevance.items():
        if np.ndim(values) != 2 or np.shape(values)[1] != np.shape(first)[-1]:
            raise UserError(
                f"The relevance of layer {name!r} must be [units, classes] with the same classes "
                f"for all layers, not {list(np.shape(values))}."
            )
    count = np.shape(first)[1]
    names = list(range(count)) if classes is None else [int(one) for one in classes]
    if len(names) != count or len(set(names)) < count or min(names, default=0) < 0:
        raise UserError(
            f"The relevance has {count} classes; name each once by its logit, not {names}."
        )
    if not names:
        raise UserError("There is no class to ablate for: give the relevance of at least one.")
    return {name: column for column, name in enumerate(names)}
