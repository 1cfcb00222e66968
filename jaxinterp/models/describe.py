"""`jaxinterp.describe`: the layer table of any network whose values carry names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxinterp.errors import UserError, nearest
from jaxinterp.models.layer_table import Layer, LayerTable, PerAxis
from jaxinterp.models.parameters import Blueprint
from jaxinterp.models.preprocess import Preprocess
from jaxinterp.transform.geometry import Sight, locate

__all__ = ["describe", "describe_classifier"]

Aliases = Mapping[str, str | tuple[str, ...]]


def describe(
    apply: Callable[[Any, Any], Any],
    params: Any,
    images: Any,
    *more_images: Any,
    channel_axis: int = -1,
    aliases: Aliases | None = None,
    kinds: Mapping[str, str] | None = None,
) -> LayerTable:
    """Builds the layer table of a network by tracing it; nothing is computed.

    Every value named with `tap` becomes a row: what computes it, how many channels it has and on
    which axis, and which pixels its units see. Numbers are never guessed: what cannot be told
    (after a sort, a resize, a loop of unknown length, ...) is None.

    A unit may see less than its receptive field: dilation leaves holes, and near the edges some of
    the field is padding. It never sees more.

    Args:
      apply: the pure function `apply(params, images) -> logits`.
      params: its parameters; any pytree of arrays or `jax.ShapeDtypeStruct`s.
      images: an example of its input, [n, ..., c], or [n, c, ...] with `channel_axis=1`; an array
        or a `jax.ShapeDtypeStruct`. Best with n >= 2: an axis of length 1 is easily confused.
      *more_images: examples of other sizes. The table then holds for all of them: numbers that
        differ become None (adaptive pooling leaves a map alone that has its size already), and a
        kind that differs is that of the last example.
      channel_axis: of the images.
      aliases: second names of taps, such as PyTorch's module paths, for `LayerTable.find`: one, or
        a tuple.
      kinds: the kinds of taps that tracing cannot tell.

    Returns:
      A row for every tap, in the order of evaluation. A name that is met several times is
      `name[0]`, `name[1]`, ... Kinds: conv, batch_norm (a factor for each channel), relu, max_pool,
      average_pool, dense, add (a sum of several values), concat, product (of several values: gates,
      normalisation by a value's own statistics), elementwise (any other activation), subsample,
      resize, input, other, and `constant` for what does not depend on the images. Biases, constant
      factors and reshapes do not change a kind.

    Raises:
      UserError: the images have no spatial axis or the wrong channel axis; a parameter is no array;
        nothing is tapped; an alias or a kind is given to a tap that does not exist, or an alias to
        two taps; the examples lead to different taps.

    Example:
      >>> images = jax.ShapeDtypeStruct((2, 32, 32, 3), "float32")
      >>> describe(apply, params, images).find("conv1").receptive_field
      3
    """
    tables = [
        _table(apply, params, example, channel_axis, aliases or {}, kinds or {})
        for example in (images, *more_images)
    ]
    names = [[row.name for row in table] for table in tables]
    if any(one != names[0] for one in names):
        raise UserError("The network names other values for images of another size.")
    rows = [_agree(same) for same in zip(*tables, strict=True)]
    for what, given in (("an alias", aliases), ("a kind", kinds)):
        for name in given or {}:
            if name not in names[0]:
                raise UserError(f"{nearest(name, names[0], kind='tap')} It was given {what}.")
    owners: dict[str, str] = {}
    for name, given in (aliases or {}).items():
        for alias in (given,) if isinstance(given, str) else given:
            if owners.setdefault(alias, name) != name:
                raise UserError(f"The alias {alias!r} is given to {owners[alias]!r} and {name!r}.")
    return LayerTable(rows)


def describe_classifier(blueprint: Blueprint, preprocess: Preprocess) -> LayerTable:
    """The layer table of a network of the library (`models.classifier.Classifier`).

    It holds for images of the network's own size and larger ones: a pooling that adapts to the
    image gives no feature maps, even if it has nothing to do at that size.
    """
    module = blueprint.module
    examples = (
        jax.ShapeDtypeStruct((2, side, side, preprocess.channels), np.float32)
        for side in (preprocess.size, preprocess.size + 32)
    )
    return describe(
        blueprint.apply, blueprint.shapes, *examples, aliases=module.aliases, kinds=module.kinds
    )


def _table(
    apply: Callable[[Any, Any], Any],
    params: Any,
    images: Any,
    channel_axis: int,
    aliases: Aliases,
    kinds: Mapping[str, str],
) -> list[Layer]:
    shape = tuple(np.shape(images))
    rank = len(shape)
    if rank < 3:
        raise UserError(
            f"Images need a batch axis, spatial axes and a channel axis; these have shape {shape}."
        )
    if not -rank < channel_axis < rank or channel_axis == 0:
        raise UserError(
            f"Axis {channel_axis} cannot be the channel axis of images of shape {shape}."
        )
    try:
        sights = locate(apply, *map(_shapes, (params, images)), channel_axis=channel_axis)
    except Exception as error:
        error.add_note(f"This happened while `describe` traced the network for images {shape}.")
        raise
    if not sights:
        raise UserError("The network names no value: name its layers with `jaxinterp.tap`.")
    last = channel_axis % rank == rank - 1
    rows = []
    for name, sight in sights.items():
        names = aliases.get(name, "")
        alias, *more = (names,) if isinstance(names, str) else names or ("",)
        kind = kinds.get(name, sight.kind or "constant")
        axis = _channel_axis(sight, channels_last=last)
        fields = (None, None, None) if axis is None else _geometry(sight, axis)
        channels = 0 if axis is None else sight.shape[axis]
        at = -1 if axis in (None, len(sight.shape) - 1) else axis
        rows.append(Layer(name, alias, kind, channels, *fields, at, tuple(more)))
    return rows


def _shapes(tree: Any) -> Any:
    """Arrays of NumPy by their shapes, so that tracing does not copy them to a device."""

    def shape(leaf: Any) -> Any:
        return jax.eval_shape(lambda x: x, leaf) if isinstance(leaf, np.ndarray) else leaf

    return jax.tree.map(shape, tree)


def _channel_axis(sight: Sight, *, channels_last: bool) -> int | None:
    """The axis that neither counts images nor lies along one; of several, the likeliest."""
    moved = {axis for window in sight.windows for axis in window.axes}
    free = [axis for axis in range(len(sight.shape)) if axis not in moved]
    if not sight.windows[0].axes and len(free) > 1:
        free = free[1:]  # nothing else is known of the batch axis than that it is the first
    if not free:
        return None
    return free[-1] if channels_last else free[0]


def _geometry(
    sight: Sight, channel_axis: int
) -> tuple[PerAxis | None, PerAxis | None, PerAxis | None]:
    """Stride, receptive field and padding; None each unless the value is [n, y, x, ...] and c."""
    batch, *spatial = sight.windows
    axes = [axis for axis in range(len(sight.shape)) if axis != channel_axis]
    places = [window.axes for window in (batch, *spatial)]
    steps = [sum(window.strides) for window in (batch, *spatial)]
    if places != [(axis,) for axis in axes] or steps[0] != 1 or min(steps) < 1:
        return None, None, None
    stride = _per_axis(steps[1:])
    if not all(window.is_bounded for window in spatial):
        return stride, None, None
    fields = [int(window.last - window.first) + 1 for window in spatial]
    return stride, _per_axis(fields), _per_axis([-int(window.first) for window in spatial])


def _per_axis(numbers: list[int]) -> PerAxis:
    return numbers[0] if len(set(numbers)) == 1 else tuple(numbers)


def _agree(rows: tuple[Layer, ...]) -> Layer:
    """The row that holds for all of these."""
    first, last = rows[0], rows[-1]
    if len({(row.stride, row.channel_axis) for row in rows}) > 1:
        return dataclasses.replace(
            first, kind=last.kind, stride=None, receptive_field=None, padding=None
        )
    if len({(row.receptive_field, row.padding) for row in rows}) > 1:
        return dataclasses.replace(first, kind=last.kind, receptive_field=None, padding=None)
    return dataclasses.replace(first, kind=last.kind)
