"""Networks with some of their units turned off, many such variants at once.

Paper 004 (Islam et al. 2021), section V-C. A unit is a channel of a tapped layer. Turned off, it
is 0 at every place (or a constant of the caller's, such as its mean).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp.errors import UserError
from jaxinterp.methods.ablation_layers import find_units
from jaxinterp.models.network import Network
from jaxinterp.transform import edit, stage, taps
from jaxinterp.transform.compiler_options import compiler_options

__all__ = ["Ablator", "Outcomes", "ablate"]

Keep = Mapping[str, Any]
"""From a layer's name to bool [units], or [variants, units]: False where a unit is turned off."""

# CPUs are slower with maps that overflow their caches, accelerators with small ones.
_MEMORY_ON_CPUS, _MEMORY = 2**26, 2**30


class Outcomes(NamedTuple):
    """How ablated networks do on single images. NumPy arrays.

    Attributes:
      correct: whether the true class has the highest logit, bool [variants, n].
      probability: of the true class, float32 [variants, n].
    """

    correct: np.ndarray
    probability: np.ndarray


def ablate(
    network: Network, layers: Iterable[str], *, fill: Mapping[str, Any] | None = None
) -> Callable[[Any, Array, Keep], Array]:
    """The network with units turned off, as a pure function.

    Args:
      network: to ablate.
      layers: names of its taps, or aliases from its layer table.
      fill: what a unit that is turned off is everywhere, float [units], for any of the layers; 0
        where not given.

    Returns:
      `ablated(params, inputs, keep) -> logits`: inputs [n, h, w, c] as `network.preprocess` makes
      them, `keep` bool [units] for each of the layers under the name given. It can be jitted, and
      vmapped over `keep`: what lies below the first of the layers is then computed once.

    Raises:
      UserError: an unknown layer (the nearest are named), one without channels, one given twice, or
        `fill` for another layer or of another length; from `ablated`, `keep` for other layers.
      TapError: from `ablated`, a value that `transform.edit` cannot replace.
    """
    names = [layers] if isinstance(layers, str) else list(layers)
    rows = {name: find_units(network.layers, name) for name in names}
    if not rows or len({row.name for row in rows.values()}) < len(names):
        raise UserError(f"Name the layers to ablate, each once; they are {names}.")
    values = dict(fill or {})
    for name, value in values.items():
        if name not in rows or np.shape(value) != (rows[name].channels,):
            raise UserError(
                f"fill must be one number for each unit of an ablated layer; for {name!r} it has "
                f"the shape {list(np.shape(value))}."
            )

    def ablated(params: Any, inputs: Array, keep: Keep) -> Array:
        if set(keep) != set(rows):
            raise UserError(f"keep must be of the layers {list(rows)}, not {list(keep)}.")

        def turn_off(name: str) -> Callable[..., Array]:
            axis = rows[name].channel_axis

            def g(value: Array, *steps: Array) -> Array:
                del steps  # in a scan the same units are off at every step
                shape = [1] * value.ndim
                shape[axis] = -1
                off = jnp.asarray(values.get(name, 0), value.dtype)
                off = off.reshape(shape) if off.ndim else off
                return jnp.where(jnp.reshape(keep[name], shape), value, off)

            return g

        edits = {row.name: turn_off(name) for name, row in rows.items()}
        return edit(network.apply, edits)(params, inputs)

    return ablated


