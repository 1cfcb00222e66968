"""What torchvision's evaluation transform cuts out of an image, to the last pixel.

Accuracies are compared with PyTorch's, so every detail is torchvision's own: the longer side is
truncated, not rounded; the crop's corner is rounded to even; an image smaller than the crop gets a
black margin; EXIF orientation and colour profiles are ignored, transparency is dropped.
(`jaxinterp.data.images`, which shows pictures to people, turns them upright and lays them on
white.)
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from jaxinterp.data.open_image import MOST_PIXELS, UnreadableImage

__all__ = ["evaluation_crop"]


def evaluation_crop(image: Image.Image, *, resize: int, size: int, channels: int = 3) -> np.ndarray:
    """Shorter side to `resize` (Pillow's bilinear filter, antialiased), then the centre square.

    An image whose shorter side is `resize` already is not resampled.

    Args:
      image: of any mode; decoded here if it is not yet.
      resize: the shorter side before the crop, in pixels.
      size: side of the crop.
      channels: 3 for RGB, 1 for grey (ITU-R 601-2 luma, Pillow's mode L).

    Returns:
      uint8 [size, size, channels].

    Raises:
      UnreadableImage: so narrow that it would be resized to more pixels than are read.
    """
    width, height = image.size
    longer = int(resize * max(width, height) / min(width, height))
    if resize * longer > MOST_PIXELS:
        raise UnreadableImage(f"{width} x {height} pixels are too narrow to be resized")
    image = image.convert("L" if channels == 1 else "RGB")
    scaled = (resize, longer) if width <= height else (longer, resize)
    if image.size != scaled:
        image = image.resize(scaled, Image.Resampling.BILINEAR)
    pixels = _centre(np.asarray(image), size)
    return np.ascontiguousarray(pixels[..., None] if channels == 1 else pixels)


def _centre(pixels: np.ndarray, size: int) -> np.ndarray:
    """The square in the middle of [h, w, ...]; where it is larger, the rest is 0."""
    missing = [max(size - side, 0) for side in pixels.shape[:2]]
    if any(missing):
        margins = [(gap // 2, (gap + 1) // 2) for gap in missing]
        pixels = np.pad(pixels, margins + [(0, 0)] * (pixels.ndim - 2))
    # Python's round is to even, and torchvision's crop depends on it.
    top, left = (round((side - size) / 2) for side in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]
