"""Whether each operation conserves relevance, in networks of full width.

    python benchmarks/lrp_conservation.py [--networks vgg16 resnet50] [--size 64] [--float64]
        [--composites epsilon_plus_flat] [--worst 8]

Random weights without biases, batch norm folded, one random image, the largest logit. For every
operation on the way down: the sum of the relevance that comes in and that goes out, and their
difference as a share of the former. "spread" is the sum of the relevance's absolute values over the
absolute value of its sum: how often the relevance cancels, and so by how much rounding and the
stabiliser weigh more than they would alone. Prints the worst operations of each composite, or all.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import jaxinterp
from jaxinterp.attribution.lrp import (
    epsilon_alpha2_beta1_flat,
    epsilon_everywhere,
    epsilon_gamma_box,
    epsilon_plus_flat,
)
from jaxinterp.models.network import Network
from jaxinterp.transform import Composite, with_rules
from jaxinterp.transform.operations import Operation
from jaxinterp.transform.rules import Rule

COMPOSITES = (
    "epsilon_everywhere",
    "epsilon_plus_flat",
    "epsilon_alpha2_beta1_flat",
    "epsilon_gamma_box",
)


class Row(NamedTuple):
    """One operation: what it is, relevance in and out, and the relevance's spread."""

    kind: str
    shape: tuple[int, ...]
    into: float
    out: float
    spread: float

    @property
    def error(self) -> float:
        return abs(self.out - self.into) / abs(self.into)


def make_composite(name: str, network: Network, images: Array) -> Composite:
    if name == "epsilon_gamma_box":
        return epsilon_gamma_box(*network.preprocess.bounds(images))
    makers = (epsilon_everywhere, epsilon_plus_flat, epsilon_alpha2_beta1_flat)
    return {make.__name__: make for make in makers}[name]()


def load(name: str) -> Network:
    network = jaxinterp.load(name, weights="random")
    random = np.random.default_rng(0)
    params = {}
    for key, value in network.params.items():
        if value.ndim > 1:  # He's initialisation keeps the activations' size from layer to layer
            scale = np.sqrt(2 / np.prod(value.shape[:-1]))
            params[key] = random.normal(0, scale, value.shape).astype(np.float32)
        else:
            params[key] = np.full(value.shape, float(key.endswith(("weight", "var"))), np.float32)
    return jaxinterp.fold_batch_norm(dataclasses.replace(network, params=params))


def measure(network: Network, images: Array, composite: Composite) -> list[Row]:
    """Every operation on the way down, the last one first."""
    names: list[tuple[str, tuple[int, ...]]] = []

    def noting(rule: Rule | None, records: list[tuple[Array, Array, Array]]) -> Rule:
        def noted(
            operation: Operation, inputs: tuple[Array, ...], relevance: Array
        ) -> tuple[Array | None, ...]:
            if rule is None:
                given = jax.vjp(operation, *inputs)[1](relevance)
            else:
                given = rule(operation, inputs, relevance)
            out = sum(one.sum() for one in given[: operation.activations] if one is not None)
            records.append((relevance.sum(), jnp.asarray(out), jnp.abs(relevance).sum()))
            names.append((operation.kind, relevance.shape))
            return given

        return noted

    @jax.jit
    def sums(params: dict[str, Array], images: Array) -> list[tuple[Array, Array, Array]]:
        names.clear()
        records: list[tuple[Array, Array, Array]] = []
        first = composite.first
        noted = dataclasses.replace(
            composite,
            operations={kind: noting(rule, records) for kind, rule in composite.operations.items()},
            first=None if first is None else (first[0], noting(first[1], records)),
        )
        ruled = with_rules(network.apply, noted)
        logits, pull = jax.vjp(lambda images: ruled(params, images), images)
        pull(jnp.where(logits == logits.max(), logits, 0))
        return records

    found = sums(network.params, images)
    return [
        Row(*name, float(into), float(out), float(size / jnp.abs(into)))
        for name, (into, out, size) in zip(names, found, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["vgg16", "resnet50"])
    parser.add_argument("--composites", nargs="+", default=COMPOSITES, choices=COMPOSITES)
    parser.add_argument("--size", type=int, default=64, help="the image's side in pixels")
    parser.add_argument("--float64", action="store_true")
    parser.add_argument("--worst", type=int, default=3, help="operations to print; 0 for all")
    options = parser.parse_args()
    dtype = np.float64 if options.float64 else np.float32
    for name in options.networks:
        network = load(name)
        pixels = np.random.default_rng(1).uniform(size=(1, options.size, options.size, 3))
        with jax.enable_x64(options.float64):
            params = {key: jnp.asarray(value, dtype) for key, value in network.params.items()}
            network = dataclasses.replace(network, params=params)
            images = jnp.asarray(network.preprocess(pixels), dtype)
            for composite in options.composites:
                rows = measure(network, images, make_composite(composite, network, images))
                report(f"{name}, {options.size} px, {dtype.__name__}, {composite}", rows, options)


def report(title: str, rows: list[Row], options: argparse.Namespace) -> None:
    worst = sorted(rows, key=lambda row: -row.error)[: options.worst] if options.worst else rows
    largest = max(row.error for row in rows)
    lost = abs(rows[-1].out - rows[0].into) / abs(rows[0].into)
    print(f"\n{title}: {len(rows)} operations, worst {largest:.1e}, ", end="")
    print(f"from the logit to the image {lost:.1e}")
    print(f"{'operation':22}{'output':>20}{'in':>12}{'out':>12}{'difference':>12}{'spread':>10}")
    for row in worst:
        shape = "x".join(map(str, row.shape[1:]))
        print(
            f"{row.kind:22}{shape:>20}{row.into:12.5f}{row.out:12.5f}{row.error:12.1e}"
            f"{row.spread:10.1f}"
        )


if __name__ == "__main__":
    main()
