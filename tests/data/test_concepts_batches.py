"""Batches of labelled images, against a slow derivation of every cell of the grid."""

import itertools
import threading

import numpy as np
import pytest
from PIL import Image

from jaxinterp.data.concepts import Concept, ConceptSample, ConceptSet, concept_batches
from jaxinterp.data.evaluation_crop import evaluation_crop
from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.errors import UserError

CONCEPTS = (
    *(Concept(name, "object") for name in ("road", "car", "tree")),
    *(Concept(name, "part") for name in ("wheel", "door")),
    *(Concept(name, "scene") for name in ("street", "room")),
    *(Concept(name, "color") for name in ("dark", "light")),
)
# Colours are named by their green part alone.
BINS = np.broadcast_to(np.where(np.arange(32) < 16, 7, 8)[None, :, None], (32, 32, 32))


def make_sample(position, *, colours=True):
    """An image of its own shape, with masks of another one."""
    random = np.random.default_rng(position)
    height, width = random.integers(20, 50, 2)
    sh, sw = random.integers(9, 30, 2)
    planes = {"object": random.integers(-1, 3, (1 + position % 2, sh, sw)).astype(np.int32)}
    if position % 3:
        planes["part"] = random.choice(np.array([-1, 3, 4], np.int32), (2, sh, sw))
    return ConceptSample(
        name=f"image-{position}",
        image=random.integers(0, 256, (height, width, 3)).astype(np.uint8),
        planes=planes,
        whole=(5,) if position % 2 else (6, 5),
        colour_bins=BINS.astype(np.int32) if colours else None,
    )


def make_set(count, *, read=make_sample):
    held = [
        frozenset(("object", "scene", "color", *(("part",) if position % 3 else ())))
        for position in range(count)
    ]
    return ConceptSet("made", "here", CONCEPTS, tuple(held), read)


