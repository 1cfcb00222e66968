"""Whether units that detect a class's concept are those that are relevant for the class.

Islam and Tushar, "Interpreting and Comparing Convolutional Neural Networks: A Quantitative
Approach" (2021), section V-B and Table I: an "error percentage between IoU score and integrated
gradient score", the mean over layers and ten classes, with its deviation over layers. How the error
is computed is not said; "we compare the layer wise spatial location of the neurons yielded by both
approach". Two forms that fit these words are computed, each for a layer and a class, over the
layer's n units, I[u] the IoU of unit u with the class's concept and R[u] its relevance:

- `score_error`, after the table's caption: mean over u of |I[u] / max I - R[u] / max R|.
- `position_error`, after the text: the distance between the places, in the layer's order of units,
  of the k units highest in I and of the k highest in R. The two lists of indices are paired in
  ascending order; the error is the mean difference of a pair divided by n. (The order of units
  means nothing to a network.)

Both are small for scores that have nothing to do with each other, too, which a table of errors
does not show. So each has its chance level beside it, and there are two measures with a clear one:

- `correlation`: Spearman's rank correlation of I and R, ties averaged; by chance 0.
- `overlap`: the share of the k highest units that both have in common; by chance k / n.

Chance is that of the layer's units drawn in another order, the same one for all classes, because a
unit that is strong for one class often is for others. Whether the agreement is about the class, and
not only about strong units, is shown by `other_classes`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxinterp.errors import UserError
from jaxinterp.metrics.ranks import (
    average_ranks,
    hypergeometric_tail,
    top_membership,
    weighted_rank_correlation,
)

__all__ = ["MEASURES", "Agreement", "Measure", "agreement"]

MEASURES: dict[str, bool] = {
    "score_error": False,
    "position_error": False,
    "correlation": True,
    "overlap": True,
}
"""The measures, and whether more means more agreement."""

LEAST_UNITS = 3
"""Fewer units with both scores are not compared."""

Table = dict[str, np.ndarray]
"""For each layer float64 [classes]; NaN where IoU and relevance cannot be compared."""


@dataclasses.dataclass(frozen=True)
class Measure:
    """One measure of agreement.

    Attributes:
        values: of each layer and class.
        chance: the mean of the same over random orders of the units.
        by_layer: the mean of `values` over the classes that are compared; NaN if there are none.
        mean: of `by_layer`, as in Table I.
        deviation: the standard deviation of `by_layer` (n - 1 in the denominator), as in Table I;
            NaN below two layers.
        chance_mean: of `mean` over the random orders.
        chance_low, chance_high: the range of `mean` in the share `confidence` of random orders.
        p_value: the share of random orders that agree as well as what was measured, or better; what
            was measured counts as one of them.
    """

    values: Table
    chance: Table
    by_layer: dict[str, float]
    mean: float
    deviation: float
    chance_mean: float
    chance_low: float
    chance_high: float
    p_value: float


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The agreement of IoU and relevance.

    Attributes:
        measures: by the names in `MEASURES`, each from 0 to 1 (`correlation`: from -1).
        interval: of the mean correlation, from draws of each layer's units with replacement: the
            basic bootstrap on the scale of Fisher's z. (Draws hold copies, which are ties; that
            shifts high correlations, and percentiles with them.)
        layer_interval: the same for each layer's mean correlation.
        other_classes: for each layer, the mean correlation of the IoU with a class's concept and
            the relevance for another class; NaN if there is only one.
        overlap_p_value: the probability that random sets have as much in common, for each layer and
            class (hypergeometric).
        units: how many units have both an IoU and a relevance, int [classes].
        left_out: how many units lack one of them (NaN, infinite), int [classes].
        top: k, the number of highest units, int [classes]; 0 where nothing is compared.
        constant: where every unit has the same IoU or the same relevance, so that they cannot be
            compared, bool [classes].
    """

    measures: dict[str, Measure]
    interval: tuple[float, float]
    layer_interval: dict[str, tuple[float, float]]
    other_classes: dict[str, float]
    overlap_p_value: Table
    units: dict[str, np.ndarray]
    left_out: dict[str, np.ndarray]
    top: dict[str, np.ndarray]
    constant: dict[str, np.ndarray]

    def rows(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """A row for each layer and class: the measures, their chance levels, and the counts.

        Raises:
            UserError: Not one name for each class.
        """
        classes = len(next(iter(self.units.values())))
        if len(class_names) != classes:
            raise UserError(f"There are {classes} classes, but {len(class_names)} names.")
        return [
            {
                "layer": layer,
                "class": name,
                **{key: float(one.values[layer][c]) for key, one in self.measures.items()},
                **{
                    f"{key}_chance": float(one.chance[layer][c])
                    for key, one in self.measures.items()
                },
                "overlap_p_value": float(self.overlap_p_value[layer][c]),
                "units": int(self.units[layer][c]),
                "left_out": int(self.left_out[layer][c]),
                "top": int(self.top[layer][c]),
                "constant": bool(self.constant[layer][c]),
            }
            for layer in self.units
            for c, name in enumerate(class_names)
        ]

    def layer_rows(self) -> list[dict[str, Any]]:
        """A row for each layer: the means over classes, with their chance levels."""
        return [
            {
                "layer": layer,
                "classes": int((self.top[layer] > 0).sum()),
                **{key: one.by_layer[layer] for key, one in self.measures.items()},
                **{f"{key}_chance": _mean(one.chance[layer]) for key, one in self.measures.items()},
                "correlation_low": self.layer_interval[layer][0],
                "correlation_high": self.layer_interval[layer][1],
                "correlation_other_classes": self.other_classes[layer],
            }
            for layer in self.units
        ]

    def summary(self) -> dict[str, Any]:
        """Table I's form: for each measure its mean, deviation over layers and chance; counts."""
        fields = [field.name for field in dataclasses.fields(Measure)][3:]
        return {
            "measures": {
                key: {name: getattr(one, name) for name in fields}
                for key, one in self.measures.items()
            },
            "correlation_low": self.interval[0],
            "correlation_high": self.interval[1],
            "correlation_other_classes": _mean(list(self.other_classes.values())),
            "compared": sum(int((top > 0).sum()) for top in self.top.values()),
            "constant": sum(int(one.sum()) for one in self.constant.values()),
            "units_left_out": sum(int(one.sum()) for one in self.left_out.values()),
        }


def agreement(
    iou: Mapping[str, Any],
    relevance: Mapping[str, Any],
    *,
    top: float = 0.1,
    draws: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """Compares the units that detect the concepts of classes with those relevant for the classes.

    Args:
        iou: For each layer the IoU of its units with each class's concept, float [units, classes],
            0 or more; NaN for a unit without IoU and for a class without concept.
        relevance: Of the same layers and shapes: equation 3, 0 or more; NaN where there is none.
        top: The share of a layer's units that count as the highest, from 0 to 1; of these units,
            rounded, but at least one.
        draws: How many random orders, and how many draws with replacement.
        confidence: Of the intervals, between 0 and 1.
        seed: Of the draws.

    Returns:
        The agreement of each layer and class, and over all. A layer and class with less than three
        units that have both scores, or in which all have the same, is NaN and in no mean.

    Raises:
        UserError: Other layers or shapes in one than in the other, no layers, a negative score, or
            an argument out of range.

    Example:
        >>> found = agreement({"relu5": iou[:, concepts]}, {"relu5": relevance})
        >>> found.measures["correlation"].mean, found.interval
    """
    scores = _checked(iou, relevance)
    for name, value in (("top", top), ("confidence", confidence)):
        if not 0 < value < 1 and not (name == "top" and value == 1):
            raise UserError(f"{name} must be a share between 0 and 1, not {value}.")
    if draws < 1:
        raise UserError(f"draws must be at least 1, not {draws}.")
    random = np.random.default_rng(seed)
    layers = {name: _Layer(*pair, top, draws, random) for name, pair in scores.items()}
    edges = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    drawn = {name: _means(layer.drawn) for name, layer in layers.items()}
    measures = {name: _measure(name, layers, edges) for name in MEASURES}
    found = measures["correlation"]
    return Agreement(
        measures,
        _bootstrap_interval(found.mean, _means(np.stack(list(drawn.values()))), edges),
        {
            name: _bootstrap_interval(found.by_layer[name], values, edges)
            for name, values in drawn.items()
        },
        {name: layer.other_classes() for name, layer in layers.items()},
        {name: layer.overlap_p_value for name, layer in layers.items()},
        {name: layer.valid.sum(0) for name, layer in layers.items()},
        {name: (~layer.valid).sum(0) for name, layer in layers.items()},
        {name: layer.top for name, layer in layers.items()},
        {name: layer.constant for name, layer in layers.items()},
    )


class _Layer:
    """The comparisons of one layer.

    Attributes:
        values: of each measure, [classes].
        orders: the same for each random order of units, [classes, draws].
        drawn: the correlation in each draw with replacement, [classes, draws].
    """

    def __init__(
        self,
        iou: np.ndarray,
        relevance: np.ndarray,
        share: float,
        draws: int,
        random: np.random.Generator,
    ) -> None:
        units, classes = iou.shape
        self.iou, self.relevance = iou, relevance
        self.valid = np.isfinite(iou) & np.isfinite(relevance)
        self.values = {name: np.full(classes, np.nan) for name in MEASURES}
        self.orders = {name: np.full((classes, draws), np.nan) for name in MEASURES}
        self.drawn = np.full((classes, draws), np.nan)
        self.overlap_p_value = np.full(classes, np.nan)
        self.top, self.constant = np.zeros(classes, int), np.zeros(classes, bool)
        # The same order and draw for all classes keeps what makes a unit strong for several.
        keys = random.random((draws, units))
        counts = random.multinomial(units, np.full(units, 1 / units), size=draws)
        for c in range(classes):
            valid = self.valid[:, c]
            first, second = iou[valid, c], relevance[valid, c]
            if len(first) < LEAST_UNITS:
                continue
            self.constant[c] = np.ptp(first) == 0 or np.ptp(second) == 0
            if self.constant[c]:
                continue
            self.top[c] = top = max(1, round(share * len(first)))
            unchanged, orders = np.arange(len(first))[None], np.argsort(keys[:, valid], axis=1)
            measured = _compare(first, second, top, unchanged)
            by_chance = _compare(first, second, top, orders)
            for name in MEASURES:
                self.values[name][c] = measured[name][0]
                self.orders[name][c] = by_chance[name]
            shared = self.values["overlap"][c] * top
            self.overlap_p_value[c] = hypergeometric_tail(shared, len(first), top)
            self.drawn[c] = weighted_rank_correlation(first, second, counts[:, valid])

    def other_classes(self) -> float:
        """The mean correlation of the IoU of one class with the relevance of another."""
        found = []
        for c, other in itertools.permutations(np.flatnonzero(self.top), 2):
            valid = np.isfinite(self.iou[:, c]) & np.isfinite(self.relevance[:, other])
            ones = np.ones(valid.sum())
            pair = self.iou[valid, c], self.relevance[valid, other]
            found.append(weighted_rank_correlation(*pair, ones) if valid.any() else np.nan)
        return _mean(found)


def _compare(
    iou: np.ndarray, relevance: np.ndarray, top: int, orders: np.ndarray
) -> dict[str, np.ndarray]:
    """The measures of scores [units], the relevance in each of several orders [draws, units]."""
    units = len(iou)
    one, other = average_ranks(iou), average_ranks(relevance)
    one, other = one - one.mean(), other - other.mean()
    size = math.sqrt((one @ one) * (other @ other))
    best_iou, best_relevance = top_membership(iou, top), top_membership(relevance, top)[orders]
    difference = iou / iou.max() - (relevance / relevance.max())[orders]
    # Of two sets on a line, paired in ascending order, the sum of distances is that of the
    # differences of how many lie at or before each place. It holds for shares of units, too.
    before = np.cumsum(best_iou - best_relevance, axis=1)
    return {
        "score_error": np.abs(difference).mean(1),
        "position_error": np.abs(before).sum(1) / (top * units),
        "correlation": np.clip(other[orders] @ one / size, -1, 1),
        "overlap": best_relevance @ best_iou / top,
    }


def _measure(name: str, layers: Mapping[str, _Layer], edges: np.ndarray) -> Measure:
    by_layer = {key: _mean(layer.values[name]) for key, layer in layers.items()}
    mean, compared = _mean(list(by_layer.values())), _finite(list(by_layer.values()))
    chance = _means(np.stack([_means(layer.orders[name]) for layer in layers.values()]))
    # Sums in another order may differ in the last bits.
    slack = 1e-12
    better = chance >= mean - slack if MEASURES[name] else chance <= mean + slack
    return Measure(
        {key: layer.values[name] for key, layer in layers.items()},
        {key: _means(layer.orders[name].T) for key, layer in layers.items()},
        by_layer,
        mean,
        float(np.std(compared, ddof=1)) if len(compared) > 1 else math.nan,
        _mean(chance),
        *_interval(chance, edges),
        math.nan if math.isnan(mean) else float((1 + better.sum()) / (1 + len(better))),
    )


def _means(values: np.ndarray) -> np.ndarray:
    """The means along the first axis of what is a number; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def _finite(values: Any) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[~np.isnan(values)]


def _mean(values: Any) -> float:
    known = _finite(values)
    return float(known.mean()) if len(known) else math.nan


def _interval(values: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    known = _finite(values)
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, edges)
    return float(low), float(high)


def _bootstrap_interval(
    correlation: float, drawn: np.ndarray, edges: np.ndarray
) -> tuple[float, float]:
    low, high = _interval(_fisher(drawn), edges)
    twice = 2 * float(_fisher(correlation))
    return math.tanh(twice - high), math.tanh(twice - low)


def _fisher(correlation: Any) -> np.ndarray:
    most = 1 - 1e-12  # of 1 it is infinite
    return np.arctanh(np.clip(correlation, -most, most))


def _checked(
    iou: Mapping[str, Any], relevance: Mapping[str, Any]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The scores of each layer as float64, in the order of `iou`."""
    if not iou:
        raise UserError("There is no layer to compare: give at least one.")
    if set(iou) != set(relevance):
        missing = sorted(set(iou) ^ set(relevance))
        raise UserError(f"IoU and relevance have other layers; one lacks {', '.join(missing)}.")
    scores, classes = {}, np.shape(next(iter(iou.values())))[1:]
    for name in iou:
        pair = np.asarray(iou[name], np.float64), np.asarray(relevance[name], np.float64)
        shapes = [one.shape for one in pair]
        if shapes[0] != shapes[1] or len(shapes[0]) != 2 or shapes[0][1:] != classes:
            raise UserError(
                f"Layer {name!r}: IoU has the shape {list(shapes[0])}, relevance "
                f"{list(shapes[1])}; both must be [units, classes], of as many classes as others."
            )
        if any((one < 0).any() for one in pair):
            raise UserError(f"Layer {name!r} has a negative score; IoU and relevance have none.")
        scores[name] = pair
    return scores
