"""MATLAB's files: what SciPy writes is read as SciPy reads it, in both byte orders."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.mat_file import read_mat
from jaxinterp.weights.formats.unreadable import Unreadable


def read(content):
    return read_mat(np.frombuffer(content, np.uint8), Allowance(len(content)))


def saved(variables, *, compressed=False):
    out = io.BytesIO()
    scipy.io.savemat(out, variables, do_compression=compressed)
    return out.getvalue()


class Writer:
    """Pieces of a file, in either byte order."""

    def __init__(self, order):
        self.order = order

    def piece(self, kind, data):
        return struct.pack(f"{self.order}II", kind, len(data)) + data + bytes(-len(data) % 8)

    def short(self, kind, data):
        return struct.pack(f"{self.order}I", len(data) << 16 | kind) + data.ljust(4, b"\0")

    def numbers(self, kind, code, values):
        return self.piece(kind, np.asarray(values, f"{self.order}{code}").tobytes())

    def matrix(self, kind, shape, inner, *, name=b"", flags=0):
        head = self.numbers(6, "u4", [kind | flags, 0]) + self.numbers(5, "i4", shape)
        return self.piece(14, head + self.piece(1, name) + inner)

    def file(self, *pieces):
        mark = b"IM" if self.order == "<" else b"MI"
        version = struct.pack(f"{self.order}H", 0x0100)
        return b"MATLAB 5.0 MAT-file".ljust(124) + version + mark + b"".join(pieces)


CODES = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_arrays_are_read_as_scipy_reads_them(code, compressed):
    values = np.random.default_rng(0).integers(0, 100, (2, 3, 4, 5)).astype(code)
    content = saved({"a": values, "b": values[0, 0, 0], "none": values[:0]}, compressed=compressed)
    expected = scipy.io.loadmat(io.BytesIO(content))
    found = read(content)
    assert set(found) == {"a", "b", "none"}
    for name, value in found.items():
        assert value.dtype == expected[name].dtype
        assert value.shape == expected[name].shape
        assert value.flags.aligned
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize("compressed", [False, True])
def test_text_cells_and_structs(compressed):
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = {"name": "conv1", "stride": [4.0, 4.0]}, "café"
    structs = np.array([(1.0, "a"), (2.0, "b")], dtype=[("number", object), ("text", object)])
    content = saved({"cell": cell, "structs": structs, "empty": {}}, compressed=compressed)
    found = read(content)
    (layer,), text = found["cell"]
    assert layer["name"] == "conv1"
    assert layer["stride"].tolist() == [[4, 4]]
    assert text == "café"
    assert [struct["text"] for struct in found["structs"]] == ["a", "b"]
    assert [struct["number"].item() for struct in found["structs"]] == [1, 2]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compressed", [False, True])
def test_both_byte_orders_and_numbers_stored_smaller_than_they_are(order, compressed):
    """MATLAB stores a double that fits into a byte as one, and little data within its tag."""
    write = Writer(order)
    pieces = [
        write.matrix(6, (3, 1), write.short(2, b"\1\2\3"), name=b"small"),
        write.matrix(7, (2, 2), write.numbers(7, "f4", [1, 2, 3, 4]), name=b"single"),
        write.matrix(4, (1, 2), write.piece(17, "hé".encode(f"utf-16-{'lb'[order == '>']}e")),
                     name=b"text"),
        write.matrix(2, (1, 1), write.short(5, struct.pack(f"{order}i", 8))
                     + write.piece(1, b"a".ljust(8, b"\0") + b"b".ljust(8, b"\0"))
                     + write.matrix(12, (1, 1), write.numbers(1, "i1", [-7]))
                     + write.piece(14, b""),
                     name=b"struct"),
    ]  # fmt: skip
    if compressed:
        deflated = [zlib.compress(piece) for piece in pieces]
        pieces = [struct.pack(f"{order}II", 15, len(data)) + data for data in deflated]
    content = write.file(*pieces)
    found = read(content)
    assert found["small"].dtype == np.float64
    assert found["small"].tolist() == [[1], [2], [3]]
    assert found["single"].dtype == np.float32
    assert found["single"].tolist() == [[1, 3], [2, 4]]
    assert found["text"] == "hé"
    assert found["struct"][0]["b"] is None
    assert found["struct"][0]["a"].tolist() == [[-7]]
    if not (order == ">" and compressed):  # SciPy itself cannot read that
        expected = scipy.io.loadmat(io.BytesIO(content))
        for name in ("small", "single"):
            np.testing.assert_array_equal(found[name], expected[name])


def test_what_networks_do_not_need_becomes_nothing():
    content = saved({"sparse": scipy.sparse.eye_array(3).tocsc(), "complex": np.array([1j])})
    assert read(content) == {"sparse": None, "complex": None}


WRITE = Writer("<")
NUMBERS = WRITE.numbers(9, "f8", [1, 2])


def nested(depth):
    inner = WRITE.matrix(6, (1, 2), NUMBERS)
    for _ in range(depth):
        inner = WRITE.matrix(1, (1, 1), inner)
    return inner


def bomb(size):
    data = zlib.compress(struct.pack("<II", 14, size) + bytes(size))
    return struct.pack("<II", 15, len(data)) + data


BROKEN = {
    "10^12 numbers": (WRITE.matrix(6, (10**6, 10**6), NUMBERS), "claims the shape"),
    "vast and empty": (
        WRITE.matrix(6, (0, *[2**31 - 1] * 9), WRITE.piece(9, b"")),
        "a shape that none can have",
    ),
    "33 dimensions": (WRITE.matrix(6, (1,) * 33, NUMBERS), "more than 32 dimensions"),
    "10^12 values in a cell": (WRITE.matrix(1, (10**6, 10**6), b""), "more than 200,000 values"),
    "10^9 structs without fields": (
        WRITE.matrix(2, (10**9, 1), WRITE.numbers(5, "i4", [8]) + WRITE.piece(1, b"")),
        "more than 200,000 values",
    ),
    "fields without a length": (
        WRITE.matrix(2, (1, 1), WRITE.numbers(5, "i4", [0]) + WRITE.piece(1, b"abc")),
        "names of a struct's fields",
    ),
    "nested": (nested(50), "nested more than 16 deep"),
    "numbers of another kind": (WRITE.matrix(6, (1, 2), WRITE.piece(16, bytes(16))), "numbers of"),
    "text of another kind": (WRITE.matrix(4, (1, 2), WRITE.piece(9, bytes(16))), "text of an"),
    "no variable": (NUMBERS, "outside of its variables"),
    "a number in a cell": (WRITE.matrix(1, (1, 1), NUMBERS), "no value"),
    "compressed numbers": (
        struct.pack("<II", 15, len(zlib.compress(NUMBERS))) + zlib.compress(NUMBERS),
        "outside of its variables",
    ),
    "not compressed": (struct.pack("<II", 15, 8) + bytes(8), "cannot be decompressed"),
    "a bomb": (bomb(2**27), "claims 134,217,728 bytes"),
    "two of one name": (WRITE.matrix(6, (1, 2), NUMBERS, name=b"a") * 2, "two variables 'a'"),
}  # fmt: skip


@pytest.mark.parametrize(("piece", "reason"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_named(piece, reason):
    with pytest.raises(Unreadable, match=reason):
        read(WRITE.file(piece))


def test_depth_that_networks_have_is_read():
    assert read(WRITE.file(nested(10)))


@pytest.mark.parametrize("compressed", [False, True])
def test_every_beginning_is_refused_or_ends_between_variables(compressed):
    variables = {"a": np.arange(9.0), "b": {"c": "text"}}
    whole = saved(variables, compressed=compressed)
    ends = 0
    for length in range(128, len(whole)):
        with contextlib.suppress(Unreadable):
            assert set(read(whole[:length])) < set(variables)
            ends += 1
    assert ends <= 9  # nothing, or the first variable, whose last bytes may be padding


def test_an_uncompressed_array_is_a_view_of_the_file():
    content = np.frombuffer(saved({"a": np.ones((50, 50))}), np.uint8)
    assert np.shares_memory(read_mat(content, Allowance(0))["a"], content)
