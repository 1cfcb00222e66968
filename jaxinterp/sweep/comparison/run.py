"""Runs a comparison: config -> plan -> every variant -> store -> tables, figures, page."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinterp.data.images import NamedImage, load_images
from jaxinterp.methods.baselines import Baseline
from jaxinterp.methods.kernel_measures import kernel_measures
from jaxinterp.methods.suppression import Suppression, Suppressor, layer_maps
from jaxinterp.metrics import similarity_name
from jaxinterp.models.layer_table import Layer
from jaxinterp.models.network import Network
from jaxinterp.sweep.comparison.config import ComparisonConfig, VariantConfig
from jaxinterp.sweep.comparison.pairs import KernelPair, find_pair
from jaxinterp.sweep.comparison.plan import ComparisonJob, make_plan
from jaxinterp.sweep.comparison.summary import write_summary
from jaxinterp.sweep.comparison.tables import ComparedLayer, compared_layers
from jaxinterp.sweep.manifest import check_image_size, choose_all_kernels, new_manifest, recorded
from jaxinterp.sweep.plan import batches, resolve_layers
from jaxinterp.sweep.run import Listener
from jaxinterp.sweep.store import ArraySpec, Results, RunFolder
from jaxinterp.weights.load import load

__all__ = ["ComparisonResult", "run_comparison"]


@dataclasses.dataclass(frozen=True)
class ComparisonResult:
    """What a comparison left behind.

    Attributes:
      folder: the run folder.
      page: its `index.html`.
      jobs: how many jobs it has.
      done, silent, failed: how they ended.
      tables: one a layer.
      seconds: from start to end of this call.
    """

    folder: Path | str
    page: Path | str
    jobs: int
    done: int
    silent: int
    failed: int
    tables: list[ComparedLayer]
    seconds: float


def run_comparison(
    config: ComparisonConfig, *, listener: Listener | None = None
) -> ComparisonResult:
    """Runs what is missing of a comparison, and writes its tables, figures and page.

    As `jaxinterp.sweep.run.run`: a comparison that is stopped loses at most one batch, and ends as
    one that was never stopped. Every variant's input is measured by the same function.

    Raises:
      UserError: anything in the config that cannot be used.
    """
    listener = listener or Listener()
    started = time.perf_counter()
    config = _resolve(config)
    network = load(config.model.name, weights=config.model.weights, classes=config.model.classes)
    layers = resolve_layers(config, network)
    check_image_size(network, config.images.size)
    images, skipped = load_images(config.images)
    for file in skipped:
        listener.note(f"left out {file.path}: {file.reason}")
    images = [image.with_channels(network.preprocess.channels) for image in images]
    with RunFolder(config) as folder:
        manifest = recorded(folder, network, images)
        if manifest is None:
            kernels = choose_all_kernels(network, layers, config.layers, images, config.lanes)
            pairs = [find_pair(network, layer, images) for layer in _pair_layers(config, network)]
            manifest = new_manifest(network, images, kernels)
            manifest["pairs"] = [pair.to_record() for pair in pairs]
            manifest = folder.write_manifest(manifest)
        pairs = [KernelPair(**pair) for pair in manifest["pairs"]]
        jobs = make_plan(config, network, images, manifest["kernels"], pairs)
        specs = {"images": ArraySpec(images[0].pixels.shape)}
        with folder.results(jobs, specs) as results:
            _run_missing(config, network, images, jobs, results, listener)
            listener.batch("report")
            records = {record["index"]: record for record in results.records()}
            tables = compared_layers(config, list(records.values()), list(manifest["kernels"]))
            folder.compact(results)
            page = write_summary(
                config,
                folder,
                network,
                images,
                jobs,
                records,
                results,
                pairs,
                tables,
                len(skipped),
            )
            counts = results.counts()
        return ComparisonResult(
            folder=folder.locate(""),
            page=page,
            jobs=len(jobs),
            **counts,
            tables=tables,
            seconds=time.perf_counter() - started,
        )


def _run_missing(
    config: ComparisonConfig,
    network: Network,
    images: Sequence[NamedImage],
    jobs: Sequence[ComparisonJob],
    results: Results,
    listener: Listener,
) -> None:
    listener.planned(len(jobs), int(results.done.sum()))
    worker = _Worker(config, network, jobs)
    pixels = np.stack([image.pixels for image in images])
    for batch in batches(jobs, config.lanes, key=lambda job: (job.layer, job.variant)):
        missing = [job for job in batch if not results.done[job.index]]
        if not missing:
            continue
        title = config.variants[batch[0].variant].title
        listener.batch(f"{batch[0].layer}, {title}, {len(batch)} jobs")
        # The whole batch is done again even if only some of it is missing: with other neighbours
        # the arithmetic would round otherwise, and a resumed comparison would differ.
        inputs, measures = worker(
            batch, pixels[[job.image for job in batch]], listener.progress_of(len(missing))
        )
        places = {job.index: place for place, job in enumerate(batch)}
        new = [
            _record(job, config, images, {k: v[places[job.index]] for k, v in measures.items()})
            | {"similarity_is": worker.similarity_is(job.layer)}
            for job in missing
        ]
        own = inputs[[places[job.index] for job in missing]]
        results.write([job.index for job in missing], {"images": own}, new)
        results.flush()  # a comparison that is stopped loses at most one batch
        listener.finished(new)


def _resolve(config: ComparisonConfig) -> ComparisonConfig:
    """The config with every setting of every suppression written out, as in any run."""

    def resolved(variant: VariantConfig) -> VariantConfig:
        if variant.method != "suppression":
            return variant
        return dataclasses.replace(variant, settings=variant.suppression.resolved())

    return dataclasses.replace(config, variants=tuple(map(resolved, config.variants)))


def _pair_layers(config: ComparisonConfig, network: Network) -> list[Layer]:
    found = {}
    for name in config.pairs:
        layer_maps(network, name)  # an error unless the layer has maps
        layer = network.layers.find(name)
        found[layer.name] = layer
    return list(found.values())


class _Worker:
    """Does a batch. What is compiled for a layer and variant is kept until the next one's turn."""

    def __init__(
        self, config: ComparisonConfig, network: Network, jobs: Sequence[ComparisonJob]
    ) -> None:
        self._config, self._network = config, network
        self._sizes: dict[tuple[str, int], int] = {}
        for job in jobs:
            key = (job.layer, job.variant)
            self._sizes[key] = self._sizes.get(key, 0) + 1
        self._key: tuple[str, int] | None = None
        self._method: Suppressor | Baseline | None = None
        self._measuring: dict[str, Any] = {}
        self._similarity_is: dict[str, str] = {}

    def similarity_is(self, layer: str) -> str:
        """ "ssim" or "correlation", for a layer that has been measured."""
        return self._similarity_is[layer]

    def __call__(
        self, batch: Sequence[ComparisonJob], originals: np.ndarray, progress: Callable[..., None]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The inputs found, RGB [jobs, h, w, c], and their measures, [jobs] each."""
        kernels = [job.kernel for job in batch]
        method = self._prepare(batch[0])
        result = method(originals, kernels, progress=progress)
        measures = self._measure(batch[0].layer, originals, result.images, kernels, method.lanes)
        nothing = np.full(len(batch), np.nan, np.float32)
        if isinstance(result, Suppression):
            failed = np.array([status == "failed" for status in result.status])
            measures |= {"loss": result.measures["loss"], "steps": result.measures["steps"]}
            measures |= {"gain": nothing}
        else:
            failed = np.array([not np.isfinite(image).all() for image in result.images])
            measures |= {"loss": nothing, "steps": nothing, "gain": result.gain}
        return result.images, measures | {"failed": failed}

    def _prepare(self, job: ComparisonJob) -> Suppressor | Baseline:
        key = (job.layer, job.variant)
        if self._method is None or key != self._key:
            variant = self._config.variants[job.variant]
            # A layer with fewer jobs than lanes has no need of the others.
            lanes = min(self._config.lanes, self._sizes[key])
            if variant.method == "suppression":
                settings = variant.suppression
                self._method = Suppressor(self._network, job.layer, settings, lanes=lanes)
            else:
                self._method = Baseline(self._network, job.layer, variant.method, lanes=lanes)
            self._key = key
        return self._method

    def _measure(
        self,
        layer: str,
        originals: np.ndarray,
        inputs: np.ndarray,
        kernels: Sequence[int],
        lanes: int,
    ) -> dict[str, np.ndarray]:
        network = self._network
        if layer not in self._measuring:
            maps = layer_maps(network, layer)

            @jax.jit
            def measure(params: Any, before: Any, after: Any, kernel: Any) -> dict[str, jax.Array]:
                blank = jnp.zeros_like(before[:1])
                return kernel_measures(
                    features := maps(params, before),
                    maps(params, after),
                    jnp.broadcast_to(maps(params, blank), features.shape),
                    kernel,
                )

            self._measuring[layer] = measure
        filled = np.resize(np.arange(len(kernels)), lanes)
        measures = self._measuring[layer](
            network.params,
            network.preprocess(originals[filled]),
            network.preprocess(inputs[filled]),
            jnp.asarray(np.asarray(kernels, np.int32)[filled]),
        )
        if layer not in self._similarity_is:
            shape = jax.eval_shape(layer_maps(network, layer), network.params, originals[:1]).shape
            self._similarity_is[layer] = similarity_name(*shape[1:3])
        return {name: np.asarray(value)[: len(kernels)] for name, value in measures.items()}


def _record(
    job: ComparisonJob,
    config: ComparisonConfig,
    images: Sequence[NamedImage],
    measures: Mapping[str, Any],
) -> dict[str, Any]:
    """A finished job's line in the journal; measures that do not exist are null."""
    silent = measures["peak"] <= 0
    failed = measures["failed"] or not np.isfinite(measures["similarity"] + measures["mse_rest"])
    status = "silent" if silent else "failed" if failed else "done"
    values = {k: float(v) for k, v in measures.items() if k not in ("peak", "failed")}
    variant = config.variants[job.variant]
    return {
        "index": job.index,
        "id": job.id,
        "layer": job.layer,
        "kernel": job.kernel,
        "image": images[job.image].name,
        "variant": variant.title,
        "method": variant.method,
        "tabled": job.tabled,
        "status": status,
        **{k: v if status == "done" and np.isfinite(v) else None for k, v in values.items()},
    }
