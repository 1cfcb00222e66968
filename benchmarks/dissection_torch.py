"""Network Dissection in PyTorch, for `dissection.py`: all layers at once, and one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

Limits = dict[str, np.ndarray]


class HookedNetwork:
    """A network that keeps what the named modules return."""

    def __init__(self, network: nn.Module, layers: Sequence[str], *, channels_last: bool) -> None:
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._network = network.to(memory_format=self._format)
        self.maps: dict[str, torch.Tensor] = {}
        modules = dict(network.named_modules())
        for name in layers:
            # Tap names are module paths; the first ReLU's is `relu`.
            module = modules["relu" if name == "relu1" else name]
            module.register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
            self.maps[name] = output

        return hook

    def __call__(self, images: np.ndarray) -> dict[str, torch.Tensor]:
        """float32 [n, h, w, 3], normalised, to maps [n, units, h', w'] by layer."""
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=self._format)
        with torch.inference_mode():
            self._network(inputs)
        return self.maps


class TopValues:
    """Thresholds from the largest values of every batch: 8 times their share, at most all."""

    def __init__(self, share: float, drawn: Mapping[str, int]) -> None:
        self._share = share
        self._drawn = drawn
        self.found: dict[str, list[torch.Tensor]] = {name: [] for name in drawn}

    def __call__(self, maps: Mapping[str, torch.Tensor]) -> None:
        with torch.inference_mode():
            for name, values in maps.items():
                flat = values.flatten(2)
                if self._drawn[name] < flat.shape[2]:
                    flat = flat[:, :, torch.randperm(flat.shape[2])[: self._drawn[name]]]
                rows = flat.transpose(0, 1).flatten(1)
                count = min(rows.shape[1], int(8 * self._share * rows.shape[1]) + 1)
                self.found[name].append(torch.topk(rows, count, sorted=False).values)


def _one_hot(labels: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """float32 [n, k, pixels] of labels [n, planes, s, s] and present [n, k]."""
    hits = labels[:, None] == present[:, :, None, None, None]
    masks = hits.any(2) & (present >= 0)[:, :, None, None]
    return masks.flatten(2).float()


def count_all(
    maps: Mapping[str, torch.Tensor], limits: Limits, labels: np.ndarray, present: np.ndarray
) -> dict[str, torch.Tensor]:
    """Every unit of every image: interpolated, thresholded, multiplied with the masks."""
    side = labels.shape[-1]
    found = {}
    with torch.inference_mode():
        masks = _one_hot(torch.from_numpy(labels), torch.from_numpy(present)).transpose(1, 2)
        for name, values in maps.items():
            limit = torch.from_numpy(limits[name])[None, :, None, None]
            larger = nn.functional.interpolate(values, size=side, mode="bilinear")
            above = (larger > limit).flatten(2).float()
            found[name] = torch.cat([above @ masks, above.sum(2, keepdim=True)], 2).int()
    return found


def count_active(
    maps: Mapping[str, torch.Tensor], limits: Limits, labels: np.ndarray, present: np.ndarray
) -> dict[str, torch.Tensor]:
    """The same, but only units that are active in an image are interpolated."""
    side = labels.shape[-1]
    found = {}
    with torch.inference_mode():
        masks = _one_hot(torch.from_numpy(labels), torch.from_numpy(present)).transpose(1, 2)
        for name, values in maps.items():
            limit = torch.from_numpy(limits[name])
            active = values.amax((2, 3)) > limit
            counts = torch.zeros(*active.shape, masks.shape[2] + 1, dtype=torch.int32)
            for image, units in enumerate(active):
                chosen = values[image, units].contiguous()
                if not len(chosen):
                    continue
                larger = nn.functional.interpolate(chosen[None], size=side, mode="bilinear")[0]
                above = (larger > limit[units][:, None, None]).flatten(1).float()
                counts[image, units] = torch.cat(
                    [above @ masks[image], above.sum(1, keepdim=True)], 1
                ).int()
            found[name] = counts
    return found


def dissect_one_layer(
    network: nn.Module,
    layer: str,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    batch: int,
    share: float,
    folder: Path,
) -> tuple[dict[str, float], np.ndarray]:
    """NetDissect-Lite's way: the whole network for this layer, its maps in a file, unit by unit.

    Follows `feature_operation.py` (CSAILVision/NetDissect-Lite): activations in a memory map (there
    in float64, here too), `np.percentile`, then for each image and each unit whose maximum lies
    above its threshold: resize by Pillow, `argwhere`, `bincount` of the labels there. One process.

    Args:
      labels: int [n, planes, s, s], 0 for none.

    Returns:
      Seconds by step (forward, quantile, tally), and intersections [units, labels].
    """
    hooked = HookedNetwork(network, [layer], channels_last=False)
    started = time.perf_counter()
    stored = None
    for first in range(0, len(images), batch):
        values = hooked(images[first : first + batch])[layer].numpy()
        if stored is None:
            shape = (len(images), *values.shape[1:])
            stored = np.memmap(folder / "layer.mmap", dtype=float, mode="w+", shape=shape)
        stored[first : first + batch] = values
    assert stored is not None
    forward = time.perf_counter()
    limits = np.percentile(stored, 100 * (1 - share), axis=(0, 2, 3))
    quantile = time.perf_counter()
    both = np.zeros((stored.shape[1], labels.max() + 1))
    side = labels.shape[-1]
    for image, planes in enumerate(labels):
        for unit in range(stored.shape[1]):
            values = stored[image, unit]
            if values.max() > limits[unit]:
                resized = Image.fromarray(values.astype(np.float32)).resize(
                    (side, side), Image.Resampling.BILINEAR
                )
                at = np.argwhere(np.asarray(resized) > limits[unit])
                counts = np.bincount(planes[:, at[:, 0], at[:, 1]].ravel())
                if len(counts):
                    counts[0] = 0
                both[unit, : len(counts)] += counts
    ended = time.perf_counter()
    seconds = {
        "forward": forward - started,
        "quantile": quantile - forward,
        "tally": ended - quantile,
    }
    return seconds, both[:, 1:]
