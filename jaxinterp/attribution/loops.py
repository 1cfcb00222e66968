"""Going through the paths of many images and targets, a micro-batch of points at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxinterp.attribution.fingerprints import Fingerprinted
from jaxinterp.attribution.micro_batches import MicroBatch

__all__ = ["Walk", "walk_paths"]

Tree = Any
"""A pytree of arrays."""


class Walk(Protocol):
    """What is done along the path of one image, for a group of targets.

    What was compiled for one serves another of the same fingerprint.
    """

    def begin(
        self, params: Tree, image: jax.Array, own: Tree, targets: Tree, /
    ) -> tuple[Tree, Tree]:
        """Returns what every step needs, and the total before the first."""
        ...

    def step(self, params: Tree, fixed: Tree, total: Tree, chunk: Tree, /) -> Tree:
        """Returns the total after a micro-batch of points."""
        ...

    def finish(self, params: Tree, fixed: Tree, total: Tree, /) -> Tree:
        """Returns the results, with a leading axis of targets."""
        ...


def walk_paths(
    walk: Walk,
    params: Tree,
    images: jax.Array,
    own: Tree,
    targets: Tree,
    chunks: Tree,
    batch: MicroBatch,
) -> Tree:
    """Walks the paths of every image and target.

    Only the results grow with the numbers of images, targets and points. Traced, or on an
    accelerator, it is a loop in the compiled program. On CPUs it is a loop of compiled steps,
    because in its own loops XLA's CPU backend computes the convolutions of the backward pass in a
    slower form: three times the work for VGG16.

    Args:
        walk: What to do.
        params: Parameters, the same for every path.
        images: [n, ...].
        own: Whatever else belongs to each image, a pytree of arrays [n, ...].
        targets: A pytree of int arrays [t, n].
        chunks: The points, a pytree of arrays [chunks, ...].
        batch: How much of it at a time; the chunks must be of `batch.points`.

    Returns:
        The results, a pytree of arrays [t, n, ...].
    """
    (count,) = {len(target) for target in jax.tree.leaves(targets)}
    groups = -(-count // batch.targets)

    def group(target: jax.Array) -> jax.Array:
        """[t, n] -> [n x groups, targets of a group]; the last target fills up the last group."""
        target = jnp.pad(target, ((0, groups * batch.targets - count), (0, 0)), mode="edge")
        return target.T.reshape(-1, batch.targets)

    def ungroup(result: jax.Array) -> jax.Array:
        result = result.reshape(len(images), groups * batch.targets, *result.shape[2:])
        return jnp.moveaxis(result[:, :count], 1, 0)

    paths = (images, own)
    if groups > 1:
        paths = jax.tree.map(lambda value: jnp.repeat(value, groups, axis=0), paths)
    paths = (*paths, jax.tree.map(group, targets))
    if _is_traced((params, paths)):
        results = _loop(walk, batch.images, params, paths, chunks)
    elif jax.default_backend() == "cpu":
        results = _steps(walk, batch.images, params, paths, chunks)
    else:
        results = _compiled(walk, batch.images).loop(params, paths, chunks)
    return jax.tree.map(ungroup, results)


def _is_traced(values: Tree) -> bool:
    return any(isinstance(value, Tracer) for value in jax.tree.leaves(values))


def _loop(walk: Walk, at_once: int, params: Tree, paths: Tree, chunks: Tree) -> Tree:
    """All paths in one program."""

    def of_one(path: tuple[jax.Array, Tree, Tree]) -> Tree:
        fixed, total = walk.begin(params, *path)

        def step(total: Tree, chunk: Tree) -> tuple[Tree, None]:
            return walk.step(params, fixed, total, chunk), None

        total, _ = jax.lax.scan(step, total, chunks)
        return walk.finish(params, fixed, total)

    if at_once == 1:
        return jax.lax.map(of_one, paths)
    return jax.lax.map(of_one, paths, batch_size=at_once)


def _steps(walk: Walk, at_once: int, params: Tree, paths: Tree, chunks: Tree) -> Tree:
    """All paths, each step a program of its own."""
    programs = _compiled(walk, at_once)
    count, steps = len(jax.tree.leaves(paths)[0]), len(jax.tree.leaves(chunks)[0])
    results = []
    for first in range(0, count, at_once):
        # The last path fills up the last group, so that all groups run the same program.
        places = jnp.minimum(jnp.arange(first, first + at_once), count - 1)
        fixed, total = programs.begin(params, *_at(paths, places))
        for number in range(steps):
            total = programs.step(params, fixed, total, _at(chunks, number))
        results.append(programs.finish(params, fixed, total))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:count], *results)


def _at(values: Tree, places: jax.Array | int) -> Tree:
    return jax.tree.map(lambda value: value[places], values)


class _Programs:
    """The compiled parts of a walk, for several paths at once."""

    def __init__(self, walk: Walk, at_once: int) -> None:
        self.begin: Callable[..., Tree] = jax.jit(jax.vmap(walk.begin, (None, 0, 0, 0)))
        step = jax.vmap(walk.step, (None, 0, 0, None))
        self.step: Callable[..., Tree] = jax.jit(step, donate_argnums=2)
        self.finish: Callable[..., Tree] = jax.jit(jax.vmap(walk.finish, (None, 0, 0)))
        self.loop: Callable[..., Tree] = jax.jit(functools.partial(_loop, walk, at_once))


@functools.lru_cache(maxsize=64)
def _cached(known: Fingerprinted[Walk], at_once: int) -> _Programs:
    return _Programs(known.value, at_once)


def _compiled(walk: Walk, at_once: int) -> _Programs:
    known = Fingerprinted.of(walk)
    return _Programs(walk, at_once) if known is None else _cached(known, at_once)
