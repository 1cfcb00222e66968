"""Which form of class-specific relevance says what ablating a unit does.

    python benchmarks/relevance_options.py --cifar10 FOLDER --images 6

The built-in CIFAR-10 network and the first test images of every class. For each layer, path,
baseline and part: Spearman's rank correlation over the layer's units, averaged over the classes, of
a unit's relevance with (1) the drop of the class's probability when the unit is set to 0, and (2)
the magnitude of its change, both averaged over the class's images. Also the time an image takes,
and the completeness error |delta| / |score - baseline_score|, its median over images. With 6 images
a class and 10 steps it takes about two minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp
from jaxinterp.data.cifar10 import load_cifar10
from jaxinterp.methods.class_relevance import PARTS, class_relevance
from jaxinterp.methods.relevance_baselines import BASELINE_NAMES, baseline_inputs
from jaxinterp.methods.relevance_sums import RelevanceSums
from jaxinterp.metrics.ranks import weighted_rank_correlation
from jaxinterp.transform import edit


def drops(network: jaxinterp.Network, layer: str, images: jax.Array, labels: np.ndarray):
    """The class's probability less that without a unit: [units, images]."""

    def probability(params, images, keep):
        logits = edit(network.apply, {layer: lambda maps: maps * keep})(params, images)
        return jax.nn.softmax(logits)[jnp.arange(len(labels)), labels]

    without = jax.jit(probability)
    keep = 1 - np.eye(network.layers.find(layer).channels, dtype=np.float32)
    whole = without(network.params, images, np.ones_like(keep[0]))
    return np.stack([whole - without(network.params, images, one) for one in keep])


def correlation(relevance: np.ndarray, effect: np.ndarray) -> float:
    """The mean rank correlation over classes of [units, classes] each."""
    pairs = zip(relevance.T, effect.T, strict=True)
    return float(
        np.mean([weighted_rank_correlation(*pair, np.ones(len(effect))) for pair in pairs])
    )


def main() -> None:
    arguments = parse_arguments()
    network = jaxinterp.load("vgg_cifar10")
    source = load_cifar10(arguments.cifar10, split="test")
    classes = int(source.labels.max()) + 1
    chosen = np.concatenate(
        [np.flatnonzero(source.labels == c)[: arguments.images] for c in range(classes)]
    )
    images = network.preprocess(source.images[chosen] / np.float32(255))
    labels = source.labels[chosen]
    of_class = (labels[:, None] == np.arange(classes)) / arguments.images
    effects = {}
    for layer in arguments.layers:
        change = drops(network, layer, images, labels)
        effects[layer] = change @ of_class, np.abs(change) @ of_class
    print("| path | baseline | part | layer | drop | magnitude | error | s an image |")
    print("|" + " --- |" * 8)
    for path in arguments.paths:
        for baseline in arguments.baselines:
            means, found, seconds = {}, None, 0.0
            for part in PARTS:
                start = time.perf_counter()
                found = jax.block_until_ready(
                    class_relevance(
                        network.apply,
                        network.params,
                        images,
                        labels,
                        arguments.layers,
                        path=path,
                        part=part,
                        baselines=baseline_inputs(baseline, images, network.preprocess),
                        n_steps=arguments.steps,
                    )
                )
                seconds = (time.perf_counter() - start) / len(images)
                units = {name: value.shape[1] for name, value in found.units.items()}
                sums = RelevanceSums(units, classes=classes)
                sums.add(labels, found.units)
                means[part] = sums.mean()
            assert found is not None
            for part, mean in means.items():
                for layer, (drop, magnitude) in effects.items():
                    error = found.delta[layer] / (found.score - found.baseline_score[layer])
                    print(
                        f"| {path} | {baseline} | {part} | {layer} "
                        f"| {correlation(mean[layer], drop):.2f} "
                        f"| {correlation(mean[layer], magnitude):.2f} "
                        f"| {np.median(np.abs(error)):.1%} | {seconds:.3f} |",
                        flush=True,
                    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cifar10", type=Path, required=True, help="in any form `data` reads")
    parser.add_argument("--images", type=int, default=6, help="of every class")
    parser.add_argument("--layers", nargs="+", default=["relu2_2", "relu3_3", "relu4_2"])
    parser.add_argument("--paths", nargs="+", default=["input", "layer"])
    parser.add_argument("--baselines", nargs="+", choices=BASELINE_NAMES, default=["mean"])
    parser.add_argument("--steps", type=int, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
