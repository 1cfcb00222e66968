"""How complete integrated gradients are on real images.

    python benchmarks/completeness.py --model resnet18 --weights resnet18.safetensors \
        --images FOLDER --limit 50

Prints, for the logit and the probability of the class that the network predicts, the completeness
error |sum of attributions - (F(x) - F(x'))| relative to |F(x) - F(x')|: median and 95th percentile
over the images, at several numbers of steps. The baseline x' is 0 in the network's
input, the mean colour of ImageNet (or black, --baseline black). 50 images of 224 px at 20, 50, 100
and 300 steps take about an hour on two CPU cores; --size 112 a quarter of it. Without --images,
scikit-image's pictures are taken; without --weights those that were fetched.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import jaxinterp
from jaxinterp.attribution import Seed, integrated_gradients
from jaxinterp.attribution.quadrature import METHODS
from jaxinterp.data.images import PICTURES, ImagesConfig

SCORES = ("logit", "probability")


def both_scores() -> Seed:
    """Logit (target 0) or probability (1) of a class; both share every forward pass."""

    def score(logits: jax.Array, target: tuple[jax.Array, jax.Array]) -> jax.Array:
        which, label = target
        values = jnp.stack([logits, jax.nn.softmax(logits)])
        return values[which, jnp.arange(len(logits)), label]

    return Seed(None, score)


def main() -> None:
    arguments = parse_arguments()
    network = jaxinterp.load(arguments.model, weights=arguments.weights)
    config = ImagesConfig(
        size=arguments.size or network.preprocess.size,
        folder=arguments.images,
        limit=arguments.limit if arguments.images else None,
        pictures=() if arguments.images else PICTURES,
    )
    pictures = jaxinterp.load_images(config)[0][: arguments.limit]
    images = network.preprocess(np.stack([picture.pixels for picture in pictures]))
    logits = jax.jit(network.apply)(network.params, images)
    labels = logits.argmax(-1)
    targets = (jnp.arange(2)[:, None].repeat(len(images), 1), jnp.stack([labels, labels]))
    black = network.preprocess(np.zeros_like(pictures[0].pixels))
    baselines = black if arguments.baseline == "black" else 0.0
    seed = both_scores()
    options = f"{config.size} px, baseline {arguments.baseline}, {arguments.method}"
    print(f"{network.name}, {len(images)} images of {options}\n")
    print("| steps | score | median | 95th percentile | largest | s |\n|" + " --- |" * 6)
    for steps in arguments.steps:
        start = time.perf_counter()
        errors = []
        for first in range(0, len(images), 10):
            part = slice(first, first + 10)
            chosen = jax.tree.map(lambda one, part=part: one[:, part], targets)
            result = integrated_gradients(
                network.apply,
                network.params,
                images[part],
                seed,
                chosen,
                baselines=baselines,
                n_steps=steps,
                method=arguments.method,
                batch_size=arguments.batch_size,
            )
            errors.append(np.abs(result.delta / (result.score - result.baseline_score)))
        seconds = time.perf_counter() - start
        for name, values in zip(SCORES, np.concatenate(errors, axis=1), strict=True):
            median, tail = np.percentile(values, [50, 95])
            row = f"| {steps} | {name} | {median:.2%} | {tail:.2%} | {values.max():.2%} "
            print(row + f"| {seconds:.0f} |", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--weights")
    parser.add_argument("--images", help="a folder of images")
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--size", type=int, help="side in px; the network's own unless given")
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 50, 100, 300])
    parser.add_argument("--baseline", choices=("mean", "black"), default="mean")
    parser.add_argument("--method", choices=METHODS, default="gauss_legendre")
    parser.add_argument("--batch-size", type=int, help="path points x targets at a time")
    return parser.parse_args()


if __name__ == "__main__":
    main()
