"""Images to ask a network about: bundled pictures, files, a folder, the all-colours image.

Every source ends as the same thing, a square float32 RGB image in [0, 1] with a name of its own. A
file that is no image, or is cut short, costs only itself: it is listed with the reason and the
others are read.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from jaxinterp.data.colours import all_colours
from jaxinterp.data.open_image import IMAGE_SUFFIXES, UnreadableImage, open_image, reason
from jaxinterp.errors import UserError, nearest

__all__ = ["PICTURES", "ImagesConfig", "NamedImage", "SkippedFile", "load_images"]

PICTURES: tuple[str, ...] = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "colorwheel",
    "grass",
    "gravel",
    "hubble_deep_field",
    "moon",
    "retina",
    "rocket",
)
"""The pictures that scikit-image ships in its package, so that they load offline: photographs under
CC0 or in the public domain. brick, camera, coins, grass, gravel and moon are grey."""


@dataclasses.dataclass(frozen=True)
class ImagesConfig:
    """Which images to load, the `[images]` table of a configuration; the sources add up.

    Attributes:
      size: side of the square images in pixels.
      pictures: names out of `PICTURES`.
      files: image files, read whatever their extension is.
      folder: all images below this folder: its own files by name, then its subfolders by name.
        Files with no image's extension and hidden files are passed over.
      limit: read only so many files of the folder, the first ones; the others are not opened.
      all_colours: add the synthetic image of `jaxinterp.data.colours`.

    Raises:
      UserError: `size` or `limit` is below 1.
    """

    size: int = 32
    pictures: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    folder: str | None = None
    limit: int | None = None
    all_colours: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"images.size must be at least 1 (px), got {self.size}.")
        if self.limit is not None and self.limit < 1:
            raise UserError(f"images.limit must be at least 1 (file), got {self.limit}.")


@dataclasses.dataclass(frozen=True, eq=False)
class NamedImage:
    """An image and the name it has in tables and pages.

    Attributes:
      name: unique among the images loaded together.
      pixels: float32 [size, size, 3], RGB in [0, 1]; [size, size, 1] if made grey.
    """

    name: str
    pixels: np.ndarray

    def with_channels(self, channels: int) -> NamedImage:
        """The same image for a network that takes so many channels: 3 (as it is) or 1.

        Grey is the luma of ITU-R BT.601, as Pillow computes it.
        """
        if channels == self.pixels.shape[-1]:
            return self
        if channels != 1:
            raise ValueError(f"an image can have 1 or 3 channels, not {channels}")
        luma = self.pixels @ np.asarray((0.299, 0.587, 0.114), np.float32)
        return dataclasses.replace(self, pixels=luma[..., None])


@dataclasses.dataclass(frozen=True)
class SkippedFile:
    """A file that gave no image, and why, in words."""

    path: str
    reason: str


def load_images(config: ImagesConfig) -> tuple[list[NamedImage], list[SkippedFile]]:
    """Loads every image the configuration asks for.

    A file is turned upright (EXIF), laid on white where it is transparent, made RGB in 8 bits
    (colour profiles are not applied), and its largest centred square is resized to `size` with
    Pillow's bicubic filter, whose support grows with the reduction (antialiased): what resizing the
    shorter side and cropping the centre gives. Of an animation the first frame is taken.

    Names: the picture's name; "all-colours"; a file's name without extension; in a folder the path
    below it without extension, as in "cats/003". A name that is taken gets "-2", "-3" and so on.

    Args:
      config: see there. The order is pictures, files, folder, all-colours.

    Returns:
      The images, at least one, and the files that were skipped.

    Raises:
      UserError: no source is given, a picture or file does not exist (the nearest names are
        offered), the folder is missing, unreadable or without images, or not one file is readable.
    """
    if not (config.pictures or config.files or config.folder or config.all_colours):
        raise UserError(
            "No images are asked for: give pictures, files, folder or all_colours in [images]."
        )
    _check_names(config)

    names: set[str] = set()
    images: list[NamedImage] = []
    skipped: list[SkippedFile] = []

    def add(name: str, pixels: np.ndarray) -> None:
        images.append(NamedImage(_unique(name, names), pixels))

    for picture in config.pictures:
        add(picture, _fit(_load_picture(picture), config.size))
    for path, name in _listed(config, skipped):
        try:
            add(name, _fit(_read(path), config.size))
        except UnreadableImage as error:
            skipped.append(SkippedFile(_text(path), str(error)))
    if config.all_colours:
        add("all-colours", all_colours(config.size))
    if not images:
        first = skipped[0]
        count = "The only file" if len(skipped) == 1 else f"None of the {len(skipped)} files"
        verb = "cannot be read as an image" if len(skipped) == 1 else "can be read as an image"
        raise UserError(f"{count} {verb}: {first.path}: {first.reason}.")
    return images, skipped


def _check_names(config: ImagesConfig) -> None:
    """Mistakes in the configuration itself are errors before anything is read."""
    for picture in config.pictures:
        if picture not in PICTURES:
            raise UserError(nearest(picture, PICTURES, kind="picture"))
    for file in config.files:
        path = Path(os.path.expanduser(file))
        if path.is_dir():
            raise UserError(f"{file} in images.files is a folder: give it as images.folder.")
        if not path.exists():
            siblings = path.parent.iterdir() if path.parent.is_dir() else ()
            near = [str(s) for s in siblings if s.suffix.lower() in IMAGE_SUFFIXES]
            raise UserError(nearest(file, sorted(near), kind="image file"))


def _listed(config: ImagesConfig, skipped: list[SkippedFile]) -> Iterator[tuple[Path, str]]:
    """Path and name of every file to read, found while they are read."""
    for file in config.files:
        path = Path(os.path.expanduser(file))
        yield path, _text(path.stem)
    if config.folder is None:
        return
    root = Path(os.path.expanduser(config.folder))
    found = 0
    for path in _image_files(root, root, skipped):
        yield path, _text(path.relative_to(root).with_suffix("").as_posix())
        found += 1
        if found == config.limit:
            return
    if not found:
        raise UserError(
            f"No images are in the folder {config.folder} or below it: "
            "files ending in .png, .jpg, .webp, .tif and the like are looked for."
        )


def _image_files(
    folder: Path, root: Path, skipped: list[SkippedFile], inside: tuple[str, ...] = ()
) -> Iterator[Path]:
    """Image files below `folder` in a fixed order, listed lazily: the folder may hold millions."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted((e.name, e.is_dir()) for e in listing if not e.name.startswith("."))
    except OSError as error:
        if folder != root:
            skipped.append(
                SkippedFile(_text(folder), f"the folder cannot be read ({reason(error)})")
            )
            return
        raise UserError(f"The folder {root} cannot be read: {reason(error)}.") from None
    # A link may lead back to a folder we are in; links elsewhere are followed.
    inside = (*inside, os.path.realpath(folder))
    for name, is_folder in entries:
        if not is_folder and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
            yield folder / name
    for name, is_folder in entries:
        if is_folder and os.path.realpath(folder / name) not in inside:
            yield from _image_files(folder / name, root, skipped, inside)


