"""Runs a dissection: config -> passes over images -> results, figures, page."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxinterp.data.concepts.concept_set import ConceptSet
from jaxinterp.data.concepts.joined import join
from jaxinterp.data.concepts.source import read_concepts
from jaxinterp.dissect.ablation_pass import find_unit_effects, run_ablations
from jaxinterp.dissect.classes import RunClass, count_logits, resolve_classes
from jaxinterp.dissect.completeness import write_completeness
from jaxinterp.dissect.concept_passes import ConceptPasses
from jaxinterp.dissect.config import DissectionConfig, LabelledConfig
from jaxinterp.dissect.examples import choose_units, unit_examples
from jaxinterp.dissect.found import Found, Run
from jaxinterp.dissect.labelled import open_labelled
from jaxinterp.dissect.listener import DissectionListener
from jaxinterp.dissect.passes import PassFile
from jaxinterp.dissect.relevance_pass import find_relevance
from jaxinterp.dissect.report import build_report
from jaxinterp.dissect.units import default_mask_size, unit_layers
from jaxinterp.errors import UserError, nearest
from jaxinterp.methods.ablation_layers import ablatable_layers
from jaxinterp.methods.ablation_plan import plan_ablations
from jaxinterp.report.dissection_files import write_dissection
from jaxinterp.report.dissection_page import write_dissection_page
from jaxinterp.report.dissection_tables import summary_tables
from jaxinterp.report.views import Table
from jaxinterp.sweep.manifest import check_image_size, new_manifest, recorded
from jaxinterp.sweep.store import RunFolder
from jaxinterp.weights.load import load

__all__ = ["DissectionResult", "run_dissection"]

_BEST_IMAGES = 5
"""So many images are remembered for each unit."""


@dataclasses.dataclass(frozen=True)
class DissectionResult:
    """What a dissection left behind.

    Attributes:
      folder: the run folder.
      page: its `index.html`.
      layers, units: how many were dissected.
      tables: what the page shows above its figures.
      unreadable: name and reason of each image that was left out.
      seconds: from start to end of this call.
    """

    folder: Path | str
    page: Path | str
    layers: int
    units: int
    tables: tuple[Table, ...]
    unreadable: tuple[tuple[str, str], ...]
    seconds: float
    done: int = 1
    failed: int = 0


def run_dissection(
    config: DissectionConfig, *, listener: DissectionListener | None = None
) -> DissectionResult:
    """Runs what is missing of a dissection, and writes its results, figures and page.

    Every pass over images is kept in the run folder, each minute and at its end: a dissection that
    is stopped goes on from there.

    Raises:
      UserError: anything in the config that cannot be used.
    """
    listener = listener or DissectionListener()
    started = time.perf_counter()
    run = _open(config, listener)
    with RunFolder(config) as folder:
        if folder.place.path is None:
            raise UserError(
                f"A dissection is kept on a disk of this machine, not in {folder.name}."
            )
        manifest = recorded(folder, run.network, [])
        ours = _identity(run)
        if manifest is None:
            folder.write_manifest(new_manifest(run.network, [], {}) | {"dissection": ours})
        elif manifest.get("dissection") != ours:
            raise UserError(
                f"The images or concepts are not those that {folder.name} was made with: give "
                "another `output`."
            )
        (folder.path / "passes").mkdir(exist_ok=True)
        files = {name: PassFile(folder.place, name) for name in _PASSES}
        found = _passes(run, files, listener)
        listener.note("writing the report")
        report = build_report(run, found, time.perf_counter() - started)
        write_dissection(folder.path, report)
        write_completeness(folder.path, run, found)
        page = write_dissection_page(folder.path, report)
        return DissectionResult(
            folder=folder.path,
            page=page,
            layers=len(run.layers),
            units=sum(run.network.layers.find(name).channels for name in run.layers),
            tables=tuple(summary_tables(report)),
            unreadable=tuple(
                dict.fromkeys(image for f in files.values() for image in f.unreadable)
            ),
            seconds=time.perf_counter() - started,
        )


def _open(config: DissectionConfig, listener: DissectionListener) -> Run:
    network = load(config.model.name, weights=config.model.weights, classes=config.model.classes)
    size = config.size or network.preprocess.size
    check_image_size(network, size, key="size")
    layers = unit_layers(network, config.layers)
    mask_size = config.dissection.mask_size or default_mask_size(size)
    concepts = _open_concepts(config, listener)
    classes: tuple[RunClass, ...] = ()
    train = test = None
    if config.relevance is not None:
        logits = count_logits(network, size)
        classes = resolve_classes(
            config.classes,
            network,
            concepts,
            logits=logits,
            by_concept=config.relevance.images.source == "concepts",
        )
        shared = {"logits": logits, "size": size, "mask_size": mask_size, "concepts": concepts}
        shared |= {"fit": config.dissection.fit}
        relevance = config.relevance
        train = open_labelled(relevance.images, network, classes, masks=relevance.masks, **shared)
        if config.ablation is not None:
            images = config.ablation.images
            test = open_labelled(images, network, classes, masks="none", **shared)
            if _same_images(relevance.images, images):
                listener.note(
                    "warning: units are chosen and ablated on the same images; give [ablation] "
                    "images that the relevance does not see"
                )
    return Run(config, network, layers, size, mask_size, concepts, classes, train, test)


def _open_concepts(config: DissectionConfig, listener: DissectionListener) -> ConceptSet | None:
    if not config.concepts:
        return None
    colours = config.dissection.colours
    sets = []
    for own in config.concepts:
        one = read_concepts(
            own.source,
            split=own.split,
            categories=own.categories,
            colours=bool(colours),
            colour_table=colours if isinstance(colours, str) else None,
        )
        sets.append(one.take(own.limit))
    joined = join(sets)
    for note in joined.notes:
        listener.note(note)
    return joined


def _same_images(one: LabelledConfig, other: LabelledConfig) -> bool:
    return (one.source, one.split) == (other.source, other.split)


def _identity(run: Run) -> dict[str, Any]:
    """What the passes' sums belong to."""
    concepts = run.concepts
    return {
        "layers": list(run.layers),
        "concept_images": concepts.count if concepts else 0,
        "concepts": [str(one) for one in concepts.concepts] if concepts else [],
        "classes": [own.name for own in run.classes],
        "relevance_images": len(run.train) if run.train else 0,
        "ablation_images": len(run.test) if run.test else 0,
    }


