"""Decoding ahead of the device: order, bounds, and an end."""

import threading

import numpy as np
import pytest
from PIL import Image

from jaxinterp.data.labelled import LabelledImage, LabelledImages, SourceClass
from jaxinterp.data.open_image import UnreadableImage
from jaxinterp.evaluate.stream import Geometry, Unreadable, batches

GEOMETRY = Geometry(resize=2, size=2)


def made(count, read=None):
    def plain(position):
        pixels = np.full((2, 2, 3), position % 256, np.uint8)
        return LabelledImage(f"image {position}", position, pixels)

    classes = tuple(SourceClass(str(i)) for i in range(count))
    return LabelledImages("made", "here", classes, count, read or plain)


@pytest.mark.parametrize("batch_size", [1, 4, 11])
def test_images_come_in_the_order_asked_for(batch_size):
    positions = [9, 3, 3, 0, 8, 1, 2, 7, 6, 5]
    found = list(batches(made(10), positions, geometry=GEOMETRY, batch_size=batch_size))
    assert {batch.pixels.shape for batch in found} == {(batch_size, 2, 2, 3)}
    pixels = np.concatenate([batch.pixels[: batch.filled] for batch in found])
    labels = np.concatenate([batch.labels[: batch.filled] for batch in found])
    assert labels.tolist() == positions
    np.testing.assert_array_equal(pixels, np.asarray(positions)[:, None, None, None] + pixels * 0)
    assert not found[-1].pixels[found[-1].filled :].any()
    assert not found[-1].labels[found[-1].filled :].any()


def test_batches_that_were_handed_out_are_not_written_again():
    found = list(batches(made(12), range(12), geometry=GEOMETRY, batch_size=4))
    assert [batch.pixels[:, 0, 0, 0].tolist() for batch in found] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]


def test_no_more_is_read_than_two_batches_and_a_thread_each_ahead():
    read, lock = [], threading.Lock()
    whole = made(1000)

    def count(position):
        with lock:
            read.append(position)
        return whole.read(position)

    stream = batches(made(1000, count), range(1000), geometry=GEOMETRY, batch_size=8)
    taken = 0
    for _ in range(20):
        next(stream)
        taken += 8
        # 16 threads at most; what was taken has been replaced.
        assert len(read) <= taken + 2 * 8 + 16
    stream.close()
    assert len(read) <= taken + 2 * 8 + 16


def test_leaving_early_ends_the_threads():
    before = threading.active_count()
    stream = batches(made(1000), range(1000), geometry=GEOMETRY, batch_size=8)
    next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() == before


def test_a_batch_without_images_tells_of_unreadable_ones():
    def torn(position):
        raise UnreadableImage("torn")

    (only,) = batches(made(3, torn), range(3), geometry=GEOMETRY, batch_size=2)
    assert only.filled == 0
    assert only.unreadable == tuple(Unreadable(f"image {i}", "torn") for i in range(3))


def test_files_bytes_and_pixels_are_the_same_to_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    (tmp_path / "torn.png").write_bytes(path.read_bytes()[:50])
    contents = [path, path.read_bytes(), pixels, b"", b"no image", tmp_path / "torn.png"]

    def read(position):
        return LabelledImage(f"form {position}", 0, contents[position])

    (batch,) = batches(made(6, read), range(6), geometry=GEOMETRY, batch_size=6)
    np.testing.assert_array_equal(batch.pixels[:3], np.stack([pixels] * 3))
    assert batch.filled == 3
    assert [image.name for image in batch.unreadable] == ["form 3", "form 4", "form 5"]
    assert batch.unreadable[0].reason == "the file is empty"
    assert batch.unreadable[1].reason == "not an image in a format that is read"
    assert batch.unreadable[2].reason.startswith("damaged or unreadable")