def _load_picture(name: str) -> Image.Image:
    import skimage.data  # takes a second, which runs without pictures need not wait for

    try:
        return _to_rgb(Image.fromarray(getattr(skimage.data, name)()))
    except Exception as error:  # an installation without the file tries to download it
        raise UserError(
            f"scikit-image cannot load its picture {name!r}: {reason(error)}."
        ) from None


def _read(path: Path) -> Image.Image:
    """The upright RGB image of a file.

    Raises:
      UnreadableImage: whatever is wrong with it.
    """
    # Pillow warns of odd metadata and of sizes that are well within our own limit.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_image(path) as image:
            return _to_rgb(ImageOps.exif_transpose(image))


def _to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as 8-bit RGB on white."""
    if image.mode.startswith("I;16"):
        return _from_grey(np.asarray(image).astype(np.float64) / 65535)
    if image.mode == "I":
        # A 32-bit container; the only range in use that can be told is that of 16 bits.
        return _from_grey(np.asarray(image).astype(np.float64) / 65535)
    if image.mode == "F":
        return _from_grey(np.asarray(image).astype(np.float64))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _from_grey(values: np.ndarray) -> Image.Image:
    if not (values.min() >= 0 and values.max() <= 1):  # also where a value is NaN
        raise UnreadableImage("its pixel values are outside the range that an image has")
    return Image.fromarray(np.round(values * 255).astype(np.uint8)).convert("RGB")


def _fit(image: Image.Image, size: int) -> np.ndarray:
    """The largest centred square, resized: float32 [size, size, 3] in [0, 1]."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    # The filter reads beyond the box where the image goes on, so nothing differs from resizing
    # the whole image first, except that a wide panorama costs no more than its centre.
    square = image.resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
    )
    return np.asarray(square, np.float32) / np.float32(255)


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}-{count}"
    taken.add(candidate)
    return candidate


def _text(path: str | Path) -> str:
    """A path as text that any file can hold: bytes that are no UTF-8 become a replacement sign."""
    return os.fsencode(path).decode("utf-8", "replace")
