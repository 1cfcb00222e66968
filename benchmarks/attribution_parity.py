"""Relevance propagation against Zennit in float64, where rounding decides no ReLU."""

from __future__ import annotations

import gc
from typing import Any

import jax
import numpy as np
import torch
from attribution_networks import Twins, make_twins
from attribution_zennit import RULES, relevance_call, zennit_installed

from jaxinterp.attribution import logit, lrp

__all__ = ["print_parity"]

NETWORKS = {"vgg16": 64, "alexnet": 127, "resnet18": 64, "resnet50": 64}
"""With the side of the images."""

TARGETS = [3, 77]


def print_parity() -> None:
    """A table: the largest difference as a share of the largest relevance, two images each."""
    if not zennit_installed():
        print("Zennit is not installed.")
        return
    print(f"| network | {' | '.join(rules.title for rules in RULES.values())} |")
    print(f"| --- |{' --- |' * len(RULES)}", flush=True)
    with jax.enable_x64(True):
        for name, size in NETWORKS.items():
            twins = make_twins(name, images=2, size=size, folded=True, dtype=np.float64)
            errors = [f"{largest_error(twins, rule):.0e}" for rule in RULES]
            print(f"| {name}, {size} px | {' | '.join(errors)} |", flush=True)
            del twins
            gc.collect()


def largest_error(twins: Twins, rule: str) -> float:
    """Over two targets."""
    pixels = torch.from_numpy(np.ascontiguousarray(twins.images.transpose(0, 3, 1, 2)))
    bounds = twins.ours.preprocess.bounds(twins.images)
    low, high = (bound.astype(np.float64) for bound in bounds)
    composite = RULES[rule].ours(low, high)

    def ours(params: Any, images: Any) -> jax.Array:
        apply = twins.ours.apply
        return lrp.lrp(apply, params, images, logit(), TARGETS, composite=composite).images

    errors = []
    found = np.asarray(jax.jit(ours)(twins.ours.params, twins.images))
    for target, actual in zip(TARGETS, found, strict=True):
        call = relevance_call(twins.theirs, pixels, rule, low, high, target)
        expected = call().numpy().transpose(0, 2, 3, 1)
        errors.append(float(np.abs(actual - expected).max() / np.abs(expected).max()))
    return max(errors)
