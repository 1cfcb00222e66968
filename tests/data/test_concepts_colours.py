"""Colour names of pixels: CIELAB derived again, and tables that users have."""

import numpy as np
import pytest
import scipy.io
from skimage.color import rgb2lab

from jaxinterp.data.an8flower import COLOUR_NAMES
from jaxinterp.data.concepts.colours import (
    PROTOTYPES,
    colour_table,
    name_colours,
    read_colour_table,
    srgb_to_lab,
)
from jaxinterp.errors import UserError


def test_lab_is_that_of_scikit_image():
    colours = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    colours[:2] = [[0, 0, 0], [255, 255, 255]]
    # Its matrix and its white have five and six digits.
    np.testing.assert_allclose(srgb_to_lab(colours), rgb2lab(colours), atol=0.02)


@pytest.mark.parametrize("grey", [0, 3, 10, 11, 128, 255])
def test_greys_have_no_chroma(grey):
    lightness, a, b = srgb_to_lab(np.full(3, grey))
    assert a == pytest.approx(0, abs=1e-9)
    assert b == pytest.approx(0, abs=1e-9)
    linear = (grey / 255 + 0.055) ** 2.4 / 1.055**2.4 if grey > 10 else grey / 255 / 12.92
    expected = 116 * linear ** (1 / 3) - 16 if linear > 216 / 24389 else linear * 24389 / 27
    assert lightness == pytest.approx(expected, abs=1e-9)


def test_a_bin_has_the_nearest_prototype_of_its_centre():
    table = colour_table()
    assert table.shape == (32, 32, 32)
    assert list(PROTOTYPES) == list(COLOUR_NAMES)
    for red, green, blue in np.random.default_rng(1).integers(0, 32, (200, 3)):
        centre = rgb2lab(np.array([red, green, blue]) * 8 / 255 + 3.5 / 255)
        distances = {
            name: float(np.linalg.norm(centre - rgb2lab(np.array(prototype) / 255)))
            for name, prototype in PROTOTYPES.items()
        }
        found = COLOUR_NAMES[table[red, green, blue]]
        assert distances[found] == pytest.approx(min(distances.values()), abs=0.05)


@pytest.mark.parametrize("name", COLOUR_NAMES)
def test_a_prototype_has_its_own_name(name):
    image = np.full((2, 2, 3), PROTOTYPES[name], np.uint8)
    assert {COLOUR_NAMES[index] for index in name_colours(image).ravel()} == {name}


def test_all_names_occur_and_the_table_cannot_be_changed():
    assert set(np.unique(colour_table())) == set(range(11))
    with pytest.raises(ValueError, match="read-only"):
        colour_table()[0, 0, 0] = 1


def test_pixels_are_looked_up_by_their_bin():
    table = np.arange(32**3, dtype=np.int32).reshape(32, 32, 32)
    image = np.random.default_rng(2).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    found = name_colours(image, table)
    for row, column in np.ndindex(5, 7):
        red, green, blue = (int(value) // 8 for value in image[row, column])
        assert found[row, column] == red * 1024 + green * 32 + blue


def probabilities():
    return np.random.default_rng(3).random((32**3, 11)).astype(np.float32)


def test_a_user_s_probabilities_are_read_row_by_row(tmp_path):
    given = probabilities()
    np.savez(tmp_path / "w2c.npz", w2c=given, names=np.array(COLOUR_NAMES))
    scipy.io.savemat(tmp_path / "w2c.mat", {"w2c": given})
    table = read_colour_table(tmp_path / "w2c.npz")
    np.testing.assert_array_equal(read_colour_table(tmp_path / "w2c.mat"), table)
    assert table.dtype == np.int32
    for red, green, blue in np.random.default_rng(4).integers(0, 32, (300, 3)):
        assert table[red, green, blue] == given[red + 32 * green + 1024 * blue].argmax()


def test_a_user_s_names_are_read_as_they_are(tmp_path):
    given = np.random.default_rng(5).integers(0, 11, (32, 32, 32)).astype(np.uint8)
    np.save(tmp_path / "w2color.npy", given)
    table = read_colour_table(tmp_path / "w2color.npy")
    np.testing.assert_array_equal(table, given)
    assert table.dtype == np.int32


def wrong_tables():
    good = probabilities()
    named = dict(w2c=good, names=np.array(COLOUR_NAMES[::-1]))
    return {
        "shape": (dict(w2c=good[:-1]), r"is float32 \[32767, 11\]"),
        "kind": (dict(w2c=good.astype(int)), "not floating-point"),
        "nan": (dict(w2c=np.where(good > 0.5, np.nan, good)), "not finite"),
        "key": (dict(other=good), "holds no array w2c, but other"),
        "names": (named, "The names .* are not black, blue"),
        "cube": (np.zeros((32, 32)), r"not whole numbers \[32, 32, 32\]"),
        "fraction": (np.zeros((32, 32, 32)), "holds float64"),
        "range": (np.full((32, 32, 32), 11), "no indices of the 11 names"),
        "negative": (np.full((32, 32, 32), -1), "no indices of the 11 names"),
    }


@pytest.mark.parametrize("name", wrong_tables())
def test_a_wrong_table_is_explained(tmp_path, name):
    content, message = wrong_tables()[name]
    path = tmp_path / ("t.npz" if isinstance(content, dict) else "t.npy")
    if isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content)
    with pytest.raises(UserError, match=message):
        read_colour_table(path)


@pytest.mark.parametrize("content", [b"", b"no table", b"PK\x03\x04 torn"])
def test_what_is_no_table_is_said(tmp_path, content):
    (tmp_path / "w2c.npz").write_bytes(content)
    with pytest.raises(UserError, match="is no table of colours"):
        read_colour_table(tmp_path / "w2c.npz")
    (tmp_path / "w2c.mat").write_bytes(content)
    with pytest.raises(UserError, match=r"w2c.mat holds no array w2c"):
        read_colour_table(tmp_path / "w2c.mat")
    with pytest.raises(UserError, match=r"no table of colours .*nearest: .*w2c.npz"):
        read_colour_table(tmp_path / "w2d.npz")


def test_pickled_arrays_are_not_run(tmp_path):
    np.save(tmp_path / "t.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="is no table of colours"):
        read_colour_table(tmp_path / "t.npy")
