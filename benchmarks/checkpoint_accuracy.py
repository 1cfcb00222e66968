"""Top-1 of the same checkpoints in jaxinterp and in PyTorch, on the same labelled images.

    python benchmarks/checkpoint_accuracy.py IMAGES MODEL=FILE [MODEL=FILE ...] [--limit N]

    python benchmarks/checkpoint_accuracy.py cifar-10-binary.tar.gz \
        cifar_resnet20=resnet20-12fca82f.th cifar_resnet56=resnet56-4bfd9763.th
    python benchmarks/checkpoint_accuracy.py imagenet_samples.tar \
        resnet18=resnet18.safetensors resnet18=resnet18.pth resnet50=resnet50.pth

IMAGES is whatever `jaxinterp evaluate --images` takes. The two sides share the files alone: PyTorch
reads the checkpoint itself (`weights_only`), has the tests' definitions of the networks and
torchvision's transform written down again. A line for each checkpoint: both accuracies, their
difference in points, and the number of classes on which the two disagree. Ends with exit code 1 if
a difference is above `--most` (0.05 points). Needs PyTorch (`make parity` installs it).
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

import jaxinterp
from jaxinterp.data.labelled import LabelledImages
from jaxinterp.data.source import read_labelled_images
from jaxinterp.evaluate.labels import map_labels
from jaxinterp.evaluate.run import evaluate
from jaxinterp.models.preprocess import Preprocess
from jaxinterp.models.registry import find_architecture

# PyTorch's definitions are shared with the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from torch_networks import torch_network
from torch_transform import torch_transform

BATCH = 50


def torch_state(path: Path) -> dict[str, torch.Tensor]:
    """The parameters of a checkpoint, without the wrappers that training scripts leave."""
    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
    return {name.removeprefix("module."): value for name, value in state.items()}


def torch_correct(
    name: str, path: Path, images: LabelledImages, positions: list[int]
) -> Counter[int]:
    """How many images of each class PyTorch recognises."""
    architecture = find_architecture(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torch_network(name).to(device)
    network.load_state_dict(torch_state(path))
    logits = map_labels(images, logits=architecture.classes, class_names=()).logits
    correct: Counter[int] = Counter()
    for start in range(0, len(positions), BATCH):
        pixels, labels = zip(
            *decoded(images, positions[start : start + BATCH], architecture.preprocess),
            strict=True,
        )
        with torch.no_grad():
            answers = network(torch.stack(pixels).to(device)).argmax(1).tolist()
        truths = [logits[label] for label in labels]
        correct.update(truth for truth, own in zip(truths, answers, strict=True) if truth == own)
    return correct


def decoded(
    images: LabelledImages, positions: list[int], preprocess: Preprocess
) -> Iterator[tuple[torch.Tensor, int]]:
    """Inputs and labels, decoded by Pillow."""
    for position in positions:
        own = images.read(position)
        if isinstance(own.content, np.ndarray):
            image = Image.fromarray(own.content)
        else:
            image = Image.open(
                io.BytesIO(own.content) if isinstance(own.content, bytes) else own.content
            )
        with image:
            yield torch_transform(image, preprocess), own.label


def main() -> None:
    """Evaluates every checkpoint on both sides, and prints a table line by line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", metavar="IMAGES")
    parser.add_argument("checkpoints", nargs="+", metavar="MODEL=FILE")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--most", type=float, default=0.05, help="points of difference allowed")
    arguments = parser.parse_args()

    images = read_labelled_images(arguments.images)
    count = min(arguments.limit or images.count, images.count)
    positions = [i * images.count // count for i in range(count)]
    print(f"{images.kind}, {count} images; torch {torch.__version__}\n")
    print("| model | file | jaxinterp | s | PyTorch | s | difference | classes that differ |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    worst = 0.0
    for text in arguments.checkpoints:
        name, _, file = text.partition("=")
        started = time.perf_counter()
        network = jaxinterp.load(name, weights=file)
        ours = evaluate(network, images, batch_size=BATCH, limit=arguments.limit)
        between = time.perf_counter()
        correct = torch_correct(name, Path(file), images, positions)
        ended = time.perf_counter()
        theirs = sum(correct.values()) / count
        if ours.unreadable:
            parser.error(f"{len(ours.unreadable)} images cannot be read")
        points = 100 * (ours.top1.value - theirs)
        worst = max(worst, abs(points))
        differ = sum(own.top1.successes != correct[own.index] for own in ours.classes)
        print(
            f"| {name} | {Path(file).name} | {ours.top1.value:.2%} | {between - started:.0f} | "
            f"{theirs:.2%} | {ended - between:.0f} | {points:+.2f} | {differ} |",
            flush=True,
        )
    if worst > arguments.most:
        sys.exit(f"The largest difference, {worst:.2f} points, is above {arguments.most}.")


if __name__ == "__main__":
    main()
