"""The part of a function below one of its taps, under the function's own tap labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxinterp.errors import UserError
from jaxinterp.transform import Composite, TapError, capture, edit, tap, taps, with_rules

__all__ = ["Part", "as_layers", "editable_taps", "values_below", "with_deltas", "zero_deltas"]

Function = Callable[[Any, jax.Array], jax.Array]
Images = jax.Array | jax.ShapeDtypeStruct

MARK = "jaxinterp tap "
"""Begins the names of the taps that show which of the function's taps a part still has."""


@dataclasses.dataclass(frozen=True)
class Part:
    """What computes the value of one tap.

    A part lacks the taps that its value does not depend on, so that a repeated name may be counted
    otherwise in it: the function's `relu[2]` may be the part's `relu[1]`, or its only `relu`.

    Attributes:
        compute: `compute(params, images) -> values`.
        names: From the function's labels to the part's, in the order of computation; None where
            they are the same.
    """

    compute: Function
    names: Mapping[str, str] | None

    def __call__(self, params: Any, images: jax.Array, /) -> jax.Array:
        return self.compute(params, images)

    def name(self, label: str) -> str:
        """The part's label of a tap of the function."""
        return label if self.names is None else self.names.get(label, label)

    def taps(self, params: Any, images: Images) -> dict[str, jax.ShapeDtypeStruct]:
        """The part's taps, under the function's labels."""
        known = taps(self.compute, params, images)
        if self.names is None:
            return known
        return {label: known[name] for label, name in self.names.items() if name in known}

    def edit(self, edits: Mapping[str, Callable[..., Any]]) -> Function:
        """`transform.edit`, under the function's labels."""
        return edit(self.compute, {self.name(label): one for label, one in edits.items()})

    def capture(self, labels: Iterable[str]) -> Callable[..., dict[str, jax.Array]]:
        """`transform.capture`, under the function's labels."""
        labels = list(labels)
        captured = capture(self.compute, [self.name(label) for label in labels])

        def renamed(params: Any, images: jax.Array) -> dict[str, jax.Array]:
            values = captured(params, images)
            return {label: values[self.name(label)] for label in labels}

        return renamed


def as_layers(layers: Sequence[str]) -> list[str]:
    """The names of layers as a list; a string is one name."""
    return [layers] if isinstance(layers, str) else list(layers)


def values_below(
    fn: Function,
    layer: str | None,
    params: Any,
    images: Images,
    *,
    composite: Composite | None = None,
    layers: Iterable[str] = (),
) -> Part:
    """The part of a function that computes the value of one tap, with a composite's rules.

    Args:
        fn: The network.
        layer: The tap, or None for the function's output.
        params: Example parameters.
        images: Example images.
        composite: Backward rules; checked against all of `fn`, applied to the part.
        layers: Taps that must lie in the part.

    Returns:
        The part.

    Raises:
        UserError: One of `layers` is tapped, but not in this part; or the function's output, where
            that is the value, is not an array.
        UnknownTapError: It is not tapped at all, or `layer` is not.
        TapError: One of `layers`, or of the composite's, is a repeated tap where no value can be
            changed, so that it cannot be told whether it lies in the part.
    """
    if layer is None:
        whole = fn if composite is None else with_rules(fn, composite)
        return Part(lambda params, images: _an_array(whole(params, images)), None)
    captured = capture(fn, [layer])

    def below(params: Any, images: jax.Array, /) -> jax.Array:
        return captured(params, images)[layer]

    wanted = list(layers)
    if composite is None and not wanted:
        return Part(below, _names(fn, below, layer, params, images))
    names = _names(fn, below, layer, params, images)
    known = taps(fn, params, images)
    reached = taps(below, params, images) if names is None else names
    for name in wanted:
        if name in known and name not in reached:
            _check_editable(fn, name, params, images, names)
            raise UserError(f"The seed's layer {layer!r} does not depend on layer {name!r}.")
    if composite is None:
        return Part(below, names)
    # What lies above the layer is the composite's business only as far as it shows that the
    # composite was meant for this function.
    jax.eval_shape(with_rules(fn, dataclasses.replace(composite, others=None)), params, images)
    rules = {}
    for name, rule in composite.layers.items():
        if name in reached:
            rules[name if names is None else names[name]] = rule
        else:
            _check_editable(fn, name, params, images, names)
    part = dataclasses.replace(
        composite,
        layers=rules,
        optional=composite.optional | frozenset(composite.operations),
    )
    return Part(with_rules(below, part), names)


