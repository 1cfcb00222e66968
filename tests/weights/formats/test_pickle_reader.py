"""The pickle machine: equal to `pickle` for plain data, and closed to everything else."""

import argparse
import builtins
import collections
import inspect
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest
from checkpoint_files import Called, Named, Raw, WithState, pickled
from hypothesis import given, strategies as st

from jaxinterp.weights.formats import pickle_names
from jaxinterp.weights.formats.pickle_names import Attributes, Name, NumpyArray
from jaxinterp.weights.formats.pickle_reader import MOST_STEPS, read_pickle
from jaxinterp.weights.formats.torch_tensors import StorageType
from jaxinterp.weights.formats.unreadable import Unreadable


def read(content, **options):
    value, end = read_pickle(memoryview(content), **options)
    assert end == len(content)
    return value


KEYS = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text() | st.binary()
SCALARS = KEYS | st.floats(allow_nan=False) | st.integers(-(2**250), 2**250)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.sets(KEYS)
        | st.dictionaries(KEYS, inner).map(collections.OrderedDict)
    ),
)


@given(VALUES, st.integers(2, 5))
def test_plain_data_is_read_as_pickle_reads_it(value, protocol):
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(2, 6))
def test_sharing_is_kept(protocol):
    inner = ["text"] * 300
    found = read(pickle.dumps([inner, {"again": inner}] * 300, protocol))
    assert all(part is found[0] for part in found[::2])
    assert found[1]["again"] is found[0]


def test_a_list_that_holds_itself():
    value = []
    value.append(value)
    found = read(pickle.dumps(value, 2))
    assert found[0] is found


@pytest.mark.parametrize("protocol", range(2, 6))
def test_other_containers_become_plain_ones(protocol):
    ordered = collections.OrderedDict(a=1)
    ordered._metadata = {"version": 1}  # as PyTorch's state dicts have
    value = {
        "ordered": ordered,
        "counter": collections.Counter("aab"),
        "namespace": argparse.Namespace(arch="resnet20", lr=0.1),
        "frozen": frozenset("ab"),
        "bytearray": bytearray(b"\0\xff"),
        "empty bytes": b"",
    }
    found = read(pickle.dumps(value, protocol))
    assert found == {
        "ordered": {"a": 1},
        "counter": {"a": 2, "b": 1},
        "namespace": {"arch": "resnet20", "lr": 0.1},
        "frozen": {"a", "b"},
        "bytearray": b"\0\xff",
        "empty bytes": b"",
    }
    assert type(found["ordered"]) is dict
    assert type(found["namespace"]) is Attributes


