"""NumPy's `.npz`: names as PyTorch's or Flax's, and nothing taken on trust."""

import io
import zipfile

import numpy as np
import pytest

from jaxinterp.errors import UserError
from jaxinterp.weights.read import read_weights


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "weights.npz"
        path.write_bytes(content)
        return read_weights(path)

    return read


def npz(arrays, *, compressed=False):
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


def npz_of(header, data=b"", *, start=b"\x93NUMPY\1\0", name="conv1.weight"):
    """A `.npz` of one array with a header of one's own."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        length = len(header).to_bytes(2, "little")
        file.writestr(f"{name}.npy", start + length + header.encode() + data)
    return out.getvalue()


def kernel(dtype=np.float32):
    return np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(dtype)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i8", ">i2", "u1", "?"])
def test_arrays_are_read_as_numpy_reads_them(read, compressed, dtype):
    values = {
        "conv1.weight": kernel(dtype),
        "conv1.bias": kernel(dtype)[0, 0, 0],
        "fc.weight": np.asfortranarray(kernel(dtype)[:, :, 0, 0]),
        "scale": np.asarray(kernel(dtype)[0, 0, 0, 0]),
        "none": kernel(dtype)[:0],
    }
    found = read(npz(values, compressed=compressed))
    assert found.format == "npz"
    assert found.layout == "hwio"
    assert set(found.arrays) == set(values)
    for name, value in values.items():
        assert found.arrays[name].dtype == value.dtype.newbyteorder("=")
        assert found.arrays[name].dtype.isnative
        assert found.arrays[name].flags.aligned
        np.testing.assert_array_equal(found.arrays[name], value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1.weight", "conv1.weight"),
        ("conv1/weight", "conv1.weight"),
        ("conv1/kernel", "conv1.weight"),
        ("params/conv1/kernel", "conv1.weight"),
        ("params.layer1.0.conv1.kernel", "layer1.0.conv1.weight"),
        ("params/bn1/scale", "bn1.weight"),
        ("params/bn1/bias", "bn1.bias"),
        ("batch_stats/bn1/mean", "bn1.running_mean"),
        ("batch_stats/bn1/var", "bn1.running_var"),
        ("bn1.running_mean", "bn1.running_mean"),
        ("module.conv1.weight", "conv1.weight"),
        ("scale", "scale"),
    ],
)
def test_names_become_those_of_pytorch(read, name, expected):
    assert list(read(npz({name: kernel()})).arrays) == [expected]


def test_two_names_for_one_parameter_are_refused(read):
    with pytest.raises(UserError, match=r"two arrays that mean 'conv1\.weight'"):
        read(npz({"conv1.weight": kernel(), "conv1/kernel": kernel()}))


def test_arrays_without_names_are_refused(read):
    out = io.BytesIO()
    np.savez(out, kernel(), kernel())
    with pytest.raises(UserError, match="arrays without names"):
        read(out.getvalue())


@pytest.mark.parametrize("value", [[None], ["text"], [b"bytes"], [1j], [(1, 2.0)]])
def test_objects_and_other_types_are_refused(read, value):
    array = np.array(value, dtype="i4,f8" if value == [(1, 2.0)] else None)
    with pytest.raises(UserError, match=r"of NumPy's type|not an array as NumPy writes it"):
        read(npz({"conv1.weight": array}))


HEADERS = {
    "10^12 numbers": ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }", 4),
    "too many": ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 4),
    "too few": ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 5),
    "vast and empty": (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 999999999999999999, 99999), }",
        0,
    ),
    "64 dimensions": (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'1, ' * 64}), }}",
        4,
    ),
    "many digits": (f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 3000},), }}", 4),
    "digits without an end": (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 3000}x), }}",
        4,
    ),
    "no commas": ("{'descr': '<f4', 'fortran_order': False, 'shape': (1 1), }", 4),
    "negative": ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4),
    "a program": ("{'descr': __import__('os').system('true'), 'shape': ()}", 4),
    "nested": ("{" * 4000, 0),
    "nothing": ("", 0),
}


@pytest.mark.parametrize(("header", "length"), HEADERS.values(), ids=HEADERS)
def test_a_header_that_does_not_fit_is_refused(read, header, length):
    with pytest.raises(UserError, match=r"is damaged: 'conv1\.weight'"):
        read(npz_of(header, bytes(length)))


@pytest.mark.parametrize("start", [b"\x93NUMPY\3\0", b"\x93NUMPX\1\0", b"\x93NUMPY\0\0", b""])
def test_other_versions_are_refused(read, start):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }"
    with pytest.raises(UserError, match="not an array as NumPy writes it"):
        read(npz_of(header, bytes(4), start=start))


def test_version_2_and_integers_of_python_2_are_read(read):
    header = "{'descr': '<i4', 'fortran_order': True, 'shape': (2L, 3L), }"
    start = b"\x93NUMPY\2\0"
    content = npz_of("\0\0" + header, np.arange(6, dtype=np.int32).tobytes(), start=start)
    # The length has four bytes here; `npz_of` counted the two that it put before the header.
    content = content.replace(
        start + (len(header) + 2).to_bytes(2, "little"), start + len(header).to_bytes(2, "little")
    )
    content = without_checksums(content)
    found = read(content).arrays["conv1.weight"]
    np.testing.assert_array_equal(found, np.arange(6).reshape(2, 3, order="F"))


def without_checksums(content):
    content = bytearray(content)
    for mark, offset in ((b"PK\3\4", 14), (b"PK\1\2", 16)):
        place = content.index(mark)
        content[place + offset : place + offset + 4] = bytes(4)
    return bytes(content)


def test_a_bomb_is_refused(read):
    with pytest.raises(UserError, match=r"bytes for 'conv1\.weight\.npy'"):
        read(npz({"conv1.weight": np.zeros(2**25, np.float32)}, compressed=True))
