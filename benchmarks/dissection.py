"""Network Dissection of all layers of a ResNet-18 beside PyTorch, per image, on the same cores.

    python benchmarks/dissection.py --images FOLDER --weights FILE.pth [--count 32] [--batch 8]
        [--of 700] [--rounds 5] [--one-layer 17]

Weights matter: how many units are active in an image decides the time of the second pass. Without
`--weights` they are random, without `--images` the images are noise. Masks are made up (11 objects
in patches, 11 colours in smaller ones, at half the image's side): time does not depend on their
contents. `--of` is the number of images that the whole data set would have: the K of the thresholds
follows from it, and the thresholds of the second pass from the images given. Every ReLU after a
convolution or a sum is dissected, 17 layers with 3,904 units.

The first part compares with PyTorch versions that keep all layers by hooks: pass one with `topk`
of each batch, or with this package's own ranking of PyTorch's arrays; pass two with all units
interpolated, or only those active in an image. The better of each, and of NCHW and channels_last,
counts. The second part does as NetDissect-Lite does, one layer at a time, with the network run for
each layer; `--one-layer` says for how many layers, spread over the network.

All variants take turns; the least time counts, and the median is beside it. Compilation apart.
Needs PyTorch.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from dissection_torch import (
    HookedNetwork,
    TopValues,
    count_active,
    count_all,
    dissect_one_layer,
)
from PIL import Image

import jaxinterp
from jaxinterp.methods.dissection import Tally, ThresholdPass, counter, upsampling
from jaxinterp.methods.layer_maps import all_layer_maps, frozen_values
from jaxinterp.transform.compiler_options import compiler_options

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from torch_networks import torch_network

SIZE, GRID, SHARE = 224, 112, 0.005


def read_images(folder: Path | None, count: int) -> np.ndarray:
    """uint8 [count, 224, 224, 3]: spread over the folder's images, or noise."""
    if folder is None:
        return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, count).astype(int)]
    return np.stack(
        [np.asarray(Image.open(path).convert("RGB").resize((SIZE, SIZE))) for path in chosen]
    )