@pytest.mark.parametrize("code", ["f2", "f4", "f8", "i1", "i8", "u2", ">f4", ">i8", "?"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_numpy_scalars_and_arrays(code, protocol):
    values = np.arange(6).reshape(2, 3).astype(code)
    scalar, rows, columns = read(
        pickle.dumps((values[1, 2], values, np.asfortranarray(values)), protocol)
    )
    assert scalar == values[1, 2]
    assert type(scalar) in (bool, int, float)
    for found in (rows, columns):
        assert type(found) is NumpyArray
        assert found.array.dtype == values.dtype.newbyteorder("=")
        assert found.array.dtype.isnative
        np.testing.assert_array_equal(found.array, values)


@pytest.mark.parametrize("value", [np.array([None]), np.array(["a"]), np.array([1j])])
def test_numpy_arrays_of_other_things_are_refused(value):
    with pytest.raises(Unreadable, match="NumPy array of the type"):
        read(pickle.dumps(value, 2))


def test_strings_and_integers_of_python_2():
    assert read(b"\x80\x02U\x05caf\xc3\xa9.") == "café"
    assert read(b"\x80\x02U\x02\xff\xfe.") == b"\xff\xfe"
    assert read(b"\x80\x02T\x02\0\0\0ab.") == "ab"
    assert read(b"\x80\x02(I4294967296\nI01\nI00\nL-7L\nt.") == (2**32, True, False, -7)


def test_the_names_of_pytorch():
    size, device, kind, storage = read(
        pickled(
            (
                Called("torch.Size", ((2, 3),)),
                Called("torch.device", ("cuda", 1)),
                Named("torch.bfloat16"),
                Named("torch.cuda.HalfStorage"),
            )
        )
    )
    assert size == (2, 3)
    assert device == "cuda:1"
    assert kind.name == "bfloat16"
    assert storage == StorageType(np.dtype(np.float16))


def test_what_the_table_holds_is_our_own():
    for entry in pickle_names._TABLE.values():
        if isinstance(entry, Name):
            module = inspect.getmodule(entry.function)
            assert module is pickle_names, entry.text
        else:
            assert isinstance(entry, StorageType | np.dtype)


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def malicious(folder):
    """Pickles that would make a file `ran`, and the name each must be refused by."""
    command = f"touch {folder / 'ran'}"
    code = f"open({str(folder / 'ran')!r}, 'w')"
    return [
        (Runs(os.system, command), "os.system"),
        (Runs(os.popen, command), "os.popen"),
        (Runs(builtins.eval, code), "builtins.eval"),
        (Runs(builtins.exec, code), "builtins.exec"),
        # `io` up to Python 3.11, `_io` from 3.12 on.
        (Runs(builtins.open, str(folder / "ran"), "w"), f"{builtins.open.__module__}.open"),
        (Runs(builtins.getattr, os, "system"), "builtins.getattr"),
        (Runs(builtins.__import__, "antigravity"), "builtins.__import__"),
        (Runs(os.mkdir, str(folder / "ran")), "os.mkdir"),
    ]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_calls_are_refused_by_name_and_not_run(tmp_path, protocol):
    for value, name in malicious(tmp_path):
        if name == "builtins.getattr":
            content = pickled(Called("builtins.getattr", (Named("os.path"), "system")))
        else:
            content = pickle.dumps({"state_dict": [value]}, protocol)
        with pytest.raises(Unreadable, match="was not run") as refusal:
            read(content)
        assert f"a call of {name}," in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_python_itself_would_have_run_them(tmp_path):
    pickle.loads(pickle.dumps(malicious(tmp_path)[0][0], 2))
    assert [path.name for path in tmp_path.iterdir()] == ["ran"]


# Other ways to reach a name, each as bytes: the old operations for instances, the registry.
DETOURS = {
    "instance": b"(ios\nsystem\n.",
    "object": b"(cos\nsystem\no.",
    "stack global": b"\x8c\x02os\x8c\x06system\x93.",
    "new object": b"cos\nsystem\n)\x81.",
    "new object with keywords": b"cos\nsystem\n)}\x92.",
    "extension": b"\x82\x01.",
    "persistent text": b"Pos.system\n.",
    "persistent": b"X\x02\0\0\0osQ.",
    "no call at all": b"cos\nsystem\n.",
    "dotted": b"ccollections\nOrderedDict.fromkeys\n.",
    "dotted module": b"ccollections.OrderedDict\n__init__.__globals__\n.",
    "the module itself": b"ctorch\n_utils\n.",
    "buffer": b"\x97.",
    "a state for a class": b"ccollections\nOrderedDict\n}b.",
    "a call of a value": b"}(K\x01tR.",
    "a storage": b"ctorch\nFloatStorage\n)R.",
    "arguments that are no tuple": b"ccollections\nOrderedDict\n]R.",
    "keywords": b"ccollections\nOrderedDict\n)}X\x01\0\0\0aK\x01s\x92.",
}


@pytest.mark.parametrize("program", DETOURS.values(), ids=DETOURS)
def test_detours_are_refused(program):
    with pytest.raises(Unreadable):
        read(b"\x80\x04" + program)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("torch._utils._rebuild_qtensor", "quantised tensors"),
        ("torch.QInt8Storage", "quantised tensors"),
        ("torch._utils._rebuild_sparse_tensor", "sparse tensors"),
        ("torch.ComplexFloatStorage", "complex tensors"),
        ("torch.float8_e4m3fn", "8-bit floating-point tensors"),
        ("torchvision.models.resnet.ResNet", r"whole pickled model \(an object of torchvision"),
        ("__main__.Net", "save `model.state_dict\\(\\)` instead"),
        ("torch.nn.modules.conv.Conv2d", "whole pickled model"),
        ("posix.system", "a call of os.system"),
        ("__builtin__.eval", "a call of builtins.eval"),
        ("a\x1b[2J.b", r"a call of a\\x1b\[2J\.b"),
        ("a." + "b" * 999, r"b{50,80}\.\.\.,"),
    ],
)
def test_refusals_say_what_it_is(name, reason):
    with pytest.raises(Unreadable, match=reason):
        read(pickled(Named(name)))