_PASSES = ("thresholds", "tally", "relevance", "ablation", "effects")


def _passes(run: Run, files: dict[str, PassFile], listener: DissectionListener) -> Found:
    config, network = run.config, run.network
    found: dict[str, Any] = {}
    if run.concepts is not None:
        passes = ConceptPasses(
            network,
            run.layers,
            run.concepts,
            config.dissection,
            size=run.size,
            mask_size=run.mask_size,
            batch_size=config.batch_size,
        )
        thresholds = passes.thresholds(files["thresholds"], listener)
        dissection, best = passes.dissection(
            thresholds, files["tally"], listener, best=_BEST_IMAGES
        )
        chosen = choose_units(dissection, config.examples)
        found["dissection"] = dissection
        found["examples"] = unit_examples(chosen, passes, dissection, best)
    if config.relevance is None:
        return Found(**found)
    assert run.train is not None
    ablation = config.ablation
    relevance = find_relevance(
        network,
        run.layers,
        run.classes,
        run.train,
        config.relevance,
        size=run.size,
        mask_size=run.mask_size,
        batch_size=config.batch_size,
        means=ablation is not None and ablation.value == "mean",
        file=files["relevance"],
        listener=listener,
    )
    found["relevance"] = relevance
    if ablation is None:
        return Found(**found)
    assert run.test is not None
    means = relevance.sums.mean()
    names = _ablated_layers(run, ablation.layers)
    plan = plan_ablations(
        {name: means[name] for name in names},
        ablation.shares,
        ablation.draws,
        key=jax.random.key(ablation.seed),
    )
    same = {"size": run.size, "batch_size": config.batch_size, "listener": listener}
    fill = {name: relevance.means[name] for name in names} if relevance.means else None
    found["plan"] = plan
    found["counts"] = run_ablations(
        network, plan, run.test, fill=fill, file=files["ablation"], **same
    )
    if ablation.units:
        logits = [own.logits for own in run.classes]
        fill = relevance.means or None
        found["effects"] = find_unit_effects(
            network, run.layers, logits, run.test, fill=fill, file=files["effects"], **same
        )
    return Found(**found)


def _ablated_layers(run: Run, names: Sequence[str] | None) -> tuple[str, ...]:
    """The layers named, or all that were dissected but the network's first and last."""
    if names is None:
        wanted = ablatable_layers(run.network, residual="block")
        chosen = tuple(name for name in wanted if name in run.layers)
        if not chosen:
            raise UserError(
                f"Of {', '.join(run.layers)} none is ablated: the network's first and last "
                "convolution are left alone. Name others in layers or ablation.layers."
            )
        return chosen
    rows = [run.network.layers.find(name).name for name in names]
    for name in rows:
        if name not in run.layers:
            raise UserError(nearest(name, run.layers, kind="dissected layer"))
    return tuple(dict.fromkeys(rows))
