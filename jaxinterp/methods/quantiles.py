"""Thresholds of units: the value that a unit exceeds at a given share of all positions.

Network Dissection (Bau et al. 2017; paper 004, section IV.A) asks for the T_u of every unit u with
P(a_u > T_u) = 0.005 over all images and all positions of the layer's own map, before upsampling.

Of M values, T_u is the K-th largest with K = floor(share M) + 1. Then at most share M values lie
above T_u, and of no smaller value of the unit can this be said. Equal values need no rule.

Only the K largest values of a unit can matter, so only they are kept: a buffer of about 2 K values
for each unit. Once K values are known, their smallest is a lower bound of T_u, and values up to it
are dropped as they come; about 3 % of all values ever enter a buffer. Memory depends on K alone,
and K is limited: where all positions would need more, the same positions of an image are drawn for
all units of a layer, anew for each image.

This runs on the host, in NumPy: a device would have to sort where the host only compares.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np

from jaxinterp.errors import UserError

__all__ = ["ThresholdPass", "ThresholdState", "Thresholds"]

MapShape = tuple[int, int, int]
ThresholdState = dict[str, dict[str, np.ndarray]]
"""By layer: `buffer` float32 [units, capacity], `fill` int64 [units], `floor` float32 [units],
`strange` bool [units], `seen` int64 []. A pytree of arrays, to be kept in a checkpoint as it is."""

# Room for new values beside the K largest, at least: small buffers would be sorted too often.
_LEAST_ROOM = 1024


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What a `ThresholdPass` found.

    Attributes:
      values: by layer, float32 [units]: T_u; NaN where the unit took the value NaN, so that nothing
        lies above. A unit that is zero everywhere has T = 0.
      exact: by layer, bool [units]: all positions of all images were ranked, and none was NaN.
      error: by layer, the standard error of the share of positions above T_u: 0 where all were
        ranked, else sqrt(share (1 - share) / positions drawn), an upper bound, as the draws are
        spread evenly over the images.
      not_finite: by layer, bool [units]: the unit took the value NaN or infinity.
      share: of the positions that lie above.
    """

    values: dict[str, np.ndarray]
    exact: dict[str, np.ndarray]
    error: dict[str, float]
    not_finite: dict[str, np.ndarray]
    share: float


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How one layer is ranked: positions read from each image, and the K largest to keep."""

    positions: int
    drawn: int
    units: int
    kept: int
    room: int

    @property
    def sampled(self) -> bool:
        return self.drawn < self.positions


class ThresholdPass:
    """One pass over the images that finds the threshold of every unit of several layers.

    Args:
      layers: by name, the shape (h, w, units) of a layer's maps.
      images: how many images the pass will see, at most.
      share: of the positions that lie above the threshold, in (0, 1).
      budget: the largest K; more positions than it allows are not ranked but drawn from.
      seed: of the draws. They do not depend on how the images are divided into batches.

    Raises:
      UserError: no layers, no images, a share outside (0, 1), or a budget under share x images.
    """

    def __init__(
        self,
        layers: Mapping[str, MapShape],
        images: int,
        *,
        share: float = 0.005,
        budget: int = 16384,
        seed: int = 0,
    ) -> None:
        if not layers or images < 1:
            raise UserError("Thresholds need at least one layer and one image.")
        if not 0 < share < 1:
            raise UserError(f"The share above the thresholds is {share}; it lies between 0 and 1.")
        least = math.ceil(share * images)
        if budget < least:
            raise UserError(
                f"The budget of a unit's threshold is {budget} values; {least} is the least for "
                f"{images} images, which is one position of each."
            )
        self.images = images
        self.share = share
        self._seed = seed
        self._plans: dict[str, _Plan] = {}
        for name, (height, width, units) in layers.items():
            positions = height * width
            drawn = min(positions, int(budget / (share * images)))
            kept = min(_above(share, drawn * images) + 2, drawn * images)
            self._plans[name] = _Plan(positions, drawn, units, kept, max(kept, _LEAST_ROOM))

    def init(self) -> ThresholdState:
        """The state before the first image."""
        return {
            name: {
                "buffer": np.full((plan.units, plan.kept + plan.room), -np.inf, np.float32),
                "fill": np.zeros(plan.units, np.int64),
                "floor": np.full(plan.units, -np.inf, np.float32),
                "strange": np.zeros(plan.units, bool),
                "seen": np.zeros((), np.int64),
            }
            for name, plan in self._plans.items()
        }

    def update(self, state: ThresholdState, maps: Mapping[str, Any], filled: int) -> ThresholdState:
        """Takes in a batch; the state's arrays are changed in place.

        Args:
          state: as `init` or the last update gave it.
          maps: by layer, float [n, h, w, units], on the host or a device.
          filled: how many images, from the first, are real; the rest is padding.

        Returns:
          The same state.

        Raises:
          ValueError: maps of another shape than announced, or more images than announced.
        """
        for number, (name, plan) in enumerate(self._plans.items()):
            layer = state[name]
            values = maps[name]
            height, width, units = values.shape[1:]
            if (height * width, units) != (plan.positions, plan.units):
                raise ValueError(f"maps of {name} have shape {values.shape}, not as announced")
            first = int(layer["seen"])
            if first + filled > self.images:
                raise ValueError(f"more than the {self.images} images announced")
            values = _reachable(values).reshape(-1, plan.positions, plan.units)
            if plan.sampled:
                drawn = [self._draw(plan, number, first + image) for image in range(len(values))]
                # Drawn where the maps are, so that a device sends no more than the sample.
                values = values[np.arange(len(values))[:, None], np.stack(drawn)]
            rows = np.asarray(values, np.float32)[:filled].reshape(-1, plan.units)
            for start in range(0, len(rows), plan.room):
                _admit(layer, rows[start : start + plan.room], plan.kept)
            layer["seen"] += filled
        return state

    def _draw(self, plan: _Plan, layer: int, image: int) -> np.ndarray:
        generator = np.random.default_rng((self._seed, layer, image))
        return generator.choice(plan.positions, plan.drawn, replace=False, shuffle=False)

    def finish(
        self, state: ThresholdState, *, definition: Literal["order", "linear"] = "order"
    ) -> Thresholds:
        """The thresholds, once all images have been seen, or as many of them as could be read.

        Args:
          state: after the last update; it is not changed.
          definition: "order" takes the K-th largest value, as said above; "linear" interpolates
            between it and its neighbour like `numpy.percentile(values, 100 (1 - share))`, which
            NetDissect-Lite calls.

        Raises:
          ValueError: no image was seen.
        """
        values, exact, error, strange = {}, {}, {}, {}
        for name, plan in self._plans.items():
            layer = state[name]
            seen = int(layer["seen"])
            if not seen:
                raise ValueError("no image was seen")
            ranked = np.sort(_largest(layer["buffer"], plan.kept), axis=1)[:, ::-1]
            total = plan.drawn * seen
            place = (total - 1) * self.share if definition == "linear" else 0.0
            lower = int(place) if definition == "linear" else _above(self.share, total)
            found = ranked[:, lower]
            if definition == "linear" and lower + 1 < plan.kept:
                below = ranked[:, lower + 1]
                with np.errstate(invalid="ignore"):  # between two infinities
                    found = found + (below - found) * np.float32(place - lower)
            missing = np.isnan(ranked).any(1)
            values[name] = np.where(missing, np.nan, found).astype(np.float32)
            exact[name] = np.full(plan.units, not plan.sampled) & ~missing
            variance = self.share * (1 - self.share) / total
            error[name] = float(np.sqrt(variance)) if plan.sampled else 0.0
            strange[name] = layer["strange"].copy()
        return Thresholds(values, exact, error, strange, self.share)


def _reachable(values: Any) -> Any:
    """Arrays that lie in the host's memory as NumPy's (no copy), others as they are."""
    if isinstance(values, jax.Array) and any(one.platform != "cpu" for one in values.devices()):
        return values
    return np.asarray(values)


def _above(share: float, total: int) -> int:
    """floor(share total), where a product such as 0.005 x 200 counts as the whole number it is."""
    return int(share * total * (1 + 1e-12))


def _admit(layer: dict[str, np.ndarray], rows: np.ndarray, kept: int) -> None:
    """Puts into the buffers what may be among the largest values, from rows [positions, units]."""
    buffer, fill, floor = layer["buffer"], layer["fill"], layer["floor"]
    units = rows.shape[1]
    # NaN is not "<=", so it enters, is never dropped, and is found.
    places = np.flatnonzero(~np.less_equal(rows, floor))
    values = rows.reshape(-1)[places]
    if not len(values):
        return
    unit = places % units
    order = np.argsort(unit.astype(np.int32), kind="stable")
    unit, values = unit[order], values[order]
    counts = np.bincount(unit, minlength=units)
    full = np.flatnonzero(fill + counts > buffer.shape[1])
    if len(full):
        largest = _largest(buffer[full], kept)
        buffer[full, :kept] = largest
        buffer[full, kept:] = -np.inf
        fill[full] = kept
        # NaN ranks above all: a floor of NaN would admit everything for ever.
        lowest = largest.min(1, initial=np.inf, where=~np.isnan(largest))
        floor[full] = lowest
    starts = np.cumsum(counts) - counts
    buffer[unit, np.arange(len(values)) - starts[unit] + fill[unit]] = values
    fill += counts
    if not np.isfinite(values).all():
        layer["strange"][unit[~np.isfinite(values)]] = True


def _largest(buffer: np.ndarray, kept: int) -> np.ndarray:
    """The `kept` largest values of each row, in any order; NaN counts as the largest."""
    return np.partition(buffer, buffer.shape[1] - kept, axis=1)[:, buffer.shape[1] - kept :]