# Arguments that PyTorch would not give, for names that may be called.
UNFIT = [
    Called("collections.OrderedDict", (1,)),
    Called("collections.OrderedDict", ([(1, 2, 3)],)),
    Called("collections.OrderedDict", (1, 2)),
    Called("_codecs.encode", ("text", 1)),
    Called("_codecs.encode", ("€", "latin1")),
    Called("torch.Size", ((-1,),)),
    Called("torch.Size", (((1,),),)),
    Called("torch.device", (1,)),
    Called("torch._utils._rebuild_tensor", (1, 0, (), ())),
    Called("torch._utils._rebuild_tensor_v2", ()),
    Called("torch._utils._rebuild_parameter", ({}, True, {})),
    Called("torch._tensor._rebuild_from_type_v2", (Named("torch.float32"), 0, (), {})),
    Called("numpy.dtype", ("O", False, True)),
    Called("numpy.dtype", (["f4"], False, True)),
    Called("numpy.core.multiarray.scalar", (Called("numpy.dtype", ("f8",)), b"1234567")),
    Called("numpy.core.multiarray.scalar", (Named("torch.float32"), b"1234")),
    WithState(Called("numpy.dtype", ("f8",)), (3, "x")),
    WithState(Called("numpy.dtype", ("f8",)), (3, Named("torch.float32"))),
    WithState(Called("numpy.dtype", ("f8",)), {}),
    WithState(
        Called("numpy._core.multiarray._reconstruct"),
        (1, (10**12,), Called("numpy.dtype", ("f8",)), False, b"12345678"),
    ),
    WithState(
        Called("numpy._core.multiarray._reconstruct"),
        (1, (0, 2**61, 2**61), Called("numpy.dtype", ("f8",)), False, b""),
    ),
    WithState(Called("argparse.Namespace"), [1]),
    WithState([], {}),
    Called("builtins.set", ([[]],)),
]


@pytest.mark.parametrize("value", UNFIT, ids=str)
def test_unfit_arguments_are_named(value):
    with pytest.raises(Unreadable, match=r"is damaged|NumPy array of the type|key of a dict"):
        read(pickled(value))


@pytest.mark.parametrize("key", [(1, 2), 2**63, -(2**63), Called("torch.Size", ((1,),))])
def test_keys_are_plain(key):
    operations = pickled(key)[2:-1]
    for value in (
        Raw(b"}" + operations + b"Ns"),
        Raw(b"(" + operations + b"Nd"),
        Raw(b"\x8f(" + operations + b"\x90"),
        Raw(b"(" + operations + b"\x91"),
        Called("collections.OrderedDict", ([(key, 1)],)),
        Called("builtins.set", ([key],)),
    ):
        with pytest.raises(Unreadable, match="key of a dict"):
            read(pickled(value))


def test_every_beginning_of_a_pickle_is_damaged():
    for protocol in range(2, 6):
        value = {"a": [1, 2.5, "text", b"bytes", {"b": (None, True)}], "c": {1, 2}, "n": np.ones(3)}
        content = pickle.dumps(value, protocol if protocol < 5 else 4)
        for length in range(len(content)):
            with pytest.raises(Unreadable, match="is damaged"):
                read_pickle(memoryview(content)[:length])


