"""The evaluation transform: sizes that round badly, modes, margins; tests/parity/ has pixels."""

import numpy as np
import pytest
from PIL import Image

from jaxinterp.data.evaluation_crop import evaluation_crop
from jaxinterp.data.open_image import UnreadableImage


def positions(width, height):
    """Red tells the column, green the row."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
    return pixels


@pytest.mark.parametrize(
    ("width", "height", "left", "top"),
    [
        (8, 8, 2, 2),
        (8, 9, 2, 2),  # 2.5 is rounded to even: 2
        (8, 11, 2, 4),  # 3.5 to 4
        (13, 8, 4, 2),  # 4.5 to 4
        (15, 8, 6, 2),
        (17, 8, 6, 2),
    ],
)
def test_what_is_large_enough_is_cut_and_not_resampled(width, height, left, top):
    pixels = positions(width, height)
    found = evaluation_crop(Image.fromarray(pixels), resize=8, size=4)
    np.testing.assert_array_equal(found, pixels[top : top + 4, left : left + 4])
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous


@pytest.mark.parametrize(
    ("width", "height", "resized"),
    [
        (500, 375, (341, 256)),  # 341.33
        (375, 500, (256, 341)),
        (500, 333, (384, 256)),  # 384.38
        (300, 257, (298, 256)),  # 298.83: truncated
        (257, 300, (256, 298)),
    ],
)
def test_the_longer_side_is_truncated(width, height, resized):
    """Of an image that is white beyond a line, so that the line's place tells the scale."""
    image = Image.fromarray(positions(width, height)[..., :1].repeat(3, 2) * 0 + 128)
    expected = np.asarray(image.resize(resized, Image.Resampling.BILINEAR))
    found = evaluation_crop(image, resize=256, size=min(resized))
    left, top = (round((side - 256) / 2) for side in resized)
    np.testing.assert_array_equal(found, expected[top : top + 256, left : left + 256])


def test_a_crop_larger_than_the_image_has_a_black_margin():
    pixels = positions(5, 4) + 100
    found = evaluation_crop(Image.fromarray(pixels), resize=4, size=8)
    # 4 rows: 2 above, 2 below. 5 columns: 1 before, 2 after.
    np.testing.assert_array_equal(found[2:6, 1:6], pixels)
    found[2:6, 1:6] = 0
    assert not found.any()
    wide = evaluation_crop(Image.fromarray(positions(10, 4) + 100), resize=4, size=8)
    np.testing.assert_array_equal(wide[2:6], (positions(10, 4) + 100)[:, 1:9])
    assert not wide[:2].any()
    assert not wide[6:].any()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "YCbCr"])
def test_every_mode_becomes_rgb_as_pillow_converts_it(mode):
    image = Image.fromarray(positions(8, 8) * 30).convert(mode)
    found = evaluation_crop(image, resize=8, size=8)
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def test_grey_networks_get_one_channel():
    image = Image.fromarray(positions(8, 8) * 30)
    found = evaluation_crop(image, resize=8, size=8, channels=1)
    assert found.shape == (8, 8, 1)
    np.testing.assert_array_equal(found[..., 0], np.asarray(image.convert("L")))


def test_the_camera_s_orientation_is_ignored(tmp_path):
    """As torchvision does; Network accuracies are compared with its own."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = tmp_path / "turned.png"
    Image.fromarray(pixels).save(path, exif=exif)
    with Image.open(path) as image:
        assert image.getexif()[0x0112] == 3
        np.testing.assert_array_equal(evaluation_crop(image, resize=16, size=16), pixels)


def test_an_image_too_narrow_to_be_resized_is_refused_before_memory_is_taken():
    image = Image.new("L", (2, 20_000))
    with pytest.raises(UnreadableImage, match="2 x 20000 pixels are too narrow"):
        evaluation_crop(image, resize=256, size=224)
    assert evaluation_crop(image, resize=2, size=2).shape == (2, 2, 3)