def slow_cell(sample, row, column, size, side, fit, resize):
    """Where the centre of a cell lies in the original, as shares; None outside of it."""
    height, width = sample.image.shape[:2]
    place = []
    for index, own, other in ((row, height, width), (column, width, height)):
        centre = (index + 0.5) / side
        if fit == "squash":
            place.append(centre)
            continue
        scaled = resize if own <= other else int(resize * own / other)
        first = round((scaled - size) / 2) if scaled >= size else -((size - scaled) // 2)
        place.append((first + centre * size) / scaled)
    return place if all(0 <= one < 1 for one in place) else None


@pytest.mark.parametrize(
    ("fit", "resize", "size", "side"),
    [
        ("squash", None, 16, 8),
        ("squash", None, 15, 15),
        ("crop", None, 16, 8),
        ("crop", 20, 16, 5),
        ("crop", 12, 16, 16),  # a black margin, which has no labels
    ],
)
def test_images_and_labels_are_those_of_the_slow_derivation(fit, resize, size, side):
    data = make_set(6)
    for batch in concept_batches(
        data, size=size, mask_size=side, fit=fit, resize=resize, batch_size=4
    ):
        for i, position in enumerate(batch.positions):
            sample = make_sample(int(position))
            assert batch.names[i] == sample.name
            image = Image.fromarray(sample.image)
            if fit == "squash":
                expected = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
            else:
                expected = evaluation_crop(image, resize=resize or size, size=size)
            np.testing.assert_array_equal(batch.images[i], expected)
            cells = Image.fromarray(expected).resize((side, side), Image.Resampling.BOX)
            green = np.asarray(cells)[..., 1]
            planes = list(itertools.chain(*sample.planes.values()))
            seen = set(sample.whole)
            for row, column in np.ndindex(side, side):
                place = slow_cell(sample, row, column, size, side, fit, resize or size)
                labels = [-1] * (len(planes) + 1)
                if place is not None:
                    labels = [
                        int(plane[tuple(int(p * n) for p, n in zip(place, plane.shape))])  # noqa: B905
                        for plane in planes
                    ]
                    labels.append(7 if green[row, column] < 128 else 8)
                assert list(batch.labels[i, : len(labels), row, column]) == labels
                assert (batch.labels[i, len(labels) :, row, column] == -1).all()
                seen |= set(labels) - {-1}
            present = [int(one) for one in batch.present[i] if one >= 0]
            assert present == sorted(seen)
            assert (batch.present[i, len(present) :] == -1).all()
            whole = {int(c) for c, w in zip(batch.present[i], batch.whole[i], strict=True) if w}
            assert whole == set(sample.whole)
            held = dict(zip(data.categories, batch.categories[i], strict=True))
            assert held == {
                "object": True,
                "part": position % 3 > 0,
                "scene": True,
                "color": True,
            }


def test_the_grid_s_cells_are_the_mask_s_own_where_nothing_is_resized():
    mask = np.arange(64, dtype=np.int32).reshape(1, 8, 8) % 3
    sample = ConceptSample("one", np.zeros((8, 8, 3), np.uint8), {"object": mask})
    data = make_set(1, read=lambda position: sample)
    for fit in ("crop", "squash"):
        batch = next(concept_batches(data, size=8, mask_size=8, fit=fit, batch_size=1))
        np.testing.assert_array_equal(batch.labels[0, :1], mask)


def test_a_concept_of_the_whole_image_is_not_in_the_planes_too():
    mask = np.array([[[0, 5], [5, 1]]], np.int32)
    sample = ConceptSample("one", np.zeros((2, 2, 3), np.uint8), {"object": mask}, whole=(5,))
    data = make_set(1, read=lambda position: sample)
    batch = next(concept_batches(data, size=2, mask_size=2, batch_size=1))
    assert batch.labels[0, 0].tolist() == [[0, -1], [-1, 1]]
    assert batch.present[0, :4].tolist() == [0, 1, 5, -1]
    assert batch.whole[0, :4].tolist() == [False, False, True, False]


@pytest.mark.parametrize("batch_size", [1, 3, 5, 8])
def test_the_size_of_a_batch_changes_nothing(batch_size):
    data = make_set(8)
    expected = next(concept_batches(data, size=12, mask_size=6, batch_size=8))
    position = 0
    for batch in concept_batches(data, size=12, mask_size=6, batch_size=batch_size):
        assert len(batch.images) == len(batch.labels) == len(batch.present) == batch_size
        for i in range(batch.filled):
            np.testing.assert_array_equal(batch.images[i], expected.images[position])
            own, other = batch.labels[i], expected.labels[position]
            shared = min(len(own), len(other))
            np.testing.assert_array_equal(own[:shared], other[:shared])
            assert (own[shared:] == -1).all()
            assert (other[shared:] == -1).all()
            position += 1
        assert not batch.images[batch.filled :].any()
        assert (batch.labels[batch.filled :] == -1).all()
        assert (batch.present[batch.filled :] == -1).all()
        assert not batch.whole[batch.filled :].any()
        assert not batch.categories[batch.filled :].any()
    assert position == 8


def test_shapes_are_few_and_only_grow():
    def read(position):
        count = [1, 3, 1, 9, 2][position]
        planes = {"object": np.zeros((count, 4, 4), np.int32)}
        return ConceptSample(str(position), np.zeros((4, 4, 3), np.uint8), planes)

    data = make_set(5, read=read)
    found = [b.labels.shape[1] for b in concept_batches(data, size=4, mask_size=4, batch_size=1)]
    assert found == [1, 4, 4, 16, 16]
    assert {
        b.present.shape[1] for b in concept_batches(data, size=4, mask_size=4, batch_size=1)
    } == {16}


def test_positions_and_start_choose_the_images():
    data = make_set(9)
    options = dict(size=8, mask_size=4, batch_size=2)
    names = [n for b in concept_batches(data, positions=[7, 1, 4], **options) for n in b.names]
    assert names == ["image-7", "image-1", "image-4"]
    names = [
        n for b in concept_batches(data, positions=[7, 1, 4], start=2, **options) for n in b.names
    ]
    assert names == ["image-4"]
    assert list(concept_batches(data, positions=[], **options)) == []
    assert list(concept_batches(data, start=9, **options)) == []


def test_unreadable_images_leave_no_gap_and_are_told():
    def read(position):
        if position in (1, 2, 4):
            raise UnreadableImage(f"torn-{position}.jpg: damaged")
        return make_sample(position)

    found = list(concept_batches(make_set(5, read=read), size=8, mask_size=4, batch_size=2))
    assert [b.names for b in found] == [("image-0", "image-3"), ()]
    assert [[u.reason for u in b.unreadable] for b in found] == [
        ["torn-1.jpg: damaged", "torn-2.jpg: damaged"],
        ["torn-4.jpg: damaged"],
    ]
    assert found[1].filled == 0
    assert found[1].positions.shape == (0,)


def test_a_contradiction_ends_the_pass_with_its_sentence():
    def read(position):
        if position == 3:
            raise UserError("The mask is of another size.")
        return make_sample(position)

    with pytest.raises(UserError, match="of another size"):
        list(concept_batches(make_set(5, read=read), size=8, mask_size=4, batch_size=2))


def test_no_more_than_two_batches_are_read_ahead_and_threads_end():
    read, lock = [], threading.Lock()

    def count(position):
        with lock:
            read.append(position)
        return make_sample(position)

    before = threading.active_count()
    stream = concept_batches(make_set(1000, read=count), size=8, mask_size=4, batch_size=2)
    next(stream)
    assert len(read) <= 2 * 2 + 16 + 2
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "wrong",
    [dict(size=0), dict(mask_size=0), dict(batch_size=0), dict(start=-1), dict(resize=-1)],
)
def test_sizes_below_one_are_refused_before_anything_is_read(wrong):
    options = dict(size=8, mask_size=4, batch_size=2) | wrong
    with pytest.raises(UserError, match="at least 1"):
        concept_batches(make_set(3), **options)


def test_an_unknown_fit_is_refused():
    with pytest.raises(UserError, match="'crop' or 'squash', not 'stretch'"):
        concept_batches(make_set(3), size=8, mask_size=4, batch_size=2, fit="stretch")