def make_labels(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels int32 [count, 2, 112, 112] and present int32 [count, 24], the last two empty."""
    generator = np.random.default_rng(0)
    planes = [
        np.kron(
            generator.integers(first, first + 11, (count, GRID // patch, GRID // patch)),
            np.ones((1, patch, patch), int),
        )
        for first, patch in ((0, 28), (11, 8))
    ]
    labels = np.stack(planes, 1).astype(np.int32)
    present = np.full((count, 24), -1, np.int32)
    for image in range(count):
        seen = np.unique(labels[image])
        present[image, : len(seen)] = seen
    return labels, present


class Ours:
    """Both passes in this package."""

    def __init__(self, network: Any, layers: list[str], batch: int) -> None:
        shape = (batch, SIZE, SIZE, 3)
        prepared, values = frozen_values(all_layer_maps(network, layers), network, shape)
        self._prepared = prepared
        options = compiler_options()
        self._forward = jax.jit(values, compiler_options=options)
        shapes = jax.eval_shape(values, prepared, jax.ShapeDtypeStruct(shape, np.float32))
        self.shapes = {name: tuple(shapes[name].shape[1:]) for name in layers}
        ways = {n: upsampling("paper", s[:2], (GRID, GRID)) for n, s in self.shapes.items()}
        self._count = jax.jit(counter(ways))

    def maps(self, inputs: np.ndarray) -> dict[str, jax.Array]:
        return jax.block_until_ready(self._forward(self._prepared, inputs))

    def count(self, maps: Any, limits: Any, labels: np.ndarray, present: np.ndarray) -> Any:
        whole = np.zeros(present.shape, bool)
        counts = self._count(maps, limits, labels, present, whole, np.int32(len(labels)))
        return jax.block_until_ready(counts)


class Stopwatch:
    """Times of named calls, each taking its turn in every round."""

    def __init__(self, calls: dict[str, Callable[[], object]], images: int) -> None:
        self._calls, self._images = calls, images
        self.seconds: dict[str, list[float]] = {name: [] for name in calls}
        self.first: dict[str, float] = {}
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            self.first[name] = time.perf_counter() - started

    def rounds(self, count: int) -> None:
        for _ in range(count):
            for name, call in self._calls.items():
                started = time.perf_counter()
                call()
                self.seconds[name].append(time.perf_counter() - started)

    def least(self, name: str) -> float:
        """Milliseconds per image."""
        return 1e3 * min(self.seconds[name]) / self._images

    def median(self, name: str) -> float:
        return 1e3 * float(np.median(self.seconds[name])) / self._images

    def print(self) -> None:
        print("| step | ms per image | median | first call, s |\n| --- | --- | --- | --- |")
        for name in self._calls:
            row = f"{self.least(name):.1f} | {self.median(name):.1f} | {self.first[name]:.1f}"
            print(f"| {name} | {row} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path)
    parser.add_argument("--weights", type=Path, help="a state dict saved by PyTorch")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--of", type=int, default=700)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one-layer", type=int, default=17)
    options = parser.parse_args()

    network = jaxinterp.load("resnet18", weights=str(options.weights or "random"))
    layers = [row.name for row in network.layers if row.kind == "relu"]
    images = read_images(options.images, options.count)
    inputs = np.array(network.preprocess(images.astype(np.float32) / 255))
    labels, present = make_labels(options.count)
    batches = [slice(i, i + options.batch) for i in range(0, options.count, options.batch)]

    def torch_resnet() -> torch.nn.Module:
        made = torch_network("resnet18")
        if options.weights is not None:
            made.load_state_dict(torch.load(options.weights, weights_only=True))
        return made.requires_grad_(False)

    ours = Ours(network, layers, options.batch)
    theirs = {
        name: HookedNetwork(torch_resnet(), layers, channels_last=last)
        for name, last in (("NCHW", False), ("channels_last", True))
    }
    exact = ThresholdPass(ours.shapes, options.count, share=SHARE)
    state = exact.init()
    for at in batches:
        exact.update(state, ours.maps(inputs[at]), options.batch)
    limits = exact.finish(state).values
    active = np.mean(
        [
            (np.asarray(maps).max((1, 2)) > limits[name]).mean()
            for at in batches
            for name, maps in ours.maps(inputs[at]).items()
        ]
    )
    print(f"{len(layers)} layers, {sum(s[2] for s in ours.shapes.values())} units; active in an")
    print(f"image: {active:.1%} (mean of the layers); {torch.get_num_threads()} threads")
    agreement(ours, inputs[batches[0]], limits, labels, present, options.batch)

    # As in the middle of the whole data set: the buffers hold half its largest values.
    ranking = ThresholdPass(ours.shapes, options.of, share=SHARE)
    begun = ranking.init()
    kept: dict[str, list[Any]] = {"jax": [ours.maps(inputs[at]) for at in batches]}
    for _ in range(options.of // 2 // options.count):
        for maps in kept["jax"]:
            ranking.update(begun, maps, options.batch)
    drawn = {n: plan.drawn for n, plan in ranking._plans.items()}
    top = TopValues(SHARE, drawn)

    def rank(maps: Any) -> None:
        for layer in begun.values():
            layer["seen"][...] = 0
        ranking.update(begun, maps, options.batch)

    def as_numpy(maps: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        return {name: values.permute(0, 2, 3, 1).numpy() for name, values in maps.items()}

    for name, hooked in theirs.items():
        kept[name] = [dict(hooked(inputs[at])) for at in batches]

    def over(call: Callable[[Any, slice], object], maps: list[Any]) -> Callable[[], None]:
        def run() -> None:
            for one, at in zip(maps, batches, strict=True):
                call(one, at)
            for found in top.found.values():
                found.clear()

        return run

    tally = Tally({name: s[2] for name, s in ours.shapes.items()}, np.repeat([0, 1], 11), 2)
    counts = [
        ours.count(maps, limits, labels[at], present[at])
        for maps, at in zip(kept["jax"], batches, strict=True)
    ]
    calls: dict[str, Callable[[], object]] = {
        "ours: forward": over(lambda _, at: ours.maps(inputs[at]), batches),
        "ours: rank": over(lambda maps, at: rank(maps), kept["jax"]),
        "ours: tally": over(
            lambda maps, at: ours.count(maps, limits, labels[at], present[at]), kept["jax"]
        ),
        "ours: sum": over(lambda counts, at: tally.add(counts, present[at], options.batch), counts),
    }
    for name, hooked in theirs.items():
        calls |= {
            f"{name}: forward": over(lambda _, at, h=hooked: h(inputs[at]), batches),
            f"{name}: rank, topk": over(lambda maps, at: top(maps), kept[name]),
            f"{name}: rank, ours": over(lambda maps, at: rank(as_numpy(maps)), kept[name]),
            f"{name}: tally, all units": over(
                lambda maps, at: count_all(maps, limits, labels[at], present[at]), kept[name]
            ),
            f"{name}: tally, active units": over(
                lambda maps, at: count_active(maps, limits, labels[at], present[at]), kept[name]
            ),
        }
    watch = Stopwatch(calls, options.count)
    watch.rounds(options.rounds)
    watch.print()
    own = sum(watch.least(f"ours: {part}") * n for part, n in PASSES)
    print(f"\nBoth passes, ours: {own:.1f} ms per image.")
    for rank_kind in ("topk", "ours"):
        for tally_kind in ("all", "active"):
            other = min(
                2 * watch.least(f"{name}: forward")
                + watch.least(f"{name}: rank, {rank_kind}")
                + watch.least(f"{name}: tally, {tally_kind} units")
                for name in theirs
            )
            print(
                f"PyTorch, {rank_kind} and {tally_kind} units: {other:.1f} ms, {other / own:.2f}x"
            )

    if not options.one_layer:
        return
    chosen = [layers[i] for i in np.linspace(0, len(layers) - 1, options.one_layer).astype(int)]
    total: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for layer in chosen:
            seconds, _ = dissect_one_layer(
                torch_resnet(),
                layer,
                inputs,
                labels + 1,
                batch=options.batch,
                share=SHARE,
                folder=Path(folder),
            )
            for part, spent in seconds.items():
                total[part] = total.get(part, 0) + 1e3 * spent / options.count
    parts = ", ".join(f"{name} {spent:.0f}" for name, spent in total.items())
    whole = sum(total.values())
    print(f"\nOne layer at a time, {len(chosen)} of {len(layers)} layers: {whole:.0f} ms per image")
    print(f"({parts}), {whole / own:.1f}x of all layers at once.")


# The sums over the images are in our time only.
PASSES = (("forward", 2), ("rank", 1), ("tally", 1), ("sum", 1))


def agreement(
    ours: Ours,
    inputs: np.ndarray,
    limits: dict[str, np.ndarray],
    labels: np.ndarray,
    present: np.ndarray,
    batch: int,
) -> None:
    """Prints by how much the counts of the same maps differ; rounding moves single pixels."""
    maps = ours.maps(inputs)
    counts = ours.count(maps, limits, labels[:batch], present[:batch])
    same = {n: torch.from_numpy(np.array(one)).permute(0, 3, 1, 2) for n, one in maps.items()}
    pixels = differing = 0
    for call in (count_all, count_active):
        expected = call(same, limits, labels[:batch], present[:batch])
        for name, both in expected.items():
            own = np.asarray(counts.activated[name])
            pixels += int(own.sum())
            differing += int(np.abs(own - both[..., -1].numpy()).sum())
            common = np.asarray(counts.intersection[name])
            differing += int(np.abs(common - both[..., :-1].numpy()).sum())
    print(f"Pixels counted otherwise than by PyTorch from the same maps: {differing} of {pixels}")


if __name__ == "__main__":
    main()
