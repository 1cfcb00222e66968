"""Opening an image file that nobody has vouched for.

Only plain raster formats are opened (Pillow would otherwise hand an .eps to Ghostscript), a file
that claims a monstrous size is refused before memory is taken, and whatever is wrong with a file
ends as one exception with the reason in words.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

__all__ = ["IMAGE_SUFFIXES", "MOST_PIXELS", "UnreadableImage", "open_image", "reason"]

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
IMAGE_SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
        # Not read, but a folder of telephone pictures should not look empty.
        *(".heic", ".heif", ".jxl"),
    )
)
"""Lower-case extensions of the files in a folder that are taken for images."""

# A file of a few kB can ask for any amount of memory. 100 million pixels are 300 MB as RGB, more
# than any camera on sale takes.
MOST_PIXELS = 100_000_000
"""The largest image that is read."""


class UnreadableImage(Exception):
    """A file gives no image; the message is the reason."""


@contextlib.contextmanager
def open_image(file: Path | BinaryIO) -> Iterator[Image.Image]:
    """Opens an image for the `with` block, in which it is decoded.

    Pillow warns of odd metadata and of sizes that are well within our own limit: the caller, who
    knows about threads, silences it.

    Args:
      file: a path or a seekable stream of bytes.

    Raises:
      UnreadableImage: whatever is wrong with it, at opening or inside the block.
    """
    try:
        if isinstance(file, Path) and file.stat().st_size == 0:
            raise UnreadableImage("the file is empty")
        with Image.open(file, formats=_supported_formats()) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise _too_large(f"{width} x {height}")
            yield image
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:
        raise _too_large("far too many") from None
    except UnidentifiedImageError:
        raise UnreadableImage("not an image in a format that is read") from None
    except Exception as error:  # a broken file makes Pillow raise nearly anything
        raise UnreadableImage(f"damaged or unreadable ({reason(error)})") from None


def _too_large(pixels: str) -> UnreadableImage:
    return UnreadableImage(
        f"it claims {pixels} pixels, more than {MOST_PIXELS // 10**6} million (decompression bomb)"
    )


def _supported_formats() -> tuple[str, ...]:
    """The formats that this build of Pillow knows; AVIF and JPEG 2000 are optional in it."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def reason(error: Exception) -> str:
    """Why something failed, as the first line of what the exception says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    message = str(error).strip().rstrip(".")
    return message.splitlines()[0] if message else type(error).__name__
