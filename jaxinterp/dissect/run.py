"""Runs a dissection: config -> passes over images -> results, figures, page."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxinterp.data.concepts.class_concepts import require_labelled
from jaxinterp.data.concepts.concept_set import ConceptSet
from jaxinterp.data.concepts.joined import join
from jaxinterp.data.concepts.source import read_concepts
from jaxinterp.dissect.ablation_pass import find_unit_effects, run_ablations
from jaxinterp.dissect.class_images import ClassImages
from jaxinterp.dissect.classes import count_logits, resolve_classes
from jaxinterp.dissect.completeness import write_completeness
from jaxinterp.dissect.concept_passes import ConceptPasses
from jaxinterp.dissect.config import AblationConfig, DissectionConfig, LabelledConfig
from jaxinterp.dissect.digests import digest_of_concepts, digest_of_images
from jaxinterp.dissect.examples import choose_units, unit_examples
from jaxinterp.dissect.found import Found, Run
from jaxinterp.dissect.labelled import open_labelled
from jaxinterp.dissect.listener import DissectionListener
from jaxinterp.dissect.merged_classes import merge_classes
from jaxinterp.dissect.passes import PassFile
from jaxinterp.dissect.relevance_pass import find_relevance
from jaxinterp.dissect.report import build_report
from jaxinterp.dissect.units import default_mask_size, unit_layers
from jaxinterp.errors import UserError, nearest
from jaxinterp.methods.ablation_layers import ablatable_layers
from jaxinterp.methods.ablation_plan import plan_ablations, units_to_ablate
from jaxinterp.methods.dissection import Dissection
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
    begun = _begin(config, listener)
    with RunFolder(config) as folder:
        (folder.path / "passes").mkdir(exist_ok=True)
        files = {name: PassFile(folder.place, name) for name in _PASSES}
        manifest = recorded(folder, begun.network, [])
        run = _open_images(begun, files, listener)
        ours = _identity(run)
        if manifest is None:
            folder.write_manifest(new_manifest(run.network, [], {}) | {"dissection": ours})
        elif manifest.get("dissection") != ours:
            different = [
                key for key in ours if manifest.get("dissection", {}).get(key) != ours[key]
            ]
            raise UserError(
                f"{folder.name} was made with other {' and other '.join(different)}: give another "
                "`output`."
            )
        # On GPUs and TPUs, too, as far as the defaults are concerned: figures are compared.
        with jax.default_matmul_precision("highest"):
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
            unreadable=tuple(dict.fromkeys(i for file in files.values() for i in file.unreadable)),
            seconds=time.perf_counter() - started,
        )


def _begin(config: DissectionConfig, listener: DissectionListener) -> Run:
    """What can be opened without a walk through the images."""
    network = load(config.model.name, weights=config.model.weights, classes=config.model.classes)
    size = config.size or network.preprocess.size
    check_image_size(network, size, key="size")
    layers = unit_layers(network, config.layers)
    mask_size = config.dissection.mask_size or default_mask_size(size)
    run = Run(config, network, layers, (), size, mask_size, None, (), None, None)
    if config.ablation is not None:
        run = dataclasses.replace(run, ablated=_ablated_layers(run, config.ablation))
    return dataclasses.replace(run, concepts=_open_concepts(config, listener))


def _open_images(run: Run, files: dict[str, PassFile], listener: DissectionListener) -> Run:
    """The same with the classes and the labelled images, if the config asks for them."""
    config, concepts = run.config, run.concepts
    if config.relevance is None:
        return run
    logits = count_logits(run.network, run.size)
    classes = resolve_classes(
        config.classes,
        run.network,
        concepts,
        logits=logits,
        by_concept=config.relevance.images.source == "concepts",
    )

    def opened(images: LabelledConfig, masks: str) -> ClassImages:
        return open_labelled(
            images,
            run.network,
            classes,
            logits=logits,
            size=run.size,
            mask_size=run.mask_size,
            masks=masks,
            concepts=concepts,
            fit=config.dissection.fit,
            file=files["concept_images"],
        )

    with _key("relevance.images"):
        train = opened(config.relevance.images, config.relevance.masks)
    test = None
    if config.ablation is not None:
        with _key("ablation.images"):
            test = opened(config.ablation.images, "none")
    if test is not None:
        common = len(
            {(train.location, name) for name in train.names}
            & {(test.location, name) for name in test.names}
        )
        if common:
            listener.note(
                f"warning: {common} of the {len(test)} images on which units are ablated are among "
                "those by which they are chosen: give [ablation] others"
            )
    merged = merge_classes(run.network, classes, logits=logits)
    return dataclasses.replace(run, network=merged, classes=classes, train=train, test=test)


@contextlib.contextmanager
def _key(name: str) -> Iterator[None]:
    """What cannot be used is said of the key that names it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _open_concepts(config: DissectionConfig, listener: DissectionListener) -> ConceptSet | None:
    if not config.concepts:
        return None
    colours = config.dissection.colours
    sets = []
    for number, own in enumerate(config.concepts):
        with _key(f"concepts[{number}]"):
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


