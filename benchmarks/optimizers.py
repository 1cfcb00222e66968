"""Which optimiser reaches the suppression paper's loss soonest: docs/optimizers.md.

    python benchmarks/optimizers.py --quick
    python benchmarks/optimizers.py --plot docs/optimizers.png --pictures-of inputs
    python benchmarks/optimizers.py --only "relative, patience 10" "L-BFGS, both smooth"
    python benchmarks/optimizers.py --model resnet18 --weights FILE --folder IMAGES --size 112 \
        --layers layer2.1 layer3.1 --most 0 --random 1 --rates 3 10 --reference-steps 1000

The jobs of a layer: its most active kernels and random ones (active on most pictures) on every
picture. The reference: the paper's recipe (gradient descent, its rate halved on plateaus), once for
each rate of a grid. Two readings: "layer", the mean loss over the jobs at the rate that is best for
that mean, and "job", every job at the rate that is best for it. All losses are Eq. 4's with the
library's weights; an evaluation is one loss with its gradient, for all jobs at once, or for each on
its own where a line search makes them differ.

The pictures here are not those on which the contenders' numbers were chosen (astronaut, coffee).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import numpy as np
import optax
from jax import Array
from matplotlib import pyplot
from optimizers_lbfgs import Lbfgs, minimise_lbfgs
from PIL import Image
from scipy.ndimage import gaussian_filter

import jaxinterp
from jaxinterp.losses.suppression import (
    ALPHA,
    BETA,
    SuppressionReference,
    suppression_reference,
    suppression_terms,
)
from jaxinterp.methods.kernel_measures import kernel_measures
from jaxinterp.methods.suppression import layer_maps
from jaxinterp.optimize import Lanes, Minimum, find_recipe, minimise
from jaxinterp.optimize.relative import relative_adam

PICTURES = ("chelsea", "rocket", "hubble_deep_field", "coins")
LAYERS = ("relu2_2", "relu3_3", "relu4_2")
RATES = (3.0, 10.0, 30.0)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A way to walk.

    Attributes:
      optimizer: from the weight of the L1 norm that is left to it.
      steps: how many.
      start: contrast and blur of `details`; None starts at the image.
      smoothing: the gradient of L_p is that of sqrt(L_p^2 + (smoothing L)^2), L held fixed; 0 is
        the plain L_p.
      proximal: the gradient does not include L_r, the optimiser is given its weight.
      patience: steps without a fall of the loss by 1e-3 of itself after which a job stops; 0: none.
    """

    optimizer: Callable[[float], optax.GradientTransformation]
    steps: int
    start: tuple[float, float] | None = None
    smoothing: float = 0.0
    proximal: bool = False
    patience: int = 0


@dataclasses.dataclass(frozen=True)
class CoarseToFine:
    """A way to walk: first at half height and width.

    Attributes:
      coarse: from the reduced image, against its own maps.
      fine: from what was found, enlarged.
      change: not the input found is enlarged but its difference from where it started, and added to
        the image.
    """

    coarse: Contender
    fine: Contender
    change: bool = False


def linear_relative(rate: float, steps: int) -> Callable[[float], optax.GradientTransformation]:
    """`relative_adam` with a rate that falls linearly to 0."""
    return lambda l1: relative_adam(optax.linear_schedule(rate, 0.0, steps), l1=l1)


def linear_adam(rate: float, steps: int) -> Callable[[float], optax.GradientTransformation]:
    """The "adam" recipe with another rate or other steps."""
    return lambda l1: find_recipe("adam", rate=rate, steps=steps).optimizer()


def relative(
    rate: float,
    steps: int,
    *,
    start: tuple[float, float] | None = None,
    smoothing: float = 1.5,
    proximal: bool = True,
) -> Contender:
    """The recommendation, or what is left of it when one part is taken away."""
    return Contender(linear_relative(rate, steps), steps, start, smoothing, proximal)


