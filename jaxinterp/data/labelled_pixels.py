"""The pixels of a labelled image."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from jaxinterp.data.evaluation_crop import evaluation_crop
from jaxinterp.data.labelled import LabelledImage
from jaxinterp.data.open_image import UnreadableImage, open_image

__all__ = ["labelled_pixels"]


def labelled_pixels(image: LabelledImage, *, resize: int, size: int, channels: int) -> np.ndarray:
    """Pixels uint8 [size, size, channels] of a labelled image, cut as torchvision evaluates.

    Raises:
      UnreadableImage: whatever is wrong with it.
    """
    content = image.content
    if isinstance(content, np.ndarray):
        content = content.squeeze(-1) if content.shape[2:] == (1,) else content
        return evaluation_crop(
            Image.fromarray(content), resize=resize, size=size, channels=channels
        )
    if isinstance(content, bytes):
        if not content:
            raise UnreadableImage("the file is empty")
        content = io.BytesIO(content)
    with open_image(content) as opened:
        return evaluation_crop(opened, resize=resize, size=size, channels=channels)
