"""Which file is what, told by its content; and files that are no weights."""

import gzip
import io
import json
import os
import tarfile

import ml_dtypes
import numpy as np
import pytest
import scipy.io
from checkpoint_files import Checkpoint
from safetensors.numpy import save

from jaxinterp.errors import UserError
from jaxinterp.weights.read import read_weights

VALUES = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype(np.float32)


def torch_file(legacy):
    checkpoint = Checkpoint(legacy=legacy)
    return checkpoint.file({"state_dict": {"module.conv1.weight": checkpoint.tensor(VALUES)}})


def npz_file():
    out = io.BytesIO()
    np.savez(out, **{"conv1.weight": VALUES})
    return out.getvalue()


def mat_file():
    layers = np.empty((1, 1), object)
    layers[0, 0] = {"name": "conv1", "type": "conv", "filters": VALUES, "biases": np.zeros(0)}
    out = io.BytesIO()
    scipy.io.savemat(out, {"layers": layers})
    return out.getvalue()


FILES = {
    "torch zip": torch_file(legacy=False),
    "torch legacy": torch_file(legacy=True),
    "safetensors": save({"module.conv1.weight": VALUES}, metadata={"format": "pt"}),
    "npz": npz_file(),
    "matconvnet": mat_file(),
}


@pytest.mark.parametrize("format", FILES)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz", ".mat", ""])
def test_the_content_tells_the_format(tmp_path, format, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(FILES[format])
    found = read_weights(str(path))
    assert found.path == path
    assert found.format == format
    assert found.layout == ("hwio" if format in ("npz", "matconvnet") else "torch")
    assert list(found.arrays) == ["conv1.weight"]
    np.testing.assert_array_equal(found.arrays["conv1.weight"], VALUES)
    assert found.metadata == ({"format": "pt"} if format == "safetensors" else {})
    assert found.mean_image is None


@pytest.mark.parametrize("format", FILES)
def test_arrays_outlive_the_reading(tmp_path, format):
    path = tmp_path / "weights"
    path.write_bytes(FILES[format])
    array = read_weights(path).arrays["conv1.weight"]
    path.unlink()
    np.testing.assert_array_equal(array, VALUES)


TYPES = [
    *(np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.bool_),
    *(np.int64, np.int32, np.int16, np.int8, np.uint64, np.uint32, np.uint16, np.uint8),
]


@pytest.mark.parametrize("dtype", TYPES)
def test_safetensors_keep_their_types(tmp_path, dtype):
    path = tmp_path / "w.safetensors"
    values = {
        "a.weight": VALUES.astype(dtype),
        "a.bias": np.asarray(1, dtype),
        "none": np.zeros((0, 3), dtype),
    }
    path.write_bytes(save(values))
    found = read_weights(path).arrays
    assert set(found) == set(values)
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert found[name].tobytes() == value.tobytes()
        assert found[name].flags.aligned


def safetensors(header, data=bytes(16)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


ENTRY = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
BROKEN_SAFETENSORS = {
    "10^12 numbers": ({"a": ENTRY | {"shape": [10**6, 10**6]}}, "not a readable safetensors file"),
    "beyond the end": ({"a": ENTRY | {"data_offsets": [0, 17]}}, "not a readable safetensors file"),
    "8-bit": ({"a": ENTRY | {"dtype": "F8_E4M3", "shape": [16]}}, "'a' of type 'F8_E4M3'"),
    "control characters": ({"a": ENTRY | {"dtype": "\x1b[2J"}}, r"`\?\[2J`"),
    "twice": (b'{"a":%s,"a":%s}' % ((json.dumps(ENTRY).encode(),) * 2), "safetensors file"),
    "nested": (b'{"a":' + b"[" * 100_000, "not a readable safetensors file"),
}  # fmt: skip


@pytest.mark.parametrize(("header", "reason"), BROKEN_SAFETENSORS.values(), ids=BROKEN_SAFETENSORS)
def test_broken_safetensors_are_named(tmp_path, header, reason):
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensors(header))
    with pytest.raises(UserError, match=reason):
        read_weights(path)


def tar_of(name):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        file.addfile(tarfile.TarInfo(name))
    return out.getvalue()


def npy():
    out = io.BytesIO()
    np.save(out, VALUES)
    return out.getvalue()


def zip_of(name):
    checkpoint = Checkpoint()
    return checkpoint.file({}, folder="x/").replace(b"x/data.pkl", name.encode().rjust(10, b"x"))


# What lies about under the name of weights, and what is said of it.
OTHERS = {
    "web page": (b"<!DOCTYPE html><html><title>404</title>" * 9, "looks like a web page"),
    "web page with blanks": (b"\xef\xbb\xbf\r\n <HTML lang='en'>", "looks like a web page"),
    "message of a store": (b"<?xml version='1.0'?><Error><Code>AccessDenied", "like a web page"),
    "message in JSON": (b'{"error": "not found"}', "is text, not weights"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "git lfs pull"),
    "blanks": (b" \n\n", "nothing but blanks"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(500), "an HDF5 file"),
    "MATLAB 7.3": (b"MATLAB 7.3 MAT-file, Platform".ljust(512), "save -v7"),
    "GGUF": (b"GGUF\3\0\0\0" + bytes(99), "GGUF"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + bytes(99), "TensorFlow Lite"),
    "TensorFlow": (b"\x08\x01\x12\x9d\x03\n\x0bPlaceholder", "TensorFlow"),
    "checkpoint of TensorFlow": (bytes(40) + bytes.fromhex("57fb808b247547db"), "TensorFlow"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0", "ONNX"),
    "one array": (npy(), "a single NumPy array without a name"),
    "gzip": (gzip.compress(VALUES.tobytes()), "is compressed"),
    "tar": (tar_of("weights.pth"), "is a tar archive: unpack it"),
    "PyTorch's first format": (tar_of("sys_info"), "first format"),
    "Keras 3": (zip_of("weights.h5"), "is a Keras file"),
    "document": (zip_of("word.xml"), "a zip archive of something else"),
    "empty zip": (b"PK\5\6" + bytes(18), "a zip archive of something else"),
    "zip cut short": (FILES["torch zip"][:-40], "cut short: was the download complete"),
    "text": (b"conv1 0.1 0.2\n" * 99, "is text, not weights"),
    "noise": (bytes(range(128, 256)) * 9, "not a weights file of a known format"),
    "zeros": (bytes(1000), "not a weights file of a known format"),
    "one byte": (b"\x80", "not a weights file of a known format"),
}


@pytest.mark.parametrize(("content", "reason"), OTHERS.values(), ids=OTHERS)
def test_other_files_are_told_apart(tmp_path, content, reason):
    path = tmp_path / "resnet18.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as refusal:
        read_weights(path)
    assert str(refusal.value).startswith(f"{path} ")
    assert str(refusal.value).endswith("?" if "cut short" in reason else ".")


def test_a_missing_file_a_folder_and_an_empty_file_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no weights file .*absent\.pth"):
        read_weights(tmp_path / "absent.pth")
    with pytest.raises(UserError, match="is a folder"):
        read_weights(tmp_path)
    (tmp_path / "empty.pth").touch()
    with pytest.raises(UserError, match=r"empty\.pth is empty"):
        read_weights(tmp_path / "empty.pth")
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(tmp_path / ("long" * 100))
    with pytest.raises(UserError, match="no weights file"):
        read_weights(tmp_path / "a\0b")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="not an ordinary file"):
        read_weights(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(FILES["npz"])
    path.chmod(0)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        read_weights(path)


def test_a_file_without_arrays_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensors({}, b""))
    with pytest.raises(UserError, match="holds no arrays"):
        read_weights(path)