COARSE_TO_FINE = (
    # 40 % of 200 steps; the rate falls as if they were one walk.
    dataclasses.replace(relative(0.08, 200), steps=80),
    relative(0.048, 120),
)
CONTENDERS: dict[str, Contender | CoarseToFine | Lbfgs] = {
    "adam, rate 0.1": Contender(linear_adam(0.1, 200), 200),
    "adam, rate 0.02, 300 steps": Contender(linear_adam(0.02, 300), 300),
    "relative": relative(0.08, 200),
    "relative, no proximal step": relative(0.08, 200, proximal=False),
    "relative, no smoothing": relative(0.08, 200, smoothing=0.0),
    "adam, smoothing": Contender(linear_adam(0.1, 200), 200, smoothing=1.5),
    "relative from half contrast": relative(0.08, 100, start=(0.5, np.inf)),
    "relative from details": relative(0.05, 100, start=(0.5, 2.0)),
    "adam from details": Contender(linear_adam(0.03, 100), 100, start=(0.5, 2.0)),
    "relative, 140 steps": relative(0.08, 140),
    "relative, patience 20": dataclasses.replace(relative(0.08, 200), patience=20),
    "relative, patience 10": dataclasses.replace(relative(0.08, 200), patience=10),
    "relative, coarse to fine": CoarseToFine(*COARSE_TO_FINE),
    "relative, coarse change": CoarseToFine(*COARSE_TO_FINE, change=True),
    "L-BFGS": Lbfgs(),
    "L-BFGS, smooth L_r": Lbfgs(corner=0.02),
    "L-BFGS, smooth L_p": Lbfgs(smoothing=1.5),
    "L-BFGS, both smooth": Lbfgs(smoothing=1.5, corner=0.02),
}
QUICK = ("adam, rate 0.1", "relative")


