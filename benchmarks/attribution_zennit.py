"""Zennit's side of `attribution.py`, if it is installed, and parity with it in float64."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from jaxinterp.attribution import lrp
from jaxinterp.transform import Composite

__all__ = ["RULES", "Rules", "relevance_call", "sum_module", "zennit_installed"]

OPERATORS = torch.library.Library("torchvision", "FRAGMENT")


class Rules(NamedTuple):
    """A composite in both libraries, made from the images' bounds."""

    title: str
    ours: Callable[[Any, Any], Composite]
    theirs: Callable[[Any, Any, Any], Any]


RULES: dict[str, Rules] = {
    "epsilon": Rules(
        "epsilon",
        lambda low, high: lrp.epsilon_everywhere(),
        lambda zennit, low, high: _epsilon_everywhere(zennit),
    ),
    "plus": Rules(
        "EpsilonPlusFlat",
        lambda low, high: lrp.epsilon_plus_flat(),
        lambda zennit, low, high: zennit.EpsilonPlusFlat(),
    ),
    "gamma": Rules(
        "EpsilonGammaBox",
        lambda low, high: lrp.epsilon_gamma_box(low, high),
        lambda zennit, low, high: zennit.EpsilonGammaBox(low, high),
    ),
    "alpha": Rules(
        "EpsilonAlpha2Beta1Flat",
        lambda low, high: lrp.epsilon_alpha2_beta1_flat(),
        lambda zennit, low, high: zennit.EpsilonAlpha2Beta1Flat(),
    ),
}


def zennit_installed() -> bool:
    return importlib.util.find_spec("zennit") is not None


@functools.cache
def zennit_module(name: str) -> Any:
    """One of Zennit's modules.

    Zennit imports torchvision, whose compiled part does not load beside another build of PyTorch
    than its own; what is missing then is declared here.
    """
    if "torchvision" not in sys.modules:
        for operator in ("nms", "qnms"):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            OPERATORS.define(f"{operator}{signature}")
    return importlib.import_module(f"zennit.{name}")


def sum_module() -> nn.Module:
    """A sum over the last axis that Zennit's rules apply to, if it is installed."""
    return zennit_module("layer").Sum() if zennit_installed() else _Sum()


class _Sum(nn.Module):
    def forward(self, stacked: torch.Tensor) -> torch.Tensor:
        return stacked.sum(-1)


def relevance_call(
    network: nn.Module,
    images: torch.Tensor,
    rule: str,
    low: np.ndarray,
    high: np.ndarray,
    target: int,
) -> Callable[[], torch.Tensor]:
    """Relevance that starts as the logit `target`; hooks are set and removed at every call."""
    zennit = zennit_module("composites")
    bounds = [_bound(value, images) for value in (low, high)]

    def call() -> torch.Tensor:
        pixels = images.clone().requires_grad_()
        with RULES[rule].theirs(zennit, *bounds).context(network):
            logits = network(pixels)
            start = torch.zeros_like(logits)
            start[:, target] = logits[:, target].detach()
            (found,) = torch.autograd.grad(logits, pixels, start)
        return found

    return call


def _bound(value: np.ndarray, images: torch.Tensor) -> torch.Tensor:
    bound = torch.from_numpy(np.array(value, dtype=images.numpy().dtype)).reshape(-1)
    return bound.reshape(1, -1, 1, 1).expand(1, *images.shape[1:]).contiguous()


def _epsilon_everywhere(zennit: Any) -> Any:
    linear = (zennit_module("types").Linear, zennit_module("rules").Epsilon())
    return zennit.LayerMapComposite([*zennit.layer_map_base(), linear])
