"""Ways to break a weights file.

A mutation changes bytes of a file, or bytes of a part of it, or the operations of a pickle in it;
after the last two the file is put together again with right lengths and checksums, so that what
reads the parts is reached.
"""

from __future__ import annotations

import dataclasses
import pickletools
import random
import struct
from collections.abc import Callable
from pathlib import Path

from checkpoint_files import Called, pickled
from checkpoint_seeds import SEEDS

EXTREMES = [0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 10**12, 2**62]
EXTREMES += [2**63 - 1, 2**63, 2**64 - 1]


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A broken file, how it was broken, and whether what it holds must be that of its seed."""

    kind: str
    content: bytes
    must_equal_seed: bool


def mutate(name: str, chance: random.Random, sentinel: Path) -> Mutation:
    """A mutation of the seed `name`; code in it, if it ran, would make the file `sentinel`."""
    seed = SEEDS[name]
    level = chance.choice(["file", "part", "program"] if seed.programs else ["file", "part"])
    if level == "file":
        kind = chance.choice(list(BYTE_MUTATIONS))
        content = BYTE_MUTATIONS[kind](seed.join(seed.parts), chance)
        return Mutation(f"file: {kind}", content, seed.has_checksums and kind != "splice")
    parts = dict(seed.parts)
    if level == "part":
        part = chance.choice(list(parts))
        mutations = {**BYTE_MUTATIONS, "numbers in text": _change_text_number}
        kind = chance.choice(list(mutations))
        parts[part] = mutations[kind](parts[part], chance)
    else:
        part = chance.choice(seed.programs)
        kind = chance.choice(list(PROGRAM_MUTATIONS))
        parts[part] = PROGRAM_MUTATIONS[kind](parts[part], chance, sentinel)
    return Mutation(f"{level}: {kind}", seed.join(parts), must_equal_seed=False)


def _span(content: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(content) + 1)
    return start, min(len(content), start + chance.choice([1, 2, 4, 8, 30, 200]))


def _flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _delete(content: bytes, chance: random.Random) -> bytes:
    start, end = _span(content, chance)
    return content[:start] + content[end:]


def _repeat(content: bytes, chance: random.Random) -> bytes:
    start, end = _span(content, chance)
    return content[:end] + content[start:end] * chance.choice([1, 3, 50]) + content[end:]


def _insert(content: bytes, chance: random.Random) -> bytes:
    start, _ = _span(content, chance)
    return content[:start] + chance.randbytes(chance.choice([1, 4, 40])) + content[start:]


def _overwrite(content: bytes, chance: random.Random) -> bytes:
    """Writes a number that headers do not expect over another."""
    size, order = chance.choice([1, 2, 4, 8]), chance.choice("<>")
    number = chance.choice(EXTREMES) % 2 ** (8 * size)
    start = chance.randrange(len(content) + 1)
    if chance.random() < 0.5:
        start -= start % size
    code = {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
    return content[:start] + struct.pack(order + code, number) + content[start + size :]


def _splice(content: bytes, chance: random.Random) -> bytes:
    """Begins as one file and goes on as another."""
    other = SEEDS[chance.choice(list(SEEDS))]
    tail = other.join(other.parts)
    return content[: chance.randrange(len(content) + 1)] + tail[chance.randrange(len(tail) + 1) :]


def _change_text_number(content: bytes, chance: random.Random) -> bytes:
    """Changes a number that stands in digits: the headers of safetensors and `.npy`."""
    digits = [i for i in range(len(content)) if content[i : i + 1].isdigit()]
    if not digits:
        return _flip(content, chance)
    place = chance.choice(digits)
    return content[:place] + str(chance.choice(EXTREMES)).encode() + content[place + 1 :]


BYTE_MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "flip": _flip,
    "truncate": _truncate,
    "delete": _delete,
    "repeat": _repeat,
    "insert": _insert,
    "overwrite": _overwrite,
    "splice": _splice,
}


def _payloads(sentinel: Path) -> list[bytes]:
    """Operations that make the file `sentinel` if `pickle` runs them, in many ways."""
    command, code = f"touch {sentinel}", f"open({str(sentinel)!r}, 'w')"
    calls = [
        ("posix.system", (command,)),
        ("os.system", (command,)),
        ("nt.system", (command,)),
        ("os.popen", (command,)),
        ("subprocess.Popen", (["touch", str(sentinel)],)),
        ("subprocess.check_output", (["touch", str(sentinel)],)),
        ("builtins.eval", (code,)),
        ("builtins.exec", (code,)),
        ("__builtin__.eval", (code,)),
        ("builtins.open", (str(sentinel), "w")),
        ("io.open", (str(sentinel), "w")),
        ("pathlib.Path.touch", (str(sentinel),)),
        ("os.mkdir", (str(sentinel),)),
        ("builtins.__import__", ("antigravity",)),
        ("importlib.import_module", ("antigravity",)),
        ("pickle.loads", (pickled(Called("os.system", (command,))),)),
        ("torch.load", (str(sentinel),)),
        ("numpy.load", (str(sentinel),)),
        ("numpy.fromfile", (str(sentinel),)),
        ("runpy.run_path", (str(sentinel),)),
        ("socket.create_connection", (("127.0.0.1", 9),)),
        ("timeit.timeit", (code,)),
        ("code.interact", ()),
        ("ctypes.CDLL", ("libc.so.6",)),
    ]
    programs = [pickled(Called(name, arguments))[2:-1] for name, arguments in calls]
    argument = pickled(command)[2:-1]
    return [
        *programs,
        b"(" + argument + b"ios\nsystem\n",  # as an instance
        b"(cos\nsystem\n" + argument + b"o",
        b"\x8c\x02os\x8c\x06system\x93" + argument + b"\x85R",  # by a name from the stack
        b"cos\nsystem\n" + argument + b"\x85\x81",  # as a new object
        b"ccollections\nOrderedDict\n)R}X\x0b\0\0\0__setitem__cos\nsystem\nsbcos\nsystem\n",
        b"cos\nsystem\nq\x05",  # put where another name is recalled from
        b"\x82\x01",  # out of the registry
        b"P" + str(sentinel).encode() + b"\n",
    ]


# Operations that fit nowhere in particular.
OPERATIONS = [
    *(b"0", b"1", b"2", b"(", b")", b"]", b"}", b"\x8f", b"N", b"\x88", b"t", b"\x85", b"\x86"),
    *(b"\x87", b"l", b"d", b"e", b"a", b"u", b"s", b"\x90", b"\x91", b"R", b"b", b"\x81", b"\x92"),
    *(b"Q", b"\x93", b"\x94", b"q\x01", b"q\xff", b"h\x00", b"h\x05", b"j\0\0\0\x80", b"."),
    *(b"\x95\xff\0\0\0\0\0\0\0", b"X\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 8, b"\x8a\xff", b"\xff"),
    *(b"ctorch\nFloatStorage\n", b"ctorch\nQInt8Storage\n", b"cnumpy\ndtype\n", b"\x80\x04"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"I7\n", b"L-1L\n"),
]  # fmt: skip


def _operations(program: bytes) -> list[bytes]:
    places = [place for *_, place in pickletools.genops(program)]
    return [program[a:b] for a, b in zip(places, [*places[1:], len(program)], strict=True)]


def _insert_payload(program: bytes, chance: random.Random, sentinel: Path) -> bytes:
    operations = _operations(program)
    place = chance.randrange(1, len(operations))
    after = chance.choice([b"", b"0"])  # left on the stack, or dropped once it has run
    return b"".join(
        [*operations[:place], chance.choice(_payloads(sentinel)), after, *operations[place:]]
    )


def _change_operations(program: bytes, chance: random.Random, sentinel: Path) -> bytes:
    operations = _operations(program)
    for _ in range(chance.choice([1, 1, 2, 5])):
        place = chance.randrange(len(operations))
        action = chance.choice(["insert", "replace", "delete", "swap", "repeat"])
        if action == "insert":
            operations.insert(place, chance.choice(OPERATIONS))
        elif action == "replace":
            operations[place] = chance.choice(OPERATIONS)
        elif action == "delete" and len(operations) > 1:
            del operations[place]
        elif action == "swap":
            other = chance.randrange(len(operations))
            operations[place], operations[other] = operations[other], operations[place]
        else:
            length = chance.choice([1, 3, 10])
            operations[place:place] = operations[place : place + length] * chance.choice([1, 20])
    return b"".join(operations)


def _change_integer(program: bytes, chance: random.Random, sentinel: Path) -> bytes:
    """Sizes, offsets, strides and counts that are too large, or negative."""
    operations = _operations(program)
    places = [i for i, operation in enumerate(operations) if operation[:1] in b"JKM"]
    if not places:
        return _change_operations(program, chance, sentinel)
    for place in chance.choices(places, k=chance.choice([1, 1, 2, 4])):
        number = chance.choice([*EXTREMES, *range(10)]) * chance.choice([1, 1, 1, -1])
        operations[place] = pickled(number)[2:-1]
    return b"".join(operations)


def _change_name(program: bytes, chance: random.Random, sentinel: Path) -> bytes:
    """Another name where one is called."""
    operations = _operations(program)
    names = [i for i, operation in enumerate(operations) if operation[:1] == b"c"]
    if not names:
        return _insert_payload(program, chance, sentinel)
    others = [operations[i] for i in names] + [b"cos\nsystem\n", b"cbuiltins\neval\n"]
    operations[chance.choice(names)] = chance.choice(others)
    return b"".join(operations)


PROGRAM_MUTATIONS: dict[str, Callable[[bytes, random.Random, Path], bytes]] = {
    "payload": _insert_payload,
    "operations": _change_operations,
    "integer": _change_integer,
    "name": _change_name,
}