def _identity(run: Run) -> dict[str, Any]:
    """What the passes' sums belong to; all else is in the config."""
    return {
        "layers": list(run.layers),
        "concept images": digest_of_concepts(run.concepts),
        "classes": [[own.name, *own.logits, own.concept] for own in run.classes],
        "relevance images": digest_of_images(run.train),
    }


_PASSES = ("thresholds", "tally", "concept_images", "relevance", "ablation", "effects")


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
        _check_concepts(run, dissection)
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
        len(run.classes),
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
    means, images = relevance.sums.mean(), relevance.sums.images
    names = run.ablated
    without = [own.name for own, count in zip(run.classes, images, strict=True) if not count]
    if len(without) == len(images):
        raise UserError(f"No image of {run.train.location} says anything of any class.")
    if without:
        listener.note(f"no units are chosen for {', '.join(without)}: no image could be used")
    plan = plan_ablations(
        {name: means[name] for name in names},
        ablation.shares,
        ablation.draws,
        key=jax.random.key(ablation.seed),
        targets=np.flatnonzero(images).tolist(),
    )
    same = {"size": run.size, "batch_size": config.batch_size, "listener": listener}
    same["tested"] = digest_of_images(run.test)
    fill = {name: relevance.means[name] for name in names} if relevance.means else None
    found["plan"] = plan
    found["counts"] = run_ablations(
        network, plan, run.test, fill=fill, file=files["ablation"], **same
    )
    if ablation.units:
        fill = relevance.means or None
        found["effects"] = find_unit_effects(
            network,
            run.layers,
            len(run.classes),
            run.test,
            fill=fill,
            file=files["effects"],
            **same,
        )
    return Found(**found)


def _check_concepts(run: Run, dissection: Dissection) -> None:
    """Raises `UserError` if a concept that the config names for a class is nowhere to be seen."""
    named = {own.name for own in run.config.classes if own.concept}
    wanted = [own.concept for own in run.classes if own.name in named]
    if run.concepts is not None:
        require_labelled(run.concepts, wanted, dissection.tally.labelled)


def _ablated_layers(run: Run, ablation: AblationConfig) -> tuple[str, ...]:
    """The layers named, or all that are dissected but the network's first and last."""
    if ablation.layers is None:
        wanted = ablatable_layers(run.network, residual="block")
        chosen = tuple(name for name in wanted if name in run.layers)
        if not chosen:
            raise UserError(
                f"Of {', '.join(run.layers)} none is ablated: the network's first and last "
                "convolution are left alone. Name others in layers or ablation.layers."
            )
    else:
        rows = [run.network.layers.find(name).name for name in ablation.layers]
        for name in rows:
            if name not in run.layers:
                raise UserError(nearest(name, run.layers, kind="dissected layer"))
        chosen = tuple(dict.fromkeys(rows))
    for name in chosen:
        for share in ablation.shares:
            units_to_ablate(run.network.layers.find(name).channels, share)
    return chosen
