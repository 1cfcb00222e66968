"""Image files that nobody has vouched for."""

import io
import struct
import zlib

import pytest
from PIL import Image

from jaxinterp.data.open_image import MOST_PIXELS, UnreadableImage, open_image, reason


def png_that_claims(width, height):
    """A PNG of a few bytes whose header claims a size."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"")
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "height", "claim"),
    [(10_001, 10_000, "10001 x 10000"), (60_000, 60_000, "far too many")],
)
def test_a_monstrous_claim_is_refused_before_memory_is_taken(width, height, claim):
    assert width * height > MOST_PIXELS
    with (
        pytest.raises(UnreadableImage, match=f"it claims {claim} pixels.*bomb"),
        open_image(io.BytesIO(png_that_claims(width, height))),
    ):
        raise AssertionError("it was opened")


def test_an_eps_is_not_handed_to_ghostscript(tmp_path):
    path = tmp_path / "drawing.jpg"
    Image.new("RGB", (4, 4)).save(path, "EPS")
    with pytest.raises(UnreadableImage, match="not an image in a format"), open_image(path):
        raise AssertionError("it was opened")


def test_what_goes_wrong_in_the_block_is_an_unreadable_image_too(tmp_path):
    path = tmp_path / "cut.bmp"
    Image.new("RGB", (40, 40)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UnreadableImage, match="damaged or unreadable"), open_image(path) as image:
        image.load()


@pytest.mark.parametrize("name", ["absent.png", "folder.png", "empty.png"])
def test_files_that_are_none(tmp_path, name):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty.png").touch()
    with pytest.raises(UnreadableImage), open_image(tmp_path / name):
        raise AssertionError("it was opened")


def test_reasons_are_one_line():
    assert reason(OSError(2, "No such file or directory", "a")) == "No such file or directory"
    assert reason(ValueError("first.\nsecond")) == "first."
    assert reason(ValueError()) == "ValueError"
