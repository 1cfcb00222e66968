"""torchvision's evaluation transform, written down again: what `evaluation_crop` is compared with.

Resize and CenterCrop of `torchvision.transforms.functional` on a PIL image, then pil_to_tensor,
convert_image_dtype and normalize: the preset `ImageClassification`.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from jaxinterp.models.preprocess import Preprocess

__all__ = ["torch_transform"]


def torch_transform(image: Image.Image, preprocess: Preprocess) -> torch.Tensor:
    """A network's input, float32 [3, size, size]; only numbers are taken from `preprocess`."""
    image = image.convert("RGB")  # as ImageFolder's loader does
    size, crop = preprocess.resize, preprocess.size
    w, h = image.size
    short, long = (w, h) if w <= h else (h, w)
    new_short, new_long = size, int(size * long / short)
    new_w, new_h = (new_short, new_long) if w <= h else (new_long, new_short)
    if (w, h) != (new_w, new_h):
        image = image.resize((new_w, new_h), Image.Resampling.BILINEAR)
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if crop > new_w or crop > new_h:
        left = (crop - new_w) // 2 if crop > new_w else 0
        top = (crop - new_h) // 2 if crop > new_h else 0
        right = (crop - new_w + 1) // 2 if crop > new_w else 0
        bottom = (crop - new_h + 1) // 2 if crop > new_h else 0
        values = torch.nn.functional.pad(values, (left, right, top, bottom), value=0)
    height, width = values.shape[1:]
    top, left = round((height - crop) / 2.0), round((width - crop) / 2.0)
    values = values[:, top : top + crop, left : left + crop].to(torch.float32) / 255
    mean, std = (torch.tensor(part)[:, None, None] for part in (preprocess.mean, preprocess.std))
    return (values - mean) / std
