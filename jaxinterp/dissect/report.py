"""The results of a dissection as its figures and page need them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxinterp import __version__
from jaxinterp.config import to_toml
from jaxinterp.console.duration import duration
from jaxinterp.dissect.extra_tables import extra_tables
from jaxinterp.dissect.found import Found, Run
from jaxinterp.methods.ablation_counts import ablation_rows
from jaxinterp.metrics.agreement import agreement
from jaxinterp.report.dissection_data import Completeness, DissectionReport

__all__ = ["build_report"]


def build_report(run: Run, found: Found, seconds: float) -> DissectionReport:
    """Everything that was found, without the passes' own sums."""
    config, concepts = run.config, run.concepts
    units = {name: run.network.layers.find(name).channels for name in run.layers}
    if found.dissection is not None:
        iou: Mapping[str, np.ndarray] = found.dissection.iou
        thresholds: Mapping[str, np.ndarray] = found.dissection.thresholds.values
    else:
        iou = {name: np.zeros((count, 0)) for name, count in units.items()}
        thresholds = {name: np.full(count, np.nan) for name, count in units.items()}
    relevance = None if found.relevance is None else found.relevance.sums.mean()
    effects = None
    if found.effects is not None:
        effects = {name: own.probability_drop for name, own in found.effects.items()}
    return DissectionReport(
        title=config.title,
        network=run.network.name,
        concepts=tuple((one.name, one.category) for one in concepts.concepts) if concepts else (),
        iou=iou,
        thresholds=thresholds,
        cutoff=config.dissection.cutoff,
        images=int(found.dissection.tally.seen) if found.dissection else 0,
        relevance=relevance,
        class_names=tuple(own.name for own in run.classes),
        class_concepts=tuple(own.concept for own in run.classes),
        class_images=() if found.relevance is None else tuple(found.relevance.sums.images.tolist()),
        agreement=_agreement(run, found, relevance),
        ablation=_ablation(run, found),
        effects=effects,
        effect_name="drop of the true class's probability",
        completeness=_completeness(run, found),
        examples=found.examples,
        tables=extra_tables(run, found),
        facts=_facts(run, found, seconds),
        notes=_notes(run, found),
        config_toml=to_toml(config),
    )


def _agreement(
    run: Run, found: Found, relevance: Mapping[str, np.ndarray] | None
) -> dict[str, Any] | None:
    """Table I's form and rank correlations, for the classes that have a concept."""
    columns = [i for i, own in enumerate(run.classes) if own.concept >= 0]
    if found.dissection is None or relevance is None or not columns:
        return None
    chosen = [run.classes[i].concept for i in columns]
    compared = agreement(
        {name: iou[:, chosen] for name, iou in found.dissection.iou.items()},
        {name: values[:, columns] for name, values in relevance.items()},
    )
    return {
        "rows": compared.layer_rows(),
        "summary": compared.summary(),
        "note": (
            "Errors and overlap are shares, correlations are Spearman's; each has its value for "
            "units in random order beside it. docs/relevance.md defines them."
        ),
    }


def _ablation(run: Run, found: Found) -> tuple[dict[str, Any], ...] | None:
    if found.plan is None or found.counts is None or run.config.ablation is None:
        return None
    return tuple(ablation_rows(found.plan, found.counts, seed=run.config.ablation.seed))


def _completeness(run: Run, found: Found) -> tuple[Completeness, ...]:
    if found.relevance is None or not len(found.relevance.delta):
        return ()
    delta = np.abs(found.relevance.delta)
    return tuple(
        Completeness(
            layer=name,
            images=len(delta),
            median=float(np.median(delta[:, i])),
            high=float(np.percentile(delta[:, i], 95)),
        )
        for i, name in enumerate(run.layers)
    )


def _facts(run: Run, found: Found, seconds: float) -> tuple[tuple[str, str], ...]:
    facts = [
        ("network", f"{run.network.name}, weights {run.network.weights_sha256}"),
        ("images", f"{run.size} x {run.size} px, masks {run.mask_size} x {run.mask_size}"),
    ]
    if run.concepts is not None and found.dissection is not None:
        facts.append(
            (
                "concepts",
                f"{len(run.concepts.concepts)} in {', '.join(run.concepts.categories)}, from "
                f"{run.concepts.location}, {found.dissection.tally.seen} images",
            )
        )
    if run.train is not None:
        facts.append(("relevance", f"{len(run.train)} images of {run.train.location}"))
    if run.test is not None:
        facts.append(("ablation", f"{len(run.test)} images of {run.test.location}"))
    device = jax.devices()[0]
    facts += [
        ("versions", f"jaxinterp {__version__}, jax {jax.__version__}"),
        ("device", f"{device.platform}: {device.device_kind}"),
        ("time of the last call", duration(seconds)),
        ("written", time.strftime("%Y-%m-%d %H:%M")),
    ]
    return tuple(facts)


def _notes(run: Run, found: Found) -> tuple[str, ...]:
    notes = []
    if found.dissection is not None:
        thresholds = found.dissection.thresholds
        sampled = {name: error for name, error in thresholds.error.items() if error > 0}
        share = f"{100 * thresholds.share:g} %"
        if sampled:
            worst = max(sampled.values())
            notes.append(
                f"A unit's threshold is exceeded at {share} of all positions. In "
                f"{len(sampled)} of {len(thresholds.error)} layers it is that of a sample: the "
                f"standard error of the share is at most {100 * worst:.2g} %."
            )
        else:
            notes.append(f"A unit's threshold is exceeded at {share} of all positions, exactly.")
        strange = sum(int(own.sum()) for own in thresholds.not_finite.values())
        if strange:
            notes.append(f"{strange} units took values that are not finite numbers.")
    if found.relevance is not None:
        sums, own = found.relevance.sums, run.config.relevance
        assert own is not None
        where = "the whole image" if own.masks == "none" else f"the {own.masks}'s mask"
        if own.masks == "discriminative":
            where = "the mask of the part that defines the class"
        notes.append(
            f"Relevance is Eq. 3 of Islam and Tushar: integrated gradients ({own.steps} points, "
            f"baseline {own.baseline!r}, path through the {own.path} space) of the class's "
            f"probability, {own.part} values, summed over {where}. Where something skips around a "
            "layer, its error of completeness is mostly what the skip carries."
        )
        if sums.empty.any():
            notes.append(f"{int(sums.empty.sum())} images with an empty mask were left out.")
        if sums.failed.any():
            notes.append(f"{int(sums.failed.sum())} images without finite relevance were left out.")
    if found.plan is not None and run.train is not None and run.test is not None:
        notes.append(
            f"Units were chosen on {run.train.location} and ablated on {run.test.location}."
        )
    return tuple(notes)