DAMAGED = {
    "empty stack": b"a.",
    "nothing to end with": b".",
    "two values": b"NN.",
    "an open mark": b"(N.",
    "no mark": b"Nt.",
    "odd items": b"}(Nu.",
    "items of a list": b"](NNu.",
    "appended to a dict": b"}Na.",
    "added to a list": b"](N\x90.",
    "recalled": b"h\x07.",
    "stored from an empty stack": b"q\x07.",
    "protocol": b"\x80\x06N.",
    "frame": b"\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
    "long text": b"X\xff\xff\xff\xffabc.",
    "very long text": b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
    "negative text": b"T\xff\xff\xff\xffabc.",
    "text": b"X\x01\0\0\0\xff.",
    "integer": b"Iseven\n.",
    "integer in other digits": b"I\xd9\xa7\n.",
    "long integer": b"\x8b\xff\xff\xff\x7f.",
    "negative integer": b"\x8b\xff\xff\xff\xff.",
    "line": b"cno end",
    "name": b"\x8c\x02os]\x93.",
    "name in other bytes": b"c\xff\n\xff\n.",
    "unknown": b"\xff.",
}


@pytest.mark.parametrize("program", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_named(program):
    with pytest.raises(Unreadable, match="is damaged"):
        read(b"\x80\x04" + program)


def test_nesting_needs_no_recursion():
    depth = 200_000
    for program in (b")" + b"\x85" * depth, b"(" * depth + b"N" + b"t" * depth):
        value = read(b"\x80\x02" + program + b".")
        for _ in range(depth - 1):
            (value,) = value


# Small programs that would take time or memory without a limit: each makes a large value once and
# copies it again and again.
BOMBS = {
    "steps": b"(" + b"N" * MOST_STEPS + b"t",
    "dicts": b"}q\0(" + b"".join(b"J%sN" % struct.pack("<i", i) for i in range(9999)) + b"u"
    + b"ccollections\nOrderedDict\nq\1" + b"(" + b"h\1h\0\x85R" * 999 + b"t",
    "sets": b"]q\0(" + b"N" * 9999 + b"e" + b"(" + b"cbuiltins\nset\nh\0\x85R" * 999 + b"t",
    "text": b"X\0\0\1\0" + bytes(2**16) + b"q\0X\6\0\0\0latin1q\1"
    + b"(" + b"c_codecs\nencode\nh\0h\1\x86R" * 9999 + b"t",
    "states": b"cargparse\nNamespace\n)Rq\1}q\0("
    + b"".join(b"J%sN" % struct.pack("<i", i) for i in range(9999)) + b"u" + b"h\0b" * 999,
}  # fmt: skip


@pytest.mark.parametrize("program", BOMBS.values(), ids=BOMBS)
def test_steps_are_bounded(program):
    with pytest.raises(Unreadable, match="more than 500,000 steps"):
        read(b"\x80\x02" + program + b".")


# Forty lists, each of which holds the one before twice: to print the last takes 2^40 words.
LAUGHS = b"]" + b"".join(b"q%c(h%ch%cl" % (i, i, i) for i in range(40))


@pytest.mark.parametrize(
    "program",
    [
        b"cnumpy\ndtype\n" + LAUGHS + b"\x85R",
        b"cnumpy\ndtype\n" + b"(" * 50_000 + b"l" * 50_000 + b"\x85R",
        b"ctorch._tensor\n_rebuild_from_type_v2\nq\0" + b"(h\0N" * 3000 + b"(" + b"tNt" * 3000
        + b"R",
    ],
    ids=["text without end", "deep text", "calls within calls"],
)  # fmt: skip
def test_messages_do_not_grow_with_what_they_name(program):
    with pytest.raises(Unreadable) as refusal:
        read(b"\x80\x02" + program + b".")
    assert len(str(refusal.value)) < 300


def test_memory_is_bounded_with_the_steps():
    """Nothing takes more memory for a step than an empty set; 128 MiB is the most."""
    tracemalloc.start()
    read(b"\x80\x02(" + b"\x8f" * (MOST_STEPS // 10) + b"t.")
    assert 10 * tracemalloc.get_traced_memory()[1] < 128 * 2**20
    tracemalloc.stop()


def test_what_follows_a_pickle_is_not_looked_at():
    assert read_pickle(memoryview(b"xx\x80\x02K\x07.cos\nsystem\n"), 2) == (7, 7)


def test_persistent_ids_go_to_the_caller_alone():
    content = b"\x80\x02(K\x01K\x02tQ."
    assert read(content, persistent_load=lambda identity: sum(identity)) == 3
    with pytest.raises(Unreadable, match="outside of it"):
        read(content)
