"""MATLAB's files of versions 5 to 7.2: the part of the format that networks are stored in.

SciPy reads these files too, but takes whatever memory one asks for, and cells nested 20,000 deep
crash it. So here is a strict reader of what is needed: numbers, text, cells and structs, compressed
or not, in both byte orders. What else there is (objects, functions, sparse arrays) becomes None.

The format: https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

from __future__ import annotations

import dataclasses
import math
import struct
import zlib
from typing import Any, Literal

import numpy as np

from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.unreadable import Unreadable, quoted

__all__ = ["read_mat"]

_HEADER_LENGTH = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _TEXT = 1, 2, 4
_COMPLEX = 0x0800

# How numbers are stored, what they are when read, and how text is stored.
_NUMBERS = {
    **{1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"},
}
_CLASSES = {
    **{6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8"},
    **{15: "u8"},
}
_ENCODINGS = {1: "utf-8", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}

_MOST_VALUES = 200_000  # VGG-F has some 2,500, most of them names of classes
_MOST_DIMENSIONS = 32
_DEEPEST = 16


def read_mat(content: np.ndarray, allowance: Allowance) -> dict[str, Any]:
    """The variables of a file by name.

    Args:
      content: of the file, uint8 [n]; its byte order is the one that its header states.
      allowance: what is decompressed or converted is taken from it.

    Returns:
      For each variable an array with the dimensions that MATLAB has (a vector has two), text, a
      list of the values in a cell, a list of the dicts in a struct array (in the order of columns),
      or None for what is not read.

    Raises:
      Unreadable: cut short, contradicting itself, or larger than `allowance` lets it be.
    """
    order: Literal["<", ">"] = "<" if content[126:128].tobytes() == b"IM" else ">"
    reader = _Reader(order, allowance)
    variables: dict[str, Any] = {}
    position = _HEADER_LENGTH
    while position < len(content):
        element = reader.element(content, position)
        inner = element.data
        if element.kind == _COMPRESSED:
            inner = reader.inflate(element.data)
        elif element.kind != _MATRIX:
            raise _damaged("it holds something outside of its variables")
        name, value = reader.matrix(inner, depth=0)
        if name in variables:
            raise _damaged(f"it holds two variables {quoted(name)}")
        variables[name] = value
        position = element.end
    return variables


@dataclasses.dataclass(frozen=True)
class _Element:
    """A piece of a file: its kind, its bytes, and where the next one begins."""

    kind: int
    data: np.ndarray
    end: int


class _Reader:
    """The byte order, what may be taken, and how many values there have been."""

    def __init__(self, order: Literal["<", ">"], allowance: Allowance) -> None:
        self.order: Literal["<", ">"] = order
        self.allowance = allowance
        self.values = 0

    def words(self, data: np.ndarray, count: int) -> tuple[int, ...]:
        if len(data) < 4 * count:
            raise _damaged("it is cut short: was the download complete?")
        return struct.unpack(f"{self.order}{count}I", data[: 4 * count].tobytes())

    def element(self, content: np.ndarray, position: int) -> _Element:
        first, size = self.words(content[position : position + 8], 2)
        kind, start, end = first, position + 8, position + 8
        if first >> 16:  # at most four bytes, in place of the size
            kind, size, start = first & 0xFFFF, first >> 16, position + 4
            if size > 4:
                raise _damaged("a short piece of it is too long")
        else:
            end = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > len(content):
            raise _damaged("it is cut short: was the download complete?")
        return _Element(kind, content[start : start + size], end)

    def inflate(self, data: np.ndarray) -> np.ndarray:
        """The bytes of the one matrix in a compressed piece."""
        inflater = zlib.decompressobj()
        try:
            start = np.frombuffer(inflater.decompress(data.data, 8), np.uint8)
            kind, size = self.words(start, 2)
            if kind != _MATRIX:
                raise _damaged("it holds something outside of its variables")
            self.allowance.take(size, "a compressed variable")
            inflated = inflater.decompress(inflater.unconsumed_tail, size + 1)
        except zlib.error:
            raise _damaged("a variable of it cannot be decompressed") from None
        if len(inflated) != size or not inflater.eof:
            raise _damaged("a compressed variable does not have the size that it states")
        return np.frombuffer(inflated, np.uint8)

    def count(self, values: int) -> None:
        self.values += values
        if self.values > _MOST_VALUES:
            raise _damaged(f"it has more than {_MOST_VALUES:,} values")

    def matrix(self, content: np.ndarray, depth: int) -> tuple[str, Any]:
        """Name and value of what a matrix holds; any value of MATLAB's is one."""
        if depth > _DEEPEST:
            raise _damaged(f"it is nested more than {_DEEPEST} deep")
        self.count(1)
        if not len(content):
            return "", None  # an empty value in a cell or a struct
        flags = self.element(content, 0)
        dimensions = self.element(content, flags.end)
        name = self.element(content, dimensions.end)
        if len(dimensions.data) > 4 * _MOST_DIMENSIONS:
            raise _damaged(f"a value has more than {_MOST_DIMENSIONS} dimensions")
        shape = self.words(dimensions.data, len(dimensions.data) // 4)
        (flag,) = self.words(flags.data, 1)
        kind, inner = flag & 0xFF, content[name.end :]
        value: Any = None
        if kind == _CELL:
            value = self.cell(inner, math.prod(shape), depth)
        elif kind == _STRUCT:
            value = self.structs(inner, math.prod(shape), depth)
        elif kind == _TEXT:
            value = self.text(self.element(inner, 0))
        elif kind in _CLASSES and not flag & _COMPLEX:
            value = self.array(self.element(inner, 0), shape, np.dtype(_CLASSES[kind]))
        return name.data.tobytes().decode("latin1"), value

    def cell(self, content: np.ndarray, count: int, depth: int) -> list[Any]:
        self.count(count)
        values, position = [], 0
        for _ in range(count):
            element = self.element(content, position)
            if element.kind != _MATRIX:
                raise _damaged("a cell holds something that is no value")
            values.append(self.matrix(element.data, depth + 1)[1])
            position = element.end
        return values

    def structs(self, content: np.ndarray, count: int, depth: int) -> list[dict[str, Any]]:
        length_element = self.element(content, 0)
        names_element = self.element(content, length_element.end)
        (length,) = self.words(length_element.data, 1)
        text = names_element.data.tobytes()
        if not length or len(text) % length:
            raise _damaged("the names of a struct's fields are cut short")
        self.count(len(text) // length)
        names = [
            text[start : start + length].partition(b"\0")[0].decode("latin1")
            for start in range(0, len(text), length)
        ]
        self.count(count)
        values = self.cell(content[names_element.end :], count * len(names), depth)
        return [
            dict(zip(names, values[start : start + len(names)], strict=True))
            for start in range(0, count * len(names), max(len(names), 1))
        ]

    def text(self, element: _Element) -> str:
        if element.kind not in _ENCODINGS:
            raise _damaged("it has text of an unknown kind")
        encoding = _ENCODINGS[element.kind]
        if encoding != "utf-8":
            encoding += "-le" if self.order == "<" else "-be"
        return element.data.tobytes().decode(encoding, "replace")

    def array(self, element: _Element, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        if element.kind not in _NUMBERS:
            raise _damaged("it has numbers of an unknown kind")
        stored = np.dtype(_NUMBERS[element.kind]).newbyteorder(self.order)
        if math.prod(shape) * stored.itemsize != len(element.data):
            raise _damaged(
                f"an array claims the shape {shape}, but {len(element.data):,} bytes are there"
            )
        self.allowance.take(math.prod(shape) * dtype.itemsize, "an array")
        try:
            array = np.ndarray(shape, stored, element.data.data, order="F")
        except ValueError:  # beside a 0, lengths may overflow together
            raise _damaged("an array has a shape that none can have") from None
        if stored != dtype or not array.flags.aligned:
            array = array.astype(dtype)
        array.flags.writeable = False
        return array


def _damaged(what: str) -> Unreadable:
    return Unreadable(f"is a damaged MATLAB file: {what}")