class Ablator:
    """Evaluates a network with many sets of units turned off.

    For each batch, what no variant changes is computed once. The rest is computed for some variants
    at a time, whose maps form one batch: the convolutions' weights are shared. Variants that turn
    off the same units are computed once. Compiled programs are kept for each shape of images.

    Example:
      >>> ablator = Ablator(network, plan.keep)
      >>> outcomes = ablator(network.preprocess(images), labels)
      >>> outcomes.correct.shape
      (121, 64)
    """

    def __init__(
        self,
        network: Network,
        keep: Mapping[str, np.ndarray],
        *,
        fill: Mapping[str, Any] | None = None,
        variants_at_once: int | None = None,
        memory: int | None = None,
    ) -> None:
        """Prepares the variants.

        Args:
          network: to ablate; its parameters count as constants.
          keep: bool [variants, units] for each layer to ablate: False where a unit is turned off.
          fill: what units that are turned off are, as in `ablate`.
          variants_at_once: at most so many; None to let `memory` decide.
          memory: bytes that their maps may take, by an estimate; unless given 64 MiB on CPUs and
            1 GiB elsewhere.

        Raises:
          UserError: as in `ablate`; masks of different numbers of variants, or of another number of
            units than the layer has; no variant; less than one at once, or than a byte.
        """
        self.network = network
        own = _MEMORY_ON_CPUS if jax.default_backend() == "cpu" else _MEMORY
        self.memory = own if memory is None else memory
        self._ablated = ablate(network, keep, fill=fill)
        masks = {name: np.asarray(mask, bool) for name, mask in keep.items()}
        for name, mask in masks.items():
            units = network.layers.find(name).channels
            if mask.ndim != 2 or mask.shape[1] != units:
                raise UserError(
                    f"The masks of layer {name!r} must be [variants, {units}], not "
                    f"{list(mask.shape)}."
                )
        counts = {len(mask) for mask in masks.values()}
        if len(counts) != 1 or counts == {0}:
            raise UserError(
                f"All layers need masks of the same variants, at least one; there are "
                f"{sorted(counts)}."
            )
        for name, value in (("variants_at_once", variants_at_once), ("memory", memory)):
            if value is not None and value < 1:
                raise UserError(f"{name} must be at least 1, not {value}.")
        self._at_once = variants_at_once
        whole = np.concatenate(list(masks.values()), axis=1)
        _, first, place = np.unique(whole, axis=0, return_index=True, return_inverse=True)
        self._keep = {name: mask[first] for name, mask in masks.items()}
        self._place = place.reshape(-1)
        self._programs: dict[tuple[int, ...], _Programs] = {}

    @property
    def different(self) -> int:
        """How many variants turn off different units, and are computed."""
        return len(next(iter(self._keep.values())))

    def __call__(self, inputs: Array | np.ndarray, labels: np.ndarray | Sequence[int]) -> Outcomes:
        """Evaluates all variants on one batch.

        Args:
          inputs: [n, h, w, c] as `network.preprocess` makes them.
          labels: the true class of each, an index of a logit, int [n]; -1 for padding, which is
            never correct and has the probability 0.

        Returns:
          The outcomes of every variant.

        Raises:
          UserError: labels of another shape, or beyond the logits.
        """
        inputs, labels = jnp.asarray(inputs, jnp.float32), np.asarray(labels)
        if labels.shape != inputs.shape[:1]:
            raise UserError(
                f"Every image needs a label: {len(inputs)} images, labels {list(labels.shape)}."
            )
        programs = self._programs.get(inputs.shape)
        if programs is None:
            programs = self._programs[inputs.shape] = self._compile(inputs.shape)
        if len(labels) and not -1 <= labels.min() <= labels.max() < programs.classes:
            raise UserError(
                f"Labels go from 0 to {programs.classes - 1} for this network, and -1 is padding; "
                f"these go from {labels.min()} to {labels.max()}."
            )
        prepared = programs.below(self.network.params, inputs)
        parts = [
            programs.above(prepared, keep, labels.astype(np.int32))
            for keep in self._chunks(programs.at_once)
        ]
        found = [np.concatenate([np.asarray(part[i]) for part in parts]) for i in range(2)]
        return Outcomes(*(values[self._place] for values in found))

    def _chunks(self, at_once: int) -> Iterable[dict[str, np.ndarray]]:
        for first in range(0, self.different, at_once):
            # The last variant fills up the last chunk, so that all run the same program.
            places = np.minimum(np.arange(first, first + at_once), self.different - 1)
            yield {name: mask[places] for name, mask in self._keep.items()}

    def _compile(self, shape: tuple[int, ...]) -> _Programs:
        network = self.network
        inputs = jax.ShapeDtypeStruct(shape, np.float32)
        classes = jax.eval_shape(network.apply, network.params, inputs).shape[-1]
        at_once = self._at_once or self._choose(inputs)
        at_once = min(at_once, self.different)
        at_once = -(-self.different // -(-self.different // at_once))  # chunks of equal size
        keep = {
            name: jax.ShapeDtypeStruct((at_once, mask.shape[1]), np.bool_)
            for name, mask in self._keep.items()
        }
        outcomes = jax.vmap(functools.partial(_outcome, self._ablated), (None, None, 0, None))

        def of_batch(batch: tuple[Any, Array], keep: Keep, labels: Array) -> tuple[Array, Array]:
            return outcomes(*batch, keep, labels)

        staged: list[Callable[..., tuple[Array, Array]]] = []

        def below(params: Any, inputs: Array) -> list[Array]:
            labels = jax.ShapeDtypeStruct(shape[:1], np.int32)
            prepared, above = stage(of_batch, (params, inputs), keep, labels)
            staged.append(above)
            return prepared

        options = compiler_options()
        compiled = jax.jit(below, compiler_options=options)
        jax.eval_shape(compiled, network.params, inputs)
        above = jax.jit(staged[0], compiler_options=options)
        return _Programs(compiled, above, at_once, classes)

    def _choose(self, inputs: jax.ShapeDtypeStruct) -> int:
        """How many variants fit: a layer's maps, what they are made to, and a copy at a time."""
        known = taps(self.network.apply, self.network.params, inputs)
        names = list(known)
        first = min(names.index(self.network.layers.find(name).name) for name in self._keep)
        largest = max(known[name].size * known[name].dtype.itemsize for name in names[first:])
        return max(1, self.memory // (3 * largest))


@dataclasses.dataclass(frozen=True)
class _Programs:
    """Compiled for one shape of images: `below` is called for a batch, `above` for each chunk."""

    below: Callable[..., Any]
    above: Callable[..., tuple[Array, Array]]
    at_once: int
    classes: int


def _outcome(
    ablated: Callable[[Any, Array, Keep], Array],
    params: Any,
    inputs: Array,
    keep: Keep,
    labels: Array,
) -> tuple[Array, Array]:
    """Of one variant: whether each image is right, bool [n]; the true class's probability [n]."""
    logits = ablated(params, inputs, keep)
    true = jnp.maximum(labels, 0)[:, None]
    probability = jnp.take_along_axis(jax.nn.softmax(logits, axis=-1), true, axis=-1)[:, 0]
    # What is not a number is not right, though `argmax` finds it.
    right = (logits.argmax(-1) == labels) & ~jnp.isnan(logits).any(-1)
    return right, jnp.where(labels < 0, 0, probability)
