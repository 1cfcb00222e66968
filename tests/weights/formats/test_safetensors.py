"""Files of weights: what is written is read back, and broken files are named."""

import errno
import json
import os

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxinterp.errors import UserError
from jaxinterp.weights.formats.safetensors_file import read_safetensors, write_safetensors


def arrays(seed=0):
    random = np.random.default_rng(seed)
    return {
        "features.0.weight": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "features.0.bias": random.normal(size=4).astype(np.float32),
        "scalar": np.float32(2.5),
    }


def test_a_file_is_read_back(tmp_path):
    path = tmp_path / "below" / "weights.safetensors"
    values = arrays()
    write_safetensors(path, values, metadata={"model": "vgg", "note": "line\nbreak"})
    found, metadata = read_safetensors(path)
    assert set(found) == set(values)
    for name, value in values.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == value.shape
        np.testing.assert_array_equal(found[name], np.float32(np.float16(value)))
        # 11 significant bits.
        np.testing.assert_allclose(found[name], value, rtol=2**-11)
    assert metadata == {"model": "vgg", "note": "line\nbreak"}
    assert os.listdir(path.parent) == [path.name]  # the unfinished file is gone


def test_single_precision_is_exact(tmp_path):
    values = arrays()
    write_safetensors(tmp_path / "w.safetensors", values, dtype=np.float32)
    found, metadata = read_safetensors(tmp_path / "w.safetensors")
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
    assert metadata == {}


def test_equal_weights_make_equal_files(tmp_path):
    metadata = {key: f"{key} é" for key in "hgfedcba"}
    contents = set()
    for i in range(5):
        path = tmp_path / f"{i}.safetensors"
        write_safetensors(path, arrays(), metadata=metadata)
        assert read_safetensors(path)[1] == metadata
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_arrays_that_are_not_contiguous_keep_their_order(tmp_path):
    value = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    write_safetensors(tmp_path / "w.safetensors", {"a": value.T, "b": value[:, ::2]})
    found, _ = read_safetensors(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(found["a"], value.T)
    np.testing.assert_array_equal(found["b"], value[:, ::2])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_every_floating_point_type_is_read_as_single(tmp_path, dtype):
    value = np.asarray([[1.5, -2.25], [0, 96]], dtype)
    save_file({"a": value, "count": np.asarray(7)}, tmp_path / "w.safetensors")
    found, _ = read_safetensors(tmp_path / "w.safetensors")
    assert found["a"].dtype == np.float32
    np.testing.assert_array_equal(found["a"], value.astype(np.float32))
    assert found["count"] == 7


def test_a_value_too_large_is_named_and_nothing_is_written(tmp_path):
    values = arrays() | {"classifier.0.bias": np.asarray([1.0, 7e4], np.float32)}
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"older")
    with pytest.raises(UserError, match=r"classifier\.0\.bias .* float16 cannot hold"):
        write_safetensors(path, values)
    assert path.read_bytes() == b"older"
    write_safetensors(path, values, dtype=np.float32)
    assert read_safetensors(path)[0]["classifier.0.bias"][1] == np.float32(7e4)


def test_a_value_that_is_not_a_number_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"features\.3\.bias"):
        write_safetensors(tmp_path / "w", {"features.3.bias": np.asarray([np.nan, 0])})


def test_a_disk_that_runs_full_leaves_nothing_and_is_named(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"older")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"No space left on device: .*w\.safetensors'"):
        write_safetensors(path, arrays())
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]
    assert path.read_bytes() == b"older"


HEADER = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
WHOLE = len(HEADER).to_bytes(8, "little") + HEADER + bytes(16)
BROKEN = {
    "empty": b"",
    "a web page": b"<!DOCTYPE html><html><head><title>404</title></head></html>" * 9,
    "a zip": b"PK\x03\x04" + bytes(100),
    "cut in the data": WHOLE[:-3],
    "cut in the header": WHOLE[:20],
    "too long": WHOLE + b"more",
    "another header": (8).to_bytes(8, "little") + b"not json",
    "header of bytes": (8).to_bytes(8, "little") + bytes(range(248, 256)),
}


def test_the_file_that_is_broken_below_is_whole(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(WHOLE)
    np.testing.assert_array_equal(read_safetensors(tmp_path / "w.safetensors")[0]["a"], np.zeros(4))


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.safetensors is not a readable safetensors file"):
        read_safetensors(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no weights file .*absent\.safetensors"):
        read_safetensors(tmp_path / "absent.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder is a folder"):
        read_safetensors(tmp_path / "folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, arrays())
    path.chmod(0)
    with pytest.raises(UserError, match=r"w\.safetensors is not a readable"):
        read_safetensors(path)
