"""Tables that say whether ablation bears out relevance and IoU."""

from __future__ import annotations

import math

from jaxinterp.dissect.found import Found, Run
from jaxinterp.methods.entanglement import own_class_effects
from jaxinterp.metrics.detector_effects import detector_effects
from jaxinterp.report.views import Table

__all__ = ["extra_tables"]


def extra_tables(run: Run, found: Found) -> tuple[Table, ...]:
    """Those of the results that there are."""
    tables = (_own_classes(run, found), _detectors(run, found))
    return tuple(table for table in tables if table is not None)


def _own_classes(run: Run, found: Found) -> Table | None:
    if found.plan is None or found.counts is None or run.config.ablation is None:
        return None
    rows = []
    for own in own_class_effects(found.plan, found.counts, seed=run.config.ablation.seed):
        rows.append(
            (
                f"{own['which']} {100 * own['share']:g} %",
                _interval(own["own_drop"], own["own_low"], own["own_high"]),
                _interval(own["excess"], own["excess_low"], own["excess_high"]),
                _interval(own["other_drop"], own["other_low"], own["other_high"]),
            )
        )
    columns = ("units", "drop, own class", "more than random", "drop, other classes")
    return Table(
        "What the units of a class cost it, on average over classes",
        columns,
        tuple(rows),
        "Drops of accuracy in percentage points with 95 % intervals (bootstrap over images and "
        "random draws). Own class: that for which the units were chosen.",
    )


def _detectors(run: Run, found: Found) -> Table | None:
    if found.dissection is None or found.effects is None:
        return None
    drops = {name: own.probability_drop for name, own in found.effects.items()}
    concepts = [own.concept for own in run.classes]
    rows = []
    layers: list[tuple[str, list[str]]] = [("all", list(drops))]
    for title, names in layers + [(name, [name]) for name in drops]:
        own = detector_effects(
            found.dissection.iou,
            {name: drops[name] for name in names},
            concepts,
            cutoff=run.config.dissection.cutoff,
        )
        if own is not None:
            rows.append(
                (
                    title,
                    str(own.detectors),
                    _interval(own.own, *own.own_interval),
                    _interval(own.other, *own.other_interval),
                    _interval(own.excess, *own.excess_interval),
                    f"{100 * own.others_on_class:.2f}",
                    f"{100 * own.first:.0f} % ({100 * own.chance:.0f} %)",
                )
            )
    if not rows:
        return None
    return Table(
        "Do detectors of a class's concept matter for the class?",
        (
            "layer",
            "detectors",
            "effect on own class",
            "on other classes",
            "difference",
            "other units' effect on a class",
            "own class first (chance)",
        ),
        tuple(rows),
        "Each detector is ablated alone. Effects are drops of the true class's probability in "
        "percentage points, with 95 % intervals (bootstrap over units).",
    )


def _interval(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{100 * value:.2f} ({100 * low:.2f} to {100 * high:.2f})"
