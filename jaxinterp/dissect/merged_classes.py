"""The network as a classifier of the run's classes, some of which are several of its logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.dissect.classes import RunClass
from jaxinterp.models.network import Network

__all__ = ["merge_classes"]


def merge_classes(network: Network, classes: Sequence[RunClass], *, logits: int) -> Network:
    """The same network with a logit for each of the run's classes, then one for each other logit.

    A class of several logits gets their log-sum-exp: in the softmax its probability is the sum of
    theirs, and all other probabilities are as before. Layers and parameters are the same.

    Args:
      network: to change.
      classes: of the run; no logit stands for two.
      logits: how many the network has.
    """
    own = [index for one in classes for index in one.logits]
    rest = sorted(set(range(logits)) - set(own))
    if [*own, *rest] == list(range(logits)) and all(len(one.logits) == 1 for one in classes):
        return network
    width = max(len(one.logits) for one in classes)
    # The last logit of a class, repeated, fills up; it does not count.
    choices = np.array(
        [[*one.logits, *[one.logits[-1]] * (width - len(one.logits))] for one in classes], np.int32
    )
    counts = np.arange(width) < np.array([[len(one.logits)] for one in classes])
    others = np.array(rest, np.int32)

    def apply(params: Any, images: Array) -> Array:
        values = network.apply(params, images)
        of_classes = jax.nn.logsumexp(values[:, choices], axis=-1, where=counts)
        return jnp.concatenate([of_classes, values[:, others]], axis=-1)

    names = network.class_names or tuple(str(index) for index in range(logits))
    return dataclasses.replace(
        network,
        apply=apply,
        class_names=(*(one.name for one in classes), *(names[index] for index in rest)),
    )
