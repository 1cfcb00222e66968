"""CIFAR-10 in each form, made here of random pixels; and what is said of broken ones."""

import io
import shutil
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from jaxinterp.data.cifar10 import CLASS_NAMES, load_cifar10
from jaxinterp.errors import UserError

TRAIN_FILES = [f"data_batch_{i}.bin" for i in range(1, 6)]


def make_images(count, seed):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return images, random.integers(0, 10, count)


def write_batch(path, images, labels):
    """As on CIFAR-10's page: a label, then 1,024 bytes each of red, green and blue, row by row."""
    with open(path, "wb") as file:
        for image, label in zip(images, labels, strict=True):
            file.write(bytes([label]))
            for channel in range(3):
                file.write(image[:, :, channel].tobytes())


@pytest.fixture
def binary(tmp_path):
    """The folder that the binary archive unpacks to, with 3 images a file."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i, name in enumerate([*TRAIN_FILES, "test_batch.bin"]):
        write_batch(folder / name, *make_images(3, i))
    (folder / "batches.meta.txt").write_text("\n".join(CLASS_NAMES))
    return folder


def check_splits(path):
    train, test = load_cifar10(path, "train"), load_cifar10(path, "test")
    parts = [make_images(3, i) for i in range(6)]
    np.testing.assert_array_equal(train.images, np.concatenate([part[0] for part in parts[:5]]))
    np.testing.assert_array_equal(train.labels, np.concatenate([part[1] for part in parts[:5]]))
    np.testing.assert_array_equal(test.images, parts[5][0])
    np.testing.assert_array_equal(test.labels, parts[5][1])
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int32
    assert train.images.flags.c_contiguous


def test_the_binary_folder_and_the_one_above(binary):
    check_splits(binary)
    check_splits(binary.parent)


def archive(path, folder):
    with tarfile.open(path, "w:gz") as file:
        file.add(folder, folder.name)
    return path


def test_the_binary_archive(binary, tmp_path):
    check_splits(archive(tmp_path / "cifar-10-binary.tar.gz", binary))


@pytest.mark.parametrize("cut", [1, 3072])
def test_a_record_cut_short_is_named(binary, cut):
    path = binary / "data_batch_4.bin"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(UserError, match=r"data_batch_4\.bin has \d+ bytes, no multiple of 3073"):
        load_cifar10(binary, "train")
    assert len(load_cifar10(binary, "test").labels) == 3


def test_an_empty_batch_is_named(binary):
    (binary / "test_batch.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"test_batch\.bin has 0 bytes"):
        load_cifar10(binary, "test")


def test_a_missing_batch_is_named(binary, tmp_path):
    (binary / "data_batch_3.bin").unlink()
    with pytest.raises(UserError, match=r"cannot be read: .*data_batch_3\.bin"):
        load_cifar10(binary, "train")
    with pytest.raises(UserError, match=r"holds no data_batch_3\.bin"):
        load_cifar10(archive(tmp_path / "a.tar.gz", binary), "train")


def test_an_archive_cut_short_is_named(binary, tmp_path):
    path = archive(tmp_path / "cifar-10-binary.tar.gz", binary)
    whole = path.read_bytes()
    for share in (0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UserError, match=r"cifar-10-binary\.tar\.gz") as caught:
            load_cifar10(path, "train")
        assert "\n" not in str(caught.value)


def test_labels_of_another_data_set_are_refused(binary):
    images, labels = make_images(3, 0)
    write_batch(binary / "test_batch.bin", images, labels + 10)
    with pytest.raises(UserError, match="labels other than 0 to 9"):
        load_cifar10(binary, "test")


def test_the_archive_for_python_is_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return (sys.exit, (3,))

    import pickle

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"holds no data_batch_1\.bin: take the binary archive"):
        load_cifar10(archive(tmp_path / "cifar-10-python.tar.gz", folder), "train")
    for path in (folder, tmp_path):
        with pytest.raises(UserError, match="archive of pickles; take the binary one"):
            load_cifar10(path, "test")


@pytest.mark.parametrize("name", ["absent", "cifar10", "empty"])
def test_where_there_is_nothing_the_forms_are_named(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"No CIFAR-10 at .*{name}: give cifar-10-binary.tar.gz"):
        load_cifar10(tmp_path / name, "train")


def test_another_file_is_not_taken_for_the_archive(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(UserError, match="No CIFAR-10 at"):
        load_cifar10(path, "train")


def test_an_unknown_split_is_named(binary):
    with pytest.raises(UserError, match="splits train and test, not 'validation'"):
        load_cifar10(binary, "validation")


@pytest.fixture
def mosaics(tmp_path):
    """A folder of one mosaic a split: 40 rows of 25 images; each image is of one colour."""
    folder = tmp_path / "mosaics"
    folder.mkdir()
    colours = np.random.default_rng(0).integers(0, 256, (40, 25, 3), dtype=np.uint8)
    pixels = np.repeat(np.repeat(colours, 32, 0), 32, 1)
    Image.fromarray(pixels).save(folder / "test_00.webp", lossless=True)
    Image.fromarray(255 - pixels).save(folder / "train_00.webp", lossless=True)
    labels = np.arange(1000) % 10
    np.savez(folder / "labels.npz", y_train=labels[::-1], y_test=labels)
    return folder, colours.reshape(-1, 3)


def test_mosaics_are_read_row_by_row(mosaics):
    folder, colours = mosaics
    test, train = load_cifar10(folder, "test"), load_cifar10(folder, "train")
    expected = np.broadcast_to(colours[:, None, None], (1000, 32, 32, 3))
    np.testing.assert_array_equal(test.images, expected)
    np.testing.assert_array_equal(train.images, 255 - expected)
    np.testing.assert_array_equal(test.labels, np.arange(1000) % 10)
    np.testing.assert_array_equal(train.labels, test.labels[::-1])


def test_broken_mosaics_are_named(mosaics):
    folder, _ = mosaics
    path = folder / "test_00.webp"
    whole = path.read_bytes()
    shutil.copy(path, folder / "test_01.webp")
    with pytest.raises(UserError, match="holds 2000 test images but 1000 labels"):
        load_cifar10(folder, "test")
    (folder / "test_01.webp").unlink()
    path.write_bytes(whole[:20])
    with pytest.raises(UserError, match=r"test_00\.webp cannot be read"):
        load_cifar10(folder, "test")
    Image.new("RGB", (64, 64)).save(path)
    with pytest.raises(UserError, match=r"test_00\.webp is no mosaic of 40 x 25"):
        load_cifar10(folder, "test")
    path.unlink()
    with pytest.raises(UserError, match="holds 0 test images but 1000 labels"):
        load_cifar10(folder, "test")
    np.savez(folder / "labels.npz", other=np.zeros(1))
    with pytest.raises(UserError, match=r"labels\.npz holds no y_test"):
        load_cifar10(folder, "test")
    (folder / "labels.npz").write_bytes(b"no zip")
    with pytest.raises(UserError, match="cannot be read"):
        load_cifar10(folder, "test")


@pytest.fixture
def prepared(tmp_path):
    """A set as TFDS prepares it (array_record), of 4 and 3 images, written without TensorFlow."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2 as feature

    def data(value):
        return feature.Feature(bytes_list=feature.BytesList(value=[value]))

    builder = tfds.builder("cifar10", data_dir=tmp_path, file_format="array_record")
    (tmp_path / "cifar10" / str(builder.version)).mkdir(parents=True)
    splits = []
    for seed, (split, count) in enumerate({"train": 4, "test": 3}.items()):
        files = tfds.core.ShardedFileTemplate(
            data_dir=builder.data_dir,
            dataset_name="cifar10",
            split=split,
            filetype_suffix="array_record",
        )
        writer = ArrayRecordWriter(str(files.sharded_filepaths(1)[0]), "group_size:1")
        for i, (image, label) in enumerate(zip(*make_images(count, seed), strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            number = feature.Feature(int64_list=feature.Int64List(value=[int(label)]))
            features = {
                "id": data(f"{split}_{i}".encode()),
                "image": data(png.getvalue()),
                "label": number,
            }
            example = tf_example_pb2.Example(features=feature.Features(feature=features))
            writer.write(example.SerializeToString())
        writer.close()
        info = tfds.core.SplitInfo(
            name=split, shard_lengths=[count], num_bytes=1, filename_template=files
        )
        splits.append(info)
    builder.info.set_splits(tfds.core.SplitDict(splits))
    builder.info.write_to_directory(builder.data_dir)
    return tmp_path


def test_a_prepared_tfds_set_is_read_without_tensorflow(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # importing it would fail
    for seed, (split, count) in enumerate({"train": 4, "test": 3}.items()):
        images, labels = make_images(count, seed)
        for path in (prepared, prepared / "cifar10"):
            data = load_cifar10(path, split)
            np.testing.assert_array_equal(data.images, images)
            np.testing.assert_array_equal(data.labels, labels)
            assert data.images.dtype == np.uint8
            assert data.labels.dtype == np.int32


def test_a_broken_tfds_set_is_named(prepared):
    for path in prepared.rglob("*.array_record*"):
        path.unlink()
    with pytest.raises(UserError, match=r"TFDS set cifar10 in .* cannot be read") as caught:
        load_cifar10(prepared, "test")
    assert "\n" not in str(caught.value)
