"""Images from every source and of every mode, and what happens to the bad ones."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxinterp.config import build
from jaxinterp.data import images as images_module
from jaxinterp.data.colours import all_colours
from jaxinterp.data.images import PICTURES, ImagesConfig, load_images
from jaxinterp.errors import UserError

RED, WHITE = (1.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def solid(path: Path, colour: tuple[int, int, int] = (255, 0, 0), size: int = 12) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)
    return path


def only(path: Path, size: int = 8) -> np.ndarray:
    images, skipped = load_images(ImagesConfig(size=size, files=(str(path),)))
    assert not skipped
    (image,) = images
    assert image.pixels.dtype == np.float32
    assert image.pixels.shape == (size, size, 3)
    return image.pixels


@pytest.mark.parametrize("picture", PICTURES)
def test_bundled_pictures_load_without_a_network(picture: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    images, skipped = load_images(ImagesConfig(size=32, pictures=(picture,)))
    assert [image.name for image in images] == [picture]
    assert not skipped
    assert images[0].pixels.shape == (32, 32, 3)
    assert images[0].pixels.dtype == np.float32
    assert 0 <= images[0].pixels.min() < images[0].pixels.max() <= 1


def test_the_shorter_side_is_fitted_and_the_centre_kept(tmp_path: Path):
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, :40], pixels[:, 40:80], pixels[:, 80:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        found = only(tmp_path / name, 20)
        assert found[10, 10] == pytest.approx([0, 1, 0])
        assert found[3:-3, 3:-3].std(axis=(0, 1)) == pytest.approx([0, 0, 0], abs=1e-6)


def test_reducing_averages_instead_of_dropping_pixels(tmp_path: Path):
    fine = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)  # a chessboard of pixels
    Image.fromarray(fine).save(tmp_path / "fine.png")
    assert only(tmp_path / "fine.png", 8) == pytest.approx(0.5, abs=0.02)


def test_small_images_are_enlarged(tmp_path: Path):
    assert only(solid(tmp_path / "small.png", size=3), 50) == pytest.approx(
        np.broadcast_to(RED, (50, 50, 3))
    )


def test_exif_orientation_is_applied(tmp_path: Path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 3  # the camera was held upside down
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    found = only(tmp_path / "turned.png", 16)
    assert found[:6].max() < 0.1
    assert found[10:].min() > 0.9


def sixteen_bit() -> Image.Image:
    return Image.fromarray(np.full((12, 12), 32896, np.uint16))


def palette() -> Image.Image:
    image = Image.new("P", (12, 12), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    return image


def transparent_palette() -> Image.Image:
    image = palette()
    image.info["transparency"] = 1
    return image


def grey_alpha() -> Image.Image:
    return Image.merge("LA", (Image.new("L", (12, 12), 0), Image.new("L", (12, 12), 0)))


MODES: dict[str, tuple[Callable[[], Image.Image], str, tuple[float, ...]]] = {
    "grey": (lambda: Image.new("L", (12, 12), 51), "png", (0.2, 0.2, 0.2)),
    "bilevel": (lambda: Image.new("1", (12, 12), 1), "png", WHITE),
    "16 bits": (sixteen_bit, "png", (128 / 255,) * 3),
    "16 bits, TIFF": (sixteen_bit, "tif", (128 / 255,) * 3),
    "32-bit integers": (lambda: Image.new("I", (12, 12), 13107), "tif", (0.2, 0.2, 0.2)),
    "floats": (lambda: Image.new("F", (12, 12), 0.2), "tif", (0.2, 0.2, 0.2)),
    "palette": (palette, "png", RED),
    "transparent palette": (transparent_palette, "gif", WHITE),
    "transparent": (lambda: Image.new("RGBA", (12, 12), (0, 0, 0, 0)), "png", WHITE),
    "half transparent": (
        lambda: Image.new("RGBA", (12, 12), (255, 0, 0, 128)),
        "png",
        (1.0, 127 / 255, 127 / 255),
    ),
    "grey, transparent": (grey_alpha, "png", WHITE),
    "CMYK": (lambda: Image.new("CMYK", (12, 12), (0, 255, 255, 0)), "jpg", RED),
    "YCbCr": (lambda: Image.new("YCbCr", (12, 12), (76, 85, 255)), "jpg", RED),
}


@pytest.mark.parametrize("case", MODES)
def test_every_mode_becomes_rgb(case: str, tmp_path: Path):
    make, suffix, expected = MODES[case]
    make().save(tmp_path / f"image.{suffix}")
    found = only(tmp_path / f"image.{suffix}")
    assert found == pytest.approx(np.broadcast_to(expected, found.shape), abs=0.02)


def truncated(path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:2000])


def bomb(path: Path) -> None:
    """A PNG of 60,000 x 60,000 pixels in a hundred bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def smaller_bomb(path: Path) -> None:
    """Within the limit of Pillow (which only warns) and beyond ours."""
    bomb(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 12_000, 12_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(bytes(content))


def out_of_range(path: Path) -> None:
    Image.new("F", (12, 12), 7.0).save(path, "TIFF")


def postscript(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncated, "truncated"),
    "empty": (lambda path: path.touch(), "empty"),
    "text": (lambda path: path.write_text("no image"), "not an image"),
    "bomb": (bomb, "decompression bomb"),
    "smaller bomb": (smaller_bomb, "12000 x 12000 pixels"),
    "out of range": (out_of_range, "outside the range"),
    "PostScript": (postscript, "not an image"),
    "link to nothing": (lambda path: path.symlink_to(path.with_name("gone")), "No such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_costs_only_itself(case: str, tmp_path: Path):
    make, reason = BAD[case]
    solid(tmp_path / "a.png")
    make(tmp_path / "b.png")
    solid(tmp_path / "c.png")
    images, skipped = load_images(ImagesConfig(size=8, folder=str(tmp_path)))
    assert [image.name for image in images] == ["a", "c"]
    (file,) = skipped
    assert file.path == str(tmp_path / "b.png")
    assert reason in file.reason
    assert "\n" not in file.reason


def test_nothing_but_bad_files_is_an_error_with_the_first_reason(tmp_path: Path):
    bomb(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"The only file .*a\.png: .*decompression bomb"):
        load_images(ImagesConfig(folder=str(tmp_path)))
    (tmp_path / "b.png").touch()
    with pytest.raises(UserError, match=r"None of the 2 files .*a\.png"):
        load_images(ImagesConfig(files=(str(tmp_path / "a.png"), str(tmp_path / "b.png"))))


def test_a_folder_is_read_in_order_and_in_depth(tmp_path: Path):
    for name in ("z.png", "b/2.png", "b/1.jpg", "a/deep/x.webp", "B.PNG"):
        solid(tmp_path / name)
    for name in ("notes.txt", ".hidden.png", "b/._1.jpg", ".cache/1.png", "a/labels.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("ignored")
    images, skipped = load_images(ImagesConfig(size=8, folder=str(tmp_path)))
    assert [image.name for image in images] == ["B", "z", "a/deep/x", "b/1", "b/2"]
    assert not skipped


def test_a_link_back_up_does_not_loop_and_a_link_elsewhere_is_followed(tmp_path: Path):
    solid(tmp_path / "set" / "a.png")
    solid(tmp_path / "other" / "b.png")
    (tmp_path / "set" / "up").symlink_to(tmp_path / "set", target_is_directory=True)
    (tmp_path / "set" / "link").symlink_to(tmp_path / "other", target_is_directory=True)
    images, _ = load_images(ImagesConfig(size=8, folder=str(tmp_path / "set")))
    assert [image.name for image in images] == ["a", "link/b"]


def test_limit_opens_no_more_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for index in range(6):
        solid(tmp_path / f"{index}.png")
    opened: list[Path] = []
    read = images_module._read
    monkeypatch.setattr(images_module, "_read", lambda path: opened.append(path) or read(path))
    images, _ = load_images(ImagesConfig(size=8, folder=str(tmp_path), limit=2))
    assert [image.name for image in images] == ["0", "1"]
    assert [path.name for path in opened] == ["0.png", "1.png"]


def test_a_telephone_picture_that_is_not_read_is_reported(tmp_path: Path):
    solid(tmp_path / "a.png")
    (tmp_path / "b.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    _, skipped = load_images(ImagesConfig(size=8, folder=str(tmp_path)))
    assert [Path(file.path).name for file in skipped] == ["b.HEIC"]


def test_names_are_made_unique_in_the_order_of_the_sources(tmp_path: Path):
    files = [solid(tmp_path / name) for name in ("x/a.png", "y/a.png", "z/a-2.png", "coffee.png")]
    config = ImagesConfig(
        size=8, pictures=("coffee",), files=tuple(map(str, files)), all_colours=True
    )
    names = [image.name for image in load_images(config)[0]]
    assert names == ["coffee", "a", "a-2", "a-2-2", "coffee-2", "all-colours"]


def test_a_name_that_is_no_text_becomes_text(tmp_path: Path):
    raw = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    try:
        Path(os.fsdecode(raw)).write_bytes(solid(tmp_path / "a.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    names = [image.name for image in load_images(ImagesConfig(size=8, folder=str(tmp_path)))[0]]
    assert names == ["a", "caf\N{REPLACEMENT CHARACTER}"]


def test_mistakes_in_the_config_are_one_sentence(tmp_path: Path):
    solid(tmp_path / "photo.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").touch()
    cases = (
        (ImagesConfig(), "No images are asked for"),
        (ImagesConfig(pictures=("astronut",)), "nearest: astronaut"),
        (ImagesConfig(files=(str(tmp_path / "foto.png"),)), r"nearest: .*photo\.png"),
        (ImagesConfig(files=(str(empty),)), "is a folder"),
        (ImagesConfig(folder=str(tmp_path / "gone")), "gone cannot be read: No such file"),
        (ImagesConfig(folder=str(tmp_path / "photo.png")), "cannot be read: Not a directory"),
        (ImagesConfig(folder=str(empty)), "No images are in the folder"),
    )
    for config, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            load_images(config)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["size", "limit"])
def test_a_number_below_one_is_refused_when_the_config_is_read(key: str):
    with pytest.raises(UserError, match=rf"images\.{key} must be at least 1"):
        build(ImagesConfig, {key: 0})


def test_an_unreadable_subfolder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    solid(tmp_path / "a.png")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def guarded(path: Path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)  # the tests may run as root, whom nothing stops
    images, skipped = load_images(ImagesConfig(size=8, folder=str(tmp_path)))
    assert [image.name for image in images] == ["a"]
    assert skipped[0].reason == "the folder cannot be read (Permission denied)"


@pytest.mark.parametrize(
    ("size", "farthest", "mean"), [(32, 0.165, 0.085), (64, 0.115, 0.055), (128, 0.105, 0.035)]
)
def test_all_colours_comes_near_every_colour(size: int, farthest: float, mean: float):
    pixels = all_colours(size)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.float32
    assert pixels.min() == 0
    assert pixels.max() == 1
    grid = np.stack(np.meshgrid(*3 * [np.linspace(0, 1, 9)]), -1).reshape(-1, 3)
    seen = pixels.reshape(-1, 3)
    distances = np.array([np.sqrt(((colour - seen) ** 2).sum(-1).min()) for colour in grid])
    assert distances.max() < farthest
    assert distances.mean() < mean


@pytest.mark.parametrize("size", [8, 31, 32, 224])
def test_all_colours_holds_white_black_greys_and_pure_red(size: int):
    colours = {tuple(c) for c in np.round(all_colours(size) * 255).astype(int).reshape(-1, 3)}
    assert {(255, 255, 255), (0, 0, 0)} <= colours
    greys = {c for c in colours if c[0] == c[1] == c[2]}
    assert len(greys) >= size // 4
    pixels = all_colours(size)[: size // 4, 0]  # the saturated band's first column
    assert np.all(pixels[:, 0] >= pixels[:, 1])
    assert pixels[:, 1] == pytest.approx(pixels[:, 2], abs=1e-6)


def test_all_colours_has_no_edges_inside():
    pixels = all_colours(224)
    assert np.abs(np.diff(pixels, axis=0)).max() < 0.04
    assert np.abs(np.diff(pixels, axis=1)).max() < 0.04


@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_colours_is_defined_for_tiny_sizes(size: int):
    assert all_colours(size).shape == (size, size, 3)
    with pytest.raises(ValueError, match="at least 1"):
        all_colours(0)


def test_neither_images_nor_reports_import_jax():
    code = (
        "import sys, jaxinterp.data.images, jaxinterp.report;"
        "sys.exit(any(name.split('.')[0] in ('jax', 'flax') or name == 'matplotlib.pyplot'"
        " for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
