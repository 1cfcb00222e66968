"""A data set that a network learns in a few steps: the class is the dominant colour."""

import numpy as np
import pytest

COLOURS = [(220, 40, 40), (40, 200, 40), (40, 60, 220)]


def make_data(count, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, len(COLOURS), count)
    noise = random.normal(0, 25, (count, 32, 32, 3))
    images = np.asarray(COLOURS)[labels][:, None, None] + noise
    return images.clip(0, 255).astype(np.uint8), labels


def write_binary(folder, *, train, test):
    """CIFAR-10's binary files with `train` and `test` images in all."""
    folder.mkdir(parents=True)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)]
    parts = np.array_split(np.arange(train), 5)
    sets = [
        (name, make_data(len(part), i))
        for i, name, part in zip(range(5), names, parts, strict=True)
    ]
    for name, (images, labels) in [*sets, ("test_batch.bin", make_data(test, 99))]:
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        records = np.concatenate([labels[:, None].astype(np.uint8), planes], 1)
        (folder / name).write_bytes(records.tobytes())
    return folder


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """The folder of the made data: 48 images to train on, 30 to test with."""
    return write_binary(tmp_path_factory.mktemp("colours") / "data", train=48, test=30)
