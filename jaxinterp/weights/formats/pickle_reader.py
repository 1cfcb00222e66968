"""A pickle is a program; this machine runs the part of it that can only build plain data.

Python's own `pickle.Unpickler` imports whatever a file names and calls it. Here nothing is ever
imported or called because a file names it: a name is looked up in the table of `pickle_names`,
which leads to functions of ours that build None, numbers, text, bytes, plain containers, and
descriptions of tensors whose bytes are read later. Every other name ends the reading.

The machine is a loop with a stack of its own, so no nesting is too deep for it. Each operation is a
step, and so is each element, or 32 bytes, that one copies; the number of steps and the length of
the pickle are bounded, and with them time and memory.

The operations are those of protocols 2 to 5: https://peps.python.org/pep-0307/,
https://peps.python.org/pep-3154/; the standard library's `pickletools` documents each.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from jaxinterp.weights.formats.pickle_names import (
    Attributes,
    Name,
    NumpyArray,
    NumpyType,
    check_key,
    find_name,
)
from jaxinterp.weights.formats.unreadable import Unreadable, quoted

__all__ = ["MOST_BYTES", "MOST_STEPS", "PersistentLoad", "read_pickle"]

MOST_STEPS = 500_000
"""A ResNet-152 with its optimiser takes about 50,000."""

MOST_BYTES = 64 * 2**20
"""Of a pickle; the values of tensors lie outside of it."""

_LONGEST_INTEGER = 64
_LONGEST_NAME = 1024

PersistentLoad = Callable[[tuple[Any, ...]], Any]


def read_pickle(
    content: memoryview, start: int = 0, *, persistent_load: PersistentLoad | None = None
) -> tuple[Any, int]:
    """The value of the pickle that begins at `start`, and where its end is.

    Args:
      content: bytes; what follows the pickle is not looked at.
      persistent_load: gives the value for a persistent id, a tuple that the machine has built;
        None refuses them.

    Raises:
      Unreadable: damaged, too long, or with a name that is not in the table; nothing was run.
    """
    machine = _Machine(content[start : start + MOST_BYTES], persistent_load)
    try:
        return machine.run(), start + machine.position
    except IndexError:
        raise _damaged("it takes from an empty stack") from None
    except RecursionError:  # nothing here recurses; the last line of defence
        raise _damaged("it is nested too deep") from None
    except UnicodeDecodeError:
        raise _damaged("it has text that is none") from None


class _Machine:
    """The state while a pickle runs: its stack, the stacks outside open marks, its memo."""

    def __init__(self, content: memoryview, persistent_load: PersistentLoad | None) -> None:
        self.content = content
        self.persistent_load = persistent_load
        self.position = 0
        self.steps = 0
        self.stack: list[Any] = []
        self.outer_stacks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            self.charge(1)
            (opcode,) = self.take(1)
            if opcode == _STOP:
                if self.outer_stacks or len(self.stack) != 1:
                    raise _damaged("values are left over at its end")
                return self.stack.pop()
            if opcode in _PUSHES:
                value = _PUSHES[opcode](self)  # which may put another stack in place
                self.stack.append(value)
            elif opcode in _CHANGES:
                _CHANGES[opcode](self)
            else:
                raise _damaged(f"{quoted(chr(opcode))} is no operation of protocols 2 to 5")

    def charge(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MOST_STEPS:
            raise Unreadable(f"has a pickle of more than {MOST_STEPS:,} steps, unlike any weights")

    # Reading arguments

    def take(self, count: int) -> bytes:
        taken = bytes(self.content[self.position : self.position + count])
        if len(taken) != count:
            raise _damaged("it ends too early")
        self.position += count
        return taken

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self, longest: int) -> str:
        start = self.content[self.position : self.position + longest]
        line, newline, _ = bytes(start).partition(b"\n")
        if not newline:
            raise _damaged("a line of it has no end")
        self.position += len(line) + 1
        return line.decode("utf-8")

    # Using the stack

    def pop_to_mark(self) -> list[Any]:
        if not self.outer_stacks:
            raise _damaged("a mark is missing in it")
        items, self.stack = self.stack, self.outer_stacks.pop()
        return items

    def pop_many(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def top(self, *kinds: type) -> Any:
        if type(self.stack[-1]) not in kinds:
            raise _damaged(f"it changes what is not a {kinds[0].__name__}")
        return self.stack[-1]

    # What operations do

    def open_mark(self) -> None:
        self.outer_stacks.append(self.stack)
        self.stack = []

    def drop(self) -> None:
        # `pickle` writes it where a tuple was found to hold itself.
        if self.stack:
            self.stack.pop()
        else:
            self.pop_to_mark()

    def drop_to_mark(self) -> None:
        self.pop_to_mark()

    def extend(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def add(self, items: list[Any]) -> None:
        for item in items:
            check_key(item)
        self.top(set).update(items)

    def set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise _damaged("a key has no value")
        target = self.top(dict, Attributes)
        for key, value in zip(items[::2], items[1::2], strict=True):
            check_key(key)
            target[key] = value

    def new_dict(self) -> dict[Any, Any]:
        items = self.pop_to_mark()
        self.stack.append({})
        self.set_items(items)
        return self.stack.pop()

    def new_set(self) -> set[Any]:
        items = self.pop_to_mark()
        self.stack.append(set())
        self.add(items)
        return self.stack.pop()

    def call(self, name: Any, arguments: Any) -> Any:
        """What one of our functions makes of the arguments, which the pickle meant for `name`."""
        if type(name) is not Name or type(arguments) is not tuple:
            raise _damaged("it calls what is not a name")
        self.charge(sum(_copied(argument) for argument in arguments))
        return name.build(*arguments)

    def call_with_keywords(self) -> Any:
        name, arguments, keywords = self.pop_many(3)
        if type(keywords) is not dict or keywords:
            raise _damaged("it calls something with keywords")
        return self.call(name, arguments)

    def set_state(self) -> None:
        state = self.stack.pop()
        target = self.top(dict, Attributes, NumpyType, NumpyArray)
        self.charge(_copied(state))
        if type(target) is Attributes and type(state) is dict:
            target.update(state)
        elif isinstance(target, NumpyType | NumpyArray):
            self.call(Name("the state of a NumPy object", target.set_state), state)
        elif type(target) is not dict:  # an OrderedDict's attributes, `_metadata`, are left out
            raise _damaged("it has a state of an unknown kind")

    def load_persistent(self) -> Any:
        identity = self.stack.pop()
        if self.persistent_load is None or type(identity) is not tuple:
            raise _damaged("it refers to something outside of it")
        return self.persistent_load(identity)

    def name(self, module: Any, name: Any) -> Any:
        if type(module) is not str or type(name) is not str:
            raise _damaged("it has a name that is not text")
        return find_name(f"{module}.{name}"[:_LONGEST_NAME])

    def recall(self, index: int) -> Any:
        if index not in self.memo:
            raise _damaged("it recalls what it never stored")
        return self.memo[index]

    def store(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def check_frame(self) -> None:
        if self.number("<Q") > len(self.content) - self.position:
            raise _damaged("it ends too early")

    def check_protocol(self) -> None:
        if self.number("<B") > 5:
            raise _damaged("its protocol is not known")

    def decimal(self) -> int | bool:
        """An integer in digits: Python 2 writes those so that have more than 32 bits."""
        line = self.line(_LONGEST_INTEGER)
        digits = line.removesuffix("L").removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            raise _damaged("it has an integer that is none")
        return bool(int(line)) if line in ("00", "01") else int(line.removesuffix("L"))

    def integer(self, form: str) -> int:
        length = self.number(form)
        if not 0 <= length <= _LONGEST_INTEGER:
            raise _damaged("it has an integer of too many digits")
        return int.from_bytes(self.take(length), "little", signed=True)

    def string(self, form: str) -> bytes:
        length = self.number(form)
        if length < 0:
            raise _damaged("it has text of a negative length")
        return self.take(length)

    def text(self, form: str) -> str:
        return self.string(form).decode("utf-8", "surrogatepass")

    def text_or_bytes(self, form: str) -> str | bytes:
        """A string of Python 2, which has one type for both."""
        raw = self.string(form)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw


def _damaged(what: str) -> Unreadable:
    return Unreadable(f"is damaged: its pickle cannot be read, {what}")


def _copied(value: Any) -> int:
    """How many steps it costs to copy a value."""
    if type(value) in (list, tuple, dict, set, Attributes):
        return len(value)
    return len(value) // 32 if type(value) in (str, bytes) else 0


def _opcodes(table: dict[bytes, Any]) -> dict[int, Any]:
    return {opcode[0]: action for opcode, action in table.items()}


_STOP = ord(".")

# Operations that push a value, and those that do something else.
_PUSHES: dict[int, Callable[[_Machine], Any]] = _opcodes(
    {
        b"N": lambda m: None,
        b"\x88": lambda m: True,
        b"\x89": lambda m: False,
        b"I": lambda m: m.decimal(),
        b"L": lambda m: m.decimal(),
        b"J": lambda m: m.number("<i"),
        b"K": lambda m: m.number("<B"),
        b"M": lambda m: m.number("<H"),
        b"G": lambda m: m.number(">d"),
        b"\x8a": lambda m: m.integer("<B"),
        b"\x8b": lambda m: m.integer("<i"),
        b"X": lambda m: m.text("<I"),
        b"\x8c": lambda m: m.text("<B"),
        b"\x8d": lambda m: m.text("<Q"),
        b"T": lambda m: m.text_or_bytes("<i"),
        b"U": lambda m: m.text_or_bytes("<B"),
        b"B": lambda m: m.string("<I"),
        b"C": lambda m: m.string("<B"),
        b"\x8e": lambda m: m.string("<Q"),
        b"\x96": lambda m: m.string("<Q"),
        b")": lambda m: (),
        b"]": lambda m: [],
        b"}": lambda m: {},
        b"d": lambda m: m.new_dict(),
        b"\x8f": lambda m: set(),
        b"\x91": lambda m: m.new_set(),
        b"t": lambda m: tuple(m.pop_to_mark()),
        b"\x85": lambda m: tuple(m.pop_many(1)),
        b"\x86": lambda m: tuple(m.pop_many(2)),
        b"\x87": lambda m: tuple(m.pop_many(3)),
        b"l": lambda m: m.pop_to_mark(),
        b"2": lambda m: m.stack[-1],
        b"c": lambda m: m.name(m.line(_LONGEST_NAME), m.line(_LONGEST_NAME)),
        b"\x93": lambda m: m.name(*m.pop_many(2)),
        b"R": lambda m: m.call(*m.pop_many(2)),
        b"\x81": lambda m: m.call(*m.pop_many(2)),
        b"\x92": lambda m: m.call_with_keywords(),
        b"Q": lambda m: m.load_persistent(),
        b"h": lambda m: m.recall(m.number("<B")),
        b"j": lambda m: m.recall(m.number("<I")),
    }
)
_CHANGES: dict[int, Callable[[_Machine], None]] = _opcodes(
    {
        b"\x80": lambda m: m.check_protocol(),
        b"\x95": lambda m: m.check_frame(),
        b"(": lambda m: m.open_mark(),
        b"0": lambda m: m.drop(),
        b"1": lambda m: m.drop_to_mark(),
        b"a": lambda m: m.extend(m.pop_many(1)),
        b"e": lambda m: m.extend(m.pop_to_mark()),
        b"s": lambda m: m.set_items(m.pop_many(2)),
        b"u": lambda m: m.set_items(m.pop_to_mark()),
        b"\x90": lambda m: m.add(m.pop_to_mark()),
        b"b": lambda m: m.set_state(),
        b"q": lambda m: m.store(m.number("<B")),
        b"r": lambda m: m.store(m.number("<I")),
        b"\x94": lambda m: m.store(len(m.memo)),
    }
)
