"""Networks and images whose accuracy is known."""

import numpy as np
import pytest

from jaxinterp.data.labelled import LabelledImage, LabelledImages, SourceClass
from jaxinterp.models.layer_table import LayerTable
from jaxinterp.models.network import Network
from jaxinterp.models.preprocess import Preprocess

RAW = Preprocess((0.0,) * 3, (1.0,) * 3, size=2, resize=2)
NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


@pytest.fixture
def lookup():
    """Makes a network whose logits are a table; the image's first pixel is the row."""

    def make(logits, class_names=NAMES):
        def apply(params, images):
            return params[(images[:, 0, 0, 0] * 255 + 0.5).astype("int32")]

        rows = np.asarray(logits, np.float32)
        return Network("lookup", apply, rows, RAW, LayerTable([]), tuple(class_names), "abc")

    return make


@pytest.fixture
def numbered():
    """Makes a source of one image for each label, the first pixel of which is its position."""

    def make(labels, classes=NAMES, fail=lambda position: None):
        def read(position):
            fail(position)
            pixels = np.zeros((2, 2, 3), np.uint8)
            pixels[0, 0, 0] = position
            return LabelledImage(f"image {position}", int(labels[position]), pixels)

        known = tuple(own if isinstance(own, SourceClass) else SourceClass(own) for own in classes)
        return LabelledImages("made", "here", known, len(labels), read)

    return make