def with_deltas(
    part: Part, layers: Sequence[str]
) -> Callable[[Any, jax.Array, dict[str, jax.Array]], tuple[jax.Array, dict[str, jax.Array]]]:
    """A function whose derivative in `deltas[name]` at zero is that in the tapped value.

    Returns:
        `added(params, images, deltas) -> (values of the part, tapped values)`.
    """

    def added(
        params: Any, images: jax.Array, deltas: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        def adding(delta: jax.Array) -> Callable[..., jax.Array]:
            # In a scan an edit also gets the number of the step.
            return lambda value, *steps: value + (delta[steps] if steps else delta)

        if not layers:
            return part(params, images), {}
        edited = part.edit({name: adding(deltas[name]) for name in layers})
        names = [part.name(name) for name in layers]
        values, tapped = capture(edited, names, with_output=True)(params, images)
        return values, {name: tapped[part.name(name)] for name in layers}

    return added


def zero_deltas(
    part: Part, layers: Sequence[str], params: Any, images: Any
) -> dict[str, jax.Array]:
    """Zeros of the shapes of tapped values; the images may be a `jax.ShapeDtypeStruct`."""
    if not layers:
        return {}
    shapes = jax.eval_shape(part.capture(layers), params, images)
    return {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}


def editable_taps(fn: Function, names: Sequence[str], params: Any, images: Images) -> list[str]:
    """Those of some taps whose values can be replaced: see `transform.edit` for where not."""
    if not names:
        return []
    try:
        jax.eval_shape(edit(fn, dict.fromkeys(names, _unchanged)), params, images)
    except TapError:
        if len(names) == 1:
            return []
        half = len(names) // 2
        first = editable_taps(fn, names[:half], params, images)
        return first + editable_taps(fn, names[half:], params, images)
    return list(names)


def _names(
    fn: Function, below: Function, layer: str, params: Any, images: Images
) -> dict[str, str] | None:
    """From the function's labels to those of the part below a layer; None if they are the same."""
    known = list(taps(fn, params, images))
    if not any(label.endswith("]") for label in known):
        return None  # no name is repeated
    if list(taps(below, params, images)) == known:
        return None
    # Give each value a second name of its own, directly before the first, and see what is left.
    marks = {label: _marking(label) for label in editable_taps(fn, known, params, images)}
    marked = capture(edit(fn, marks), [layer])
    left = list(taps(lambda *arguments: marked(*arguments)[layer], params, images))
    names, mark = {}, ""
    for name in left:
        if name.startswith(MARK):
            mark = name.removeprefix(MARK)
            continue
        # What has no mark can be told only where its name is not repeated.
        if mark or (name in known and not name.endswith("]")):
            names[mark or name] = name
        mark = ""
    return names


def _check_editable(
    fn: Function, name: str, params: Any, images: Images, names: Mapping[str, str] | None
) -> None:
    """Raises a TapError if it is unknown whether a part has a tap, because it has no mark."""
    if names is not None and name.endswith("]"):
        jax.eval_shape(edit(fn, {name: _unchanged}), params, images)


def _marking(label: str) -> Callable[..., jax.Array]:
    return lambda value, *steps: tap(value, f"{MARK}{label}")


def _unchanged(value: jax.Array, *steps: jax.Array) -> jax.Array:
    return value


def _an_array(output: Any) -> jax.Array:
    if not hasattr(output, "shape"):
        raise UserError(
            f"The network must return one array, not a {type(output).__name__}: wrap it in a "
            "function that returns the array to explain, or give the seed a layer."
        )
    return output