class Jobs:
    """The jobs of one layer, and how they are searched."""

    def __init__(self, options: argparse.Namespace, layer: str) -> None:
        self.network = jaxinterp.load(options.model, weights=options.weights)
        chosen = jaxinterp.ImagesConfig(size=options.size, pictures=PICTURES)
        if options.folder:
            chosen = jaxinterp.ImagesConfig(
                size=options.size, folder=options.folder, limit=options.skip + 4
            )
        named, _ = jaxinterp.load_images(chosen)
        pixels = np.stack([image.pixels for image in named])[options.skip :]
        self.maps = layer_maps(self.network, layer)
        inputs = self.network.preprocess(pixels)
        maps = np.asarray(jax.jit(self.maps)(self.network.params, inputs))
        most = np.argsort(-maps.mean((0, 1, 2)), kind="stable")[: options.most]
        active = np.flatnonzero((np.abs(maps).max((1, 2)) > 0).mean(0) > 0.5)
        others = active[~np.isin(active, most)]
        drawn = np.random.default_rng(options.seed).permutation(others)[: options.random]
        kernels = np.concatenate([most, drawn])
        pairs = [
            (image, kernel)
            for kernel in kernels
            for image in range(len(pixels))
            if np.abs(maps[image, ..., kernel]).max() > 0
        ]
        self.kernels = jnp.asarray([kernel for _, kernel in pairs])
        self.inputs = np.asarray(inputs)[[image for image, _ in pairs]]
        self.before = jnp.asarray(maps[[image for image, _ in pairs]])
        self.reference = suppression_reference(self.before, self.kernels)
        self.drawn = np.isin(self.kernels, drawn)

    def search(self, contender: Contender | CoarseToFine | Lbfgs) -> tuple[Minimum, float]:
        """The least losses, and the wall seconds (compilation included)."""
        began = time.perf_counter()
        if isinstance(contender, CoarseToFine):
            found = self._coarse_to_fine(contender)
        else:
            start = details(self.inputs, *contender.start) if contender.start else self.inputs
            if isinstance(contender, Lbfgs):
                bounds = self.network.preprocess.bounds
                found = minimise_lbfgs(contender, self._followed, start, self.reference, bounds)
            else:
                found = self._walk(contender, start, self.reference)
        return found, time.perf_counter() - began

    def _walk(
        self, contender: Contender, start: np.ndarray, reference: SuppressionReference
    ) -> Minimum:
        pixels = start.shape[1] * start.shape[2]
        lanes = Lanes(
            self._objective(contender),
            contender.optimizer(BETA / pixels if contender.proximal else 0.0),
            contender.steps,
            bounds=self.network.preprocess.bounds,
            tolerance=1e-3,
            patience=contender.patience,
        )
        return minimise(lanes, start, reference, shared=self.network.params)

    def _coarse_to_fine(self, contender: CoarseToFine) -> Minimum:
        """The trace counts evaluations by their pixels, and knows no loss of those at half size."""
        count, height, width, channels = self.inputs.shape
        shape = count, height // 2, width // 2, channels
        small = np.asarray(jax.image.resize(self.inputs, shape, "linear"))  # with anti-aliasing
        reference = suppression_reference(
            self.maps(self.network.params, jnp.asarray(small)), self.kernels
        )
        early = self._walk(contender.coarse, small, reference)
        found = early.inputs - small if contender.change else early.inputs
        start = np.asarray(jax.image.resize(found, self.inputs.shape, "linear"))
        start = self.inputs + start if contender.change else start
        late = self._walk(contender.fine, start, self.reference)
        share = small[0].size / self.inputs[0].size
        unknown = np.full((round((contender.coarse.steps + 1) * share), count), np.nan, np.float32)
        trace = {"loss": np.concatenate([unknown, late.trace["loss"]])}
        return dataclasses.replace(late, steps=late.steps + len(unknown), trace=trace)

    def _objective(self, contender: Contender) -> Any:
        def objective(
            shared: Any, inputs: Array, data: SuppressionReference
        ) -> tuple[Array, Mapping[str, Array]]:
            terms = suppression_terms(self.maps(shared, inputs), inputs, data)
            weighted = ALPHA * terms.suppression, BETA * terms.regularization
            loss = terms.preservation + sum(weighted)
            kept = terms.preservation
            if contender.smoothing:
                width = contender.smoothing * jax.lax.stop_gradient(loss)
                kept = jnp.sqrt(jnp.square(kept) + jnp.square(width))
            surrogate = kept + weighted[0] + (0 if contender.proximal else weighted[1])
            # The loss's value with the surrogate's gradient.
            return surrogate + jax.lax.stop_gradient(loss - surrogate), terms._asdict()

        return objective

    def _followed(
        self, x: Array, reference: SuppressionReference, width: Array, corner: float
    ) -> tuple[Array, Array]:
        """What L-BFGS follows, and the loss, of one job's input [h, w, c]."""
        terms = suppression_terms(self.maps(self.network.params, x[None])[0], x, reference)
        rest = ALPHA * terms.suppression
        loss = terms.preservation + rest + BETA * terms.regularization
        # Where L_p is 0 the root's gradient is that of the width alone, which is 0 / 0 without one.
        kept = jnp.sqrt(jnp.square(terms.preservation) + jnp.square(width) + 1e-20)
        plain = terms.regularization
        if corner:
            plain = jnp.sqrt(jnp.square(x) + corner**2).sum() / (x.shape[0] * x.shape[1])
        return kept + rest + BETA * plain, loss

    def measures(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Of the inputs found, as `kernel_measures` gives them."""
        maps = functools.partial(jax.jit(self.maps), self.network.params)
        blank = jnp.broadcast_to(maps(jnp.zeros_like(self.inputs[:1])), self.before.shape)
        values = kernel_measures(self.before, maps(jnp.asarray(inputs)), blank, self.kernels)
        return {name: np.asarray(value) for name, value in values.items()}


def details(inputs: np.ndarray, contrast: float, sigma: float) -> np.ndarray:
    """The inputs less their Gaussian blur (sigma in px; infinite: 0), times `contrast`."""
    if np.isinf(sigma):
        return contrast * inputs
    return contrast * (inputs - gaussian_filter(inputs, (0, sigma, sigma, 0)))


def best_so_far(found: Minimum) -> np.ndarray:
    """The least loss after 1, 2, ... evaluations, [jobs, evaluations]."""
    # NaN where a job had stopped, or a line search was under way.
    return np.fmin.accumulate(np.concatenate([found.trace["loss"], found.loss[None]]), axis=0).T


def reached(losses: np.ndarray, goal: float) -> int | None:
    """Evaluations until `losses` [evaluations] is at most `goal`."""
    hit = np.flatnonzero(losses <= goal)
    return int(hit[0]) + 1 if len(hit) else None


def compare(options: argparse.Namespace, layer: str) -> dict[str, np.ndarray]:
    """Prints the table of one layer.

    Returns:
      For each contender, and the paper's recipe at the layer's best rate: the least loss so far
      over the job's reference, [jobs, evaluations].
    """
    jobs = Jobs(options, layer)
    print(f"\n{layer}: {len(jobs.inputs)} jobs, {int(jobs.drawn.sum())} of random kernels\n")
    print(
        "| contender | mean loss | to the layer's reference | jobs that reach their own | "
        "median evaluations | loss / own | random kernels | lost | SSIM | rest | spent | s |"
    )
    print("| --- " * 12 + "|")
    runs: dict[float, np.ndarray] = {}
    for rate in options.rates:
        steps = options.reference_steps
        paper = Contender(
            lambda l1, rate=rate, steps=steps: find_recipe(
                "paper", rate=rate, steps=steps
            ).optimizer(),
            steps,
        )
        found, seconds = jobs.search(paper)
        runs[rate] = best_so_far(found)
        print(row(f"paper, rate {rate:g}", jobs, found, None, seconds), flush=True)
    own = np.min([run[:, -1] for run in runs.values()], axis=0)
    best = min(runs.values(), key=lambda run: run[:, -1].mean())
    curves = {"paper": best / own[:, None]}
    for name in options.only or (QUICK if options.quick else CONTENDERS):
        found, seconds = jobs.search(CONTENDERS[name])
        goals = own, float(best[:, -1].mean())
        print(row(name, jobs, found, goals, seconds), flush=True)
        curves[name] = best_so_far(found) / own[:, None]
        if options.pictures_of:
            save_inputs(options.pictures_of, f"{layer} {name}", jobs, found)
    return curves


def row(
    name: str,
    jobs: Jobs,
    found: Minimum,
    goals: tuple[np.ndarray, float] | None,
    seconds: float,
) -> str:
    """A line of the table. A job is lost whose selected map has a similarity below 0.5."""
    losses, measures = best_so_far(found), jobs.measures(found.inputs)
    # A job that ends as the original keeps its map, too, but nothing is suppressed.
    share = measures["mse_rest"] / measures["mse_rest_original"]
    lost = int(((measures["similarity"] < 0.5) | (share > 0.99)).sum())
    cells = ["", "", "", "", ""]
    if goals is not None:
        own, mean = goals
        evaluations = [reached(lane, goal) for lane, goal in zip(losses, own, strict=True)]
        hits = [count for count in evaluations if count is not None]
        ratio = losses[:, -1] / own
        median = float(np.median([np.inf if n is None else n for n in evaluations]))
        drawn = jobs.drawn
        cells = [
            str(reached(losses.mean(0), mean) or "not reached"),
            f"{len(hits)} of {len(own)}",
            f"{median:.0f}" if np.isfinite(median) else "not reached",
            f"{np.exp(np.log(ratio).mean()):.2f}",
            f"{np.exp(np.log(ratio[drawn]).mean()):.2f}" if drawn.any() else "",
        ]
    return (
        f"| {name} | {losses[:, -1].mean():.3f} | {' | '.join(cells)} | {lost} "
        f"| {measures['similarity'].mean():.2f} | {share.mean():.2f} "
        f"| {found.steps.mean():.0f} | {seconds:.0f} |"
    )


def save_inputs(folder: pathlib.Path, name: str, jobs: Jobs, found: Minimum) -> None:
    """One picture: the originals above the inputs found."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [jobs.network.preprocess.invert(jnp.asarray(x)) for x in (jobs.inputs, found.inputs)]
    grid = np.concatenate([np.concatenate(list(np.asarray(row)), axis=1) for row in rows])
    image = Image.fromarray((grid.clip(0, 1) * 255).astype(np.uint8))
    image.resize((image.width * 3, image.height * 3), Image.Resampling.NEAREST).save(
        folder / f"{name.replace(',', '').replace(' ', '_')}.png"
    )


def plot(path: pathlib.Path, layers: dict[str, dict[str, np.ndarray]]) -> None:
    """The least loss so far over the reference: medians, and quartiles as bands."""
    shown = ("paper", *QUICK, "relative from details")
    figure, axes = pyplot.subplots(1, len(layers), figsize=(4 * len(layers), 3.4), squeeze=False)
    for axis, (layer, curves) in zip(axes[0], layers.items(), strict=True):
        for name in (name for name in shown if name in curves):
            count = np.arange(1, curves[name].shape[1] + 1)
            low, middle, high = np.quantile(curves[name], (0.25, 0.5, 0.75), axis=0)
            (line,) = axis.plot(count, middle, label=name)
            axis.fill_between(count, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set(title=layer, xscale="log", yscale="log", xlabel="gradient evaluations")
    axes[0, 0].set_ylabel("least loss so far / the job's reference")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Compares the contenders on every layer asked for."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the old and the new default only")
    parser.add_argument("--only", nargs="+", choices=list(CONTENDERS), metavar="CONTENDER")
    parser.add_argument("--model", default="vgg_cifar10")
    parser.add_argument("--weights")
    parser.add_argument("--folder", help="images instead of the bundled pictures: four of them")
    parser.add_argument("--skip", type=int, default=0, help="so many files of the folder")
    parser.add_argument("--layers", nargs="+", default=list(LAYERS))
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--most", type=int, default=2, help="most active kernels a layer")
    parser.add_argument("--random", type=int, default=2, help="random active kernels a layer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    parser.add_argument("--reference-steps", type=int, default=2000)
    parser.add_argument("--plot", type=pathlib.Path)
    parser.add_argument("--pictures-of", type=pathlib.Path, metavar="FOLDER")
    options = parser.parse_args()
    layers = {layer: compare(options, layer) for layer in options.layers}
    if options.plot:
        plot(options.plot, layers)


if __name__ == "__main__":
    main()
