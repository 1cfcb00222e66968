"""A synthetic image that holds (nearly) all colours, to see which colour a kernel answers to.

It is this library's form of the colour image in Fig. 1 and in the last row of Fig. 4 of Zhuang et
al., *Understanding of Kernels in CNN Models by Suppressing Irrelevant Visual Features in Images*;
the paper does not say how its own was made.
"""

from __future__ import annotations

import numpy as np

__all__ = ["all_colours"]

# Lightness runs down, up, down, up through the four bands. Saturation changes only where one band
# meets the next, in white or black, where it cannot be seen: the image has no edge but its border.
_SATURATIONS = (1.0, 2 / 3, 1 / 3, 0.0)


def all_colours(size: int) -> np.ndarray:
    """All hues from left to right; all lightnesses from top to bottom, once per saturation.

    In HSL: column x has the hue x / size of a full turn, from red over green and blue back to red.
    The rows are four bands of equal height with the saturations 1, 2/3, 1/3 and 0 (the greys). The
    lightness goes linearly from white to black in the first and third band and from black to white
    in the second and fourth, both ends included. With hue H, saturation S and lightness L,

        channel(n) = L - S min(L, 1 - L) max(-1, min(k - 3, 9 - k, 1)),  k = (n + 12 H) mod 12

    for n = 0, 8, 4 (red, green, blue). Any colour of the RGB cube is within 0.16 of a pixel at
    32 px, 0.11 at 64 px and 0.10 at 224 px (Euclidean; the cube's diagonal is 1.73); on average
    0.08, 0.05 and 0.03.

    Args:
      size: the side in pixels, at least 1; from 8 on white and black both appear.

    Returns:
      float32 [size, size, 3] in [0, 1].

    Raises:
      ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"An image has a side of at least 1 px, not {size}.")
    lightness, saturation = [], []
    for band, rows in enumerate(np.array_split(np.arange(size), len(_SATURATIONS))):
        start, stop = (1.0, 0.0) if band % 2 == 0 else (0.0, 1.0)
        lightness.append(np.linspace(start, stop, len(rows)))
        saturation.append(np.full(len(rows), _SATURATIONS[band]))
    hue = np.arange(size) / size
    pixels = _hsl_to_rgb(
        hue[None, :], np.concatenate(saturation)[:, None], np.concatenate(lightness)[:, None]
    )
    # Rounding may leave a channel at -1e-17 or 1 + 1e-16.
    return np.clip(pixels, 0.0, 1.0).astype(np.float32)


def _hsl_to_rgb(hue: np.ndarray, saturation: np.ndarray, lightness: np.ndarray) -> np.ndarray:
    """The formula above; the arguments broadcast, a last axis of red, green, blue is added."""
    k = (np.array([0.0, 8.0, 4.0]) + 12.0 * hue[..., None]) % 12.0
    chroma = (saturation * np.minimum(lightness, 1.0 - lightness))[..., None]
    return lightness[..., None] - chroma * np.clip(np.minimum(k - 3.0, 9.0 - k), -1.0, 1.0)
