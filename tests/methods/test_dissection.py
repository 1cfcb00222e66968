"""Dissection against loops that do what each publication says, pixel by pixel."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.interpolate import RectBivariateSpline

from jaxinterp.errors import UserError
from jaxinterp.methods.dissection import (
    Tally,
    ThresholdPass,
    counter,
    detectors,
    dissection_of,
    top_concepts,
    upsampling,
)
from jaxinterp.models.layer_table import Layer

MODES = ["paper", "v1", "lite"]
IMAGES, PLANES, GRID, PIXELS = 6, 3, (16, 20), (32, 40)
CATEGORIES = ("object", "colour", "scene", "material")
CONCEPTS = ("cat", "dog", "bus", "red", "blue", "street", "kitchen", "wood", "unseen")
CATEGORY_OF = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3])
SHARE = 0.1
# By layer: maps smaller, as large and larger than the masks, with different strides by axis.
ROWS = {
    "coarse": Layer("coarse", "", "relu", 70, 8, 19, 7),
    "uneven": Layer("uneven", "", "relu", 9, (4, 8), (11, 15), (3, 5)),
    "same": Layer("same", "", "relu", 6, 2, 3, 1),
    "fine": Layer("fine", "", "relu", 5, 1, 3, 1),
}
SHAPES = {"coarse": (4, 5), "uneven": (8, 5), "same": (16, 20), "fine": (32, 40)}
DEAD, BROKEN = 2, 3  # units of `coarse`


@functools.cache
def annotated():
    """(maps, labels, present, whole): several planes, whole-image labels, missing categories.

    Image 0 carries no material, image 1 nothing at all, image 2 nothing but a scene.
    """
    generator = np.random.default_rng(0)
    maps = {}
    for name, (height, width) in SHAPES.items():
        shape = (IMAGES, height, width, ROWS[name].channels)
        scale = generator.exponential(size=(IMAGES, 1, 1, ROWS[name].channels))
        maps[name] = np.maximum(generator.normal(size=shape) * scale, 0).astype(np.float32)
    maps["coarse"][..., DEAD] = 0
    maps["coarse"][4, 1, 1, BROKEN] = np.nan
    labels = generator.integers(-1, 3, size=(IMAGES, PLANES, *GRID)).astype(np.int32)
    labels[:, 1] = generator.integers(3, 5, size=(IMAGES, *GRID))  # a colour at every pixel
    labels[:, 2] = generator.choice([-1, -1, 7, 0], size=(IMAGES, *GRID))  # and cats once more
    labels[0, 2] = -1
    labels[1:3] = -1
    labels[5, :, :12] = -1
    whole = {2: [5], 3: [6], 4: [5, 6]}
    present = np.full((IMAGES, 8), -1, np.int32)
    entire = np.zeros((IMAGES, 8), bool)
    for image in range(IMAGES):
        seen = [one for one in np.unique(labels[image]) if one >= 0] + whole.get(image, [])
        order = generator.permutation(len(seen))
        present[image, : len(seen)] = np.array(seen, int)[order]
        entire[image, : len(seen)] = np.isin(np.arange(len(seen)), order.argsort()[len(seen) :])
        for concept in whole.get(image, []):
            entire[image, present[image] == concept] = True
    return maps, labels, present, entire


def thresholds_of(maps):
    over = ThresholdPass({name: one.shape[1:] for name, one in maps.items()}, IMAGES, share=SHARE)
    return over.finish(over.update(over.init(), maps, IMAGES))


def upsamplings_of(mode):
    return {
        name: upsampling(mode, SHAPES[name], GRID, layer=ROWS[name], image=PIXELS) for name in ROWS
    }


@functools.cache
def dissected(mode, batch=IMAGES, padding=0, **sizes):
    """The dissection in batches, each filled up with images that must not count."""
    maps, labels, present, whole = annotated()
    thresholds = thresholds_of(maps)
    count = jax.jit(counter(upsamplings_of(mode), mode=mode, **sizes))
    units = {name: one.shape[-1] for name, one in maps.items()}
    tally = Tally(units, CATEGORY_OF, len(CATEGORIES), mode=mode)
    for start in range(0, IMAGES, batch):
        filled = min(batch, IMAGES - start)
        # The padding repeats images, labels and all.
        at = np.arange(start, start + batch + padding) % IMAGES
        piece = {name: one[at] for name, one in maps.items()}
        counts = count(piece, thresholds.values, labels[at], present[at], whole[at], filled)
        tally.add(counts, present[at], filled)
    return dissection_of(tally, thresholds, CONCEPTS, CATEGORIES)


def interpolate_slowly(values):
    """Bilinear, cell centres spread evenly: one pixel after the other."""
    height, width = values.shape
    out = np.empty(GRID)
    for y in range(GRID[0]):
        for x in range(GRID[1]):
            v = min(max((y + 0.5) * height / GRID[0] - 0.5, 0), height - 1)
            u = min(max((x + 0.5) * width / GRID[1] - 0.5, 0), width - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            b, r = v - top, u - left
            upper = (1 - r) * values[top, left] + r * values[top, right]
            lower = (1 - r) * values[bottom, left] + r * values[bottom, right]
            out[y, x] = (1 - b) * upper + b * lower
    return out


def upsample_as_netdissect(values, row):
    """`upsampleL` with the fieldmap (offset, size, step) of the layer."""
    reduction = round(PIXELS[1] / GRID[1])
    places = []
    for axis, count in enumerate(values.shape):
        step, size, pad = (
            one[axis] if isinstance(one, tuple) else one
            for one in (row.stride, row.receptive_field, row.padding)
        )
        first = (size // 2 - pad) // reduction
        # NetDissect's step is an integer and would be 0 in the layer `fine`.
        apart = step // reduction if step >= reduction else step / reduction
        places.append(first + apart * np.arange(count))
    spline = RectBivariateSpline(*places, values, kx=1, ky=1)
    return spline(np.arange(GRID[0]), np.arange(GRID[1]), grid=True)


def upsample_slowly(mode, name, values):
    if mode == "v1":
        return upsample_as_netdissect(values, ROWS[name])
    if mode == "lite":
        resized = Image.fromarray(values).resize(GRID[::-1], Image.Resampling.BILINEAR)
        return np.asarray(resized)
    return interpolate_slowly(values)


def iou_slowly(mode, name, unit, limit):
    """IoU of one unit with all concepts, every pixel and every image looked at."""
    maps, labels, present, whole = annotated()
    both, truth = np.zeros(len(CONCEPTS)), np.zeros(len(CONCEPTS))
    active = np.zeros(len(CATEGORIES))
    for image in range(IMAGES):
        values = maps[name][image, :, :, unit]
        mask = np.zeros(GRID, bool)
        if np.isfinite(limit):  # no unit with NaN is ever active
            mask = upsample_slowly(mode, name, values) > limit
        met = np.zeros(len(CATEGORIES), bool)
        for concept in range(len(CONCEPTS)):
            planes = labels[image] == concept
            if whole[image][present[image] == concept].any():
                planes = np.ones((1, *GRID), bool)
            if mode == "paper":  # a set of pixels; the programs count a pixel in each plane
                planes = planes.any(0, keepdims=True)
            common = (planes & mask).sum()
            both[concept] += common
            truth[concept] += planes.sum()
            met[CATEGORY_OF[concept]] |= (common if mode == "lite" else planes.sum()) > 0
        active += mask.sum() * met
    union = active[CATEGORY_OF] + truth - both
    return np.where(union > 0, both / np.maximum(union, 1), 0)


@pytest.mark.parametrize("mode", MODES)
def test_iou_of_every_unit_and_concept_slowly(mode):
    found = dissected(mode)
    for name, iou in found.iou.items():
        expected = [
            iou_slowly(mode, name, unit, found.thresholds.values[name][unit])
            for unit in range(len(iou))
        ]
        np.testing.assert_array_equal(iou, expected, err_msg=name)
        assert (iou > 0).sum() > iou.size / 4


def test_the_modes_differ():
    found = [dissected(mode).iou["fine"] for mode in MODES]
    assert not np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


@pytest.mark.parametrize("mode", MODES)
def test_batches_chunks_and_padding_do_not_matter(mode):
    expected = dissected(mode).tally.arrays()
    for options in ({"batch": 4, "chunk": 7, "tile": 6}, {"batch": 1, "padding": 2, "tile": 16}):
        found = dissected(mode, **options).tally.arrays()
        for name, total in expected.items():
            np.testing.assert_array_equal(found[name], total, err_msg=f"{name}, {options}")


def test_silent_units_and_units_with_nan_detect_nothing():
    found = dissected("paper")
    assert found.thresholds.not_finite["coarse"][BROKEN]
    assert not found.tally.everywhere["coarse"][[DEAD, BROKEN]].any()
    assert not found.iou["coarse"][[DEAD, BROKEN]].any()
    assert (found.top("coarse").concepts[[DEAD, BROKEN]] == -1).all()


def test_a_category_counts_activation_in_its_own_images_only():
    tally = dissected("paper").tally
    assert tally.images.tolist() == [4, 4, 3, 3]
    assert tally.seen == IMAGES
    for name, total in tally.everywhere.items():
        assert (tally.activated[name] <= total[:, None]).all()
    assert tally.labelled[CONCEPTS.index("unseen")] == 0


def test_a_unit_that_draws_a_concept_has_iou_1():
    labels = np.full((2, 1, *GRID), -1, np.int32)
    labels[0, 0, 3:9, 2:11] = 1
    labels[1, 0, :4, :4] = 1
    labels[1, 0, 10:, 10:] = 0
    values = np.stack([labels[:, 0] == 1, labels[:, 0] == 0], -1).astype(np.float32)
    present = np.array([[1, -1], [0, 1]], np.int32)
    count = counter({"drawn": upsampling("paper", GRID, GRID)})
    limits = {"drawn": np.full(2, 0.5, np.float32)}
    counts = count({"drawn": values}, limits, labels, present, np.zeros((2, 2), bool), 2)
    tally = Tally({"drawn": 2}, [0, 0], 1)
    tally.add(counts, present, 2)
    np.testing.assert_array_equal(tally.iou()["drawn"], [[0, 1], [1, 0]])
    np.testing.assert_array_equal(counts.peak["drawn"], [[1, 0], [1, 1]])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ROWS)
def test_upsampled_values_lie_between_those_of_the_map(mode, name):
    one = upsamplings_of(mode)[name]
    for matrix, size in ((one.rows, SHAPES[name][0]), (one.columns, SHAPES[name][1])):
        assert matrix.shape[1] == size
        assert (matrix >= 0).all()
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)


def test_tallies_are_merged_and_restored():
    whole = dissected("lite").tally
    again = Tally({name: ROWS[name].channels for name in ROWS}, CATEGORY_OF, 4, mode="lite")
    again.restore({name: total.copy() for name, total in whole.arrays().items()})
    again.merge(whole)
    for name, total in whole.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], 2 * total)
    with pytest.raises(ValueError, match="no intersection/coarse"):
        again.restore({})


def test_top_concepts_and_detectors():
    iou = np.array([[0.1, 0.3, 0.3], [0, 0, 0], [0.03, 0, 0.02], [0, 0.2, 0], [0.05, 0, 0.06]])
    top = top_concepts(iou, 4)
    assert top.concepts.tolist() == [
        *([1, 2, 0, -1], [-1] * 4, [0, 2, -1, -1], [1, -1, -1, -1], [2, 0, -1, -1]),
    ]
    assert top.iou[0].tolist() == [0.3, 0.3, 0.1, 0]
    found = detectors(iou, [0, 1, 1], 3)
    assert found.units.tolist() == [0, 3, 0]
    assert found.concepts.tolist() == [0, 2, 0]
    assert detectors(iou, [0, 1, 1], 2, cutoff=0.01).units.tolist() == [1, 3]
    with pytest.raises(UserError, match="1 is the least"):
        top_concepts(iou, 0)


def test_bad_input_is_refused():
    with pytest.raises(UserError, match=r"papr.*paper"):
        upsampling("papr", (4, 4), GRID)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="needs the row of the layer table"):
        upsampling("v1", (4, 4), GRID)
    unknown = Layer("gate", "", "product", 4, 1, None, None)
    with pytest.raises(UserError, match=r"units of gate.*do without"):
        upsampling("v1", (4, 4), GRID, layer=unknown, image=PIXELS)
    tally = Tally({"one": 2}, [0, 0], 1)
    over = ThresholdPass({"one": (2, 2, 2)}, 1)
    state = over.update(over.init(), {"one": np.ones((1, 2, 2, 2), np.float32)}, 1)
    with pytest.raises(ValueError, match="other numbers"):
        dissection_of(tally, over.finish(state), ["a"], ["b"])
