"""PyTorch's checkpoints in both formats, made without PyTorch; tests/parity/ has its own files."""

import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
from checkpoint_files import (
    STORAGE_NAMES,
    Called,
    Checkpoint,
    Named,
    Persistent,
    WithState,
    pickled,
    torch_legacy,
    torch_zip,
)

from jaxinterp.errors import UserError
from jaxinterp.weights.read import read_weights

FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "checkpoint.pth"
        path.write_bytes(content)
        return read_weights(path)

    return read


def numbers(dtype, shape=(2, 3)):
    values = np.random.default_rng(0).integers(-100, 100, shape)
    return values.astype(dtype) if np.dtype(dtype) != np.bool_ else values > 0


@FORMATS
@pytest.mark.parametrize("dtype", STORAGE_NAMES, ids=str)
def test_every_type_is_read_as_it_is_stored(read, legacy, dtype):
    checkpoint = Checkpoint(legacy=legacy)
    values = numbers(dtype)
    value = {"before": checkpoint.tensor(np.zeros(3, np.uint8)), "a": checkpoint.tensor(values)}
    found = read(checkpoint.file(value))
    assert found.format == ("torch legacy" if legacy else "torch zip")
    assert found.layout == "torch"
    assert found.arrays["a"].dtype == dtype
    assert found.arrays["a"].flags.aligned
    assert not found.arrays["a"].flags.writeable
    np.testing.assert_array_equal(found.arrays["a"], values)


@pytest.mark.parametrize("dtype", STORAGE_NAMES, ids=str)
def test_the_first_byte_may_come_first(read, dtype):
    checkpoint = Checkpoint()
    values = numbers(dtype, (3, 4))
    value = {
        "whole": checkpoint.tensor(values),
        "columns": checkpoint.tensor(storage=checkpoint.storage(key="0"), shape=(2,), strides=(4,)),
    }
    found = read(checkpoint.file(value, byte_order="big")).arrays
    assert found["whole"].dtype == dtype
    assert found["whole"].dtype.isnative
    np.testing.assert_array_equal(found["whole"], values)
    np.testing.assert_array_equal(found["columns"], values[:2, 0])


# Views of the numbers 0 to 23: offset, shape, strides, and what NumPy calls the same.
COUNT = np.arange(24, dtype=np.float32)
VIEWS = {
    "whole": (0, (2, 3, 4), (12, 4, 1), COUNT.reshape(2, 3, 4)),
    "transposed": (0, (4, 3, 2), (1, 4, 12), COUNT.reshape(2, 3, 4).T),
    "sliced": (5, (2, 2), (12, 2), COUNT.reshape(2, 12)[:, 5:9:2]),
    "one number": (23, (), (), COUNT[23]),
    "one row": (20, (1, 4), (10**6, 1), COUNT[None, 20:]),
    "none": (0, (0, 3), (3, 1), np.zeros((0, 3), np.float32)),
    "none at the end": (24, (0,), (1,), np.zeros(0, np.float32)),
    "repeated": (3, (5, 4), (0, 1), np.broadcast_to(COUNT[3:7], (5, 4))),
    "overlapping": (0, (20, 5), (1, 1), np.lib.stride_tricks.sliding_window_view(COUNT, 5)),
}


@FORMATS
def test_views_share_their_storage(read, legacy):
    checkpoint = Checkpoint(legacy=legacy)
    storage = checkpoint.storage(COUNT)
    value = {
        name: checkpoint.tensor(storage=storage, offset=offset, shape=shape, strides=strides)
        for name, (offset, shape, strides, _) in VIEWS.items()
    }
    found = read(checkpoint.file(value)).arrays
    assert set(found) == set(VIEWS)
    for name, (*_, expected) in VIEWS.items():
        assert found[name].shape == expected.shape
        np.testing.assert_array_equal(found[name], expected)


def test_aligned_storages_are_views_of_the_file(read):
    checkpoint = Checkpoint()
    value = {"a": checkpoint.tensor(np.ones(2**20, np.uint8)), "b": checkpoint.tensor(COUNT)}
    content = checkpoint.file(value)
    tracemalloc.start()
    found = read(content)
    assert tracemalloc.get_traced_memory()[1] < 2**19
    tracemalloc.stop()
    assert found.arrays["a"].sum() == 2**20


def test_a_view_of_a_storage_as_old_pytorch_wrote_it(read):
    checkpoint = Checkpoint(legacy=True)
    checkpoint.storage(COUNT)
    part = checkpoint.storage(key="0", view=("part", 6, 8))
    value = {
        "a": checkpoint.tensor(storage=part, offset=2, shape=(6,), version=1),
        "whole": checkpoint.tensor(storage=checkpoint.storage(key="0"), shape=(24,), version=1),
    }
    found = read(checkpoint.file(value)).arrays
    np.testing.assert_array_equal(found["a"], COUNT[8:14])
    np.testing.assert_array_equal(found["whole"], COUNT)
    value["a"] = checkpoint.tensor(storage=part, offset=2, shape=(7,), version=1)
    with pytest.raises(UserError, match=r"'a' claims 7 numbers .* its storage has 8"):
        read(checkpoint.file(value))


def test_types_without_a_storage_of_their_own(read):
    """PyTorch writes uint16 to uint64 as bytes, and the type beside them."""
    values = np.array([1, 2**16 - 1], np.uint16)
    storage = Persistent(("storage", Named("torch.storage.UntypedStorage"), "0", "cpu", 4))
    hooks = Called("collections.OrderedDict")
    arguments = (storage, 0, (2,), (1,), False, hooks, Named("torch.uint16"))
    value = {"a": Called("torch._utils._rebuild_tensor_v3", arguments)}
    found = read(torch_zip(pickled(value), {"0": values})).arrays["a"]
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("folder", ["archive/", "resnet18-f37072fd/", "a folder/below/", ""])
def test_the_folder_may_have_any_name(read, folder):
    checkpoint = Checkpoint()
    value = {"a": checkpoint.tensor(COUNT)}
    np.testing.assert_array_equal(read(checkpoint.file(value, folder=folder)).arrays["a"], COUNT)


def test_without_a_byte_order_the_last_byte_comes_last(read):
    checkpoint = Checkpoint()
    value = {"a": checkpoint.tensor(COUNT)}
    np.testing.assert_array_equal(read(checkpoint.file(value, byte_order=None)).arrays["a"], COUNT)


def test_compressed_entries_are_read(read):
    checkpoint = Checkpoint()
    value = {"a": checkpoint.tensor(COUNT), "b": checkpoint.parameter(numbers(np.int64))}
    found = read(checkpoint.file(value, compression=zipfile.ZIP_DEFLATED)).arrays
    np.testing.assert_array_equal(found["a"], COUNT)
    np.testing.assert_array_equal(found["b"], numbers(np.int64))


def test_bytes_that_are_no_truth_values_become_some(read):
    checkpoint = Checkpoint()
    storage = checkpoint.storage(np.array([0, 1, 2, 255], np.uint8), kind="torch.BoolStorage")
    found = read(checkpoint.file({"a": checkpoint.tensor(storage=storage, shape=(4,))})).arrays["a"]
    assert found.tolist() == [False, True, True, True]
    assert found.tobytes() == b"\0\1\1\1"


def test_numpy_arrays_in_a_checkpoint_are_read(read):
    kind = Called("numpy.dtype", ("f4", False, True))
    made = Called("numpy.core.multiarray._reconstruct", (Named("numpy.ndarray"), (0,), b"b"))
    value = {"a": WithState(made, (1, (2,), kind, False, np.float32([1, 2]).tobytes()))}
    assert read(torch_zip(pickled(value), {})).arrays["a"].tolist() == [1, 2]


# What a tensor of 24 numbers may claim, and must not get.
CLAIMS = {
    "10^12 numbers": {"shape": (10**6, 10**6)},
    "one too many": {"shape": (25,)},
    "one too far": {"offset": 1, "shape": (24,)},
    "strides": {"shape": (2, 2), "strides": (23, 1)},
    "far strides": {"shape": (2,), "strides": (2**61,)},
    "far offset": {"offset": 2**61, "shape": (1,)},
}


@FORMATS
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_tensor_beyond_its_storage_is_refused(read, legacy, claim):
    checkpoint = Checkpoint(legacy=legacy)
    value = {"conv1.weight": checkpoint.tensor(storage=checkpoint.storage(COUNT), **claim)}
    with pytest.raises(UserError, match=r"'conv1\.weight' claims .* its storage has 24"):
        read(checkpoint.file(value))


IMPOSSIBLE = {
    "negative offset": {"offset": -1, "shape": (1,)},
    "negative length": {"shape": (-1,)},
    "negative stride": {"offset": 9, "shape": (2,), "strides": (-1,)},
    "fewer strides": {"shape": (2, 2), "strides": (1,)},
    "text": {"shape": "ab", "strides": "ab"},
    "fractions": {"shape": (1.5,), "strides": (1,)},
    "truth": {"shape": (True,), "strides": (1,)},
    "64 dimensions": {"shape": (1,) * 64},
    "2^70": {"shape": (2**70,), "strides": (0,)},
}


@FORMATS
@pytest.mark.parametrize("claim", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_shape_that_none_can_have_is_refused(read, legacy, claim):
    checkpoint = Checkpoint(legacy=legacy)
    value = {"a": checkpoint.tensor(storage=checkpoint.storage(COUNT), **claim)}
    with pytest.raises(UserError, match="is damaged: a tensor in it has a shape"):
        read(checkpoint.file(value))


def test_an_empty_tensor_with_vast_lengths_is_refused(read):
    checkpoint = Checkpoint()
    shape = (0, 2**40, 2**40)
    value = {"a": checkpoint.tensor(storage=checkpoint.storage(COUNT), shape=shape, strides=shape)}
    with pytest.raises(UserError, match="a shape that no array can have"):
        read(checkpoint.file(value))


@FORMATS
def test_repeating_one_number_is_bounded(read, legacy):
    """10^12 numbers out of one, by a stride of 0."""
    checkpoint = Checkpoint(legacy=legacy)
    storage = checkpoint.storage(COUNT)
    small = checkpoint.tensor(storage=storage, shape=(1000, 1000), strides=(0, 0))
    assert read(checkpoint.file({"a": small})).arrays["a"].shape == (1000, 1000)
    large = checkpoint.tensor(storage=storage, shape=(10**6, 10**6), strides=(0, 0))
    with pytest.raises(UserError, match=r"claims 4,000,000,000,000 bytes for 'a'"):
        read(checkpoint.file({"a": large}))
    with pytest.raises(UserError, match="more than 64 MiB"):
        read(checkpoint.file({f"tensor {i}": small for i in range(20)}))


@FORMATS
def test_a_storage_must_have_the_size_that_is_stated(read, legacy):
    for count in (23, 25, 10**12):
        checkpoint = Checkpoint(legacy=legacy)
        storage = checkpoint.storage(COUNT, count=count)
        value = {"a": checkpoint.tensor(storage=storage, shape=(2,))}
        with pytest.raises(UserError, match=f"should have {count:,} numbers"):
            read(checkpoint.file(value))


@FORMATS
@pytest.mark.parametrize("other", [{"kind": "torch.IntStorage"}, {"count": 23}], ids=str)
def test_a_storage_has_one_type_and_one_size(read, legacy, other):
    """PyTorch cannot save tensors that see one storage in two ways."""
    checkpoint = Checkpoint(legacy=legacy)
    value = {
        "a": checkpoint.tensor(COUNT),
        "b": checkpoint.tensor(storage=checkpoint.storage(key="0", **other), shape=(2,)),
    }
    with pytest.raises(UserError, match="two storages '0'"):
        read(checkpoint.file(value))


@FORMATS
def test_a_storage_that_misses_is_named(read, legacy):
    checkpoint = Checkpoint(legacy=legacy)
    value = {"conv1.weight": checkpoint.tensor(COUNT)}
    checkpoint.storages.clear()
    with pytest.raises(UserError, match=r"the storage .*of 'conv1\.weight' misses"):
        read(checkpoint.file(value))


@FORMATS
@pytest.mark.parametrize(
    "identity",
    [
        (),
        ("storage",),
        ("module", Named("torch.float32"), "file", "source", 1),
        ("storage", Named("torch.float32"), "0", "cpu", 24),
        ("storage", Named("torch.FloatStorage"), 0, "cpu", 24),
        ("storage", Named("torch.FloatStorage"), "0", "cpu", -1),
        ("storage", Named("torch.FloatStorage"), "0", "cpu", "24"),
    ],
    ids=str,
)
def test_a_reference_that_pytorch_does_not_write(read, legacy, identity):
    identity = (*identity, None) if legacy else identity
    program = pickled({"a": Persistent(identity)})
    write = torch_legacy if legacy else torch_zip
    with pytest.raises(UserError, match="refers to a storage as PyTorch does not"):
        read(write(program, {"0": COUNT}))


@FORMATS
def test_every_beginning_of_a_file_is_refused(read, legacy):
    checkpoint = Checkpoint(legacy=legacy)
    content = checkpoint.file({"a": checkpoint.tensor(COUNT), "b": checkpoint.tensor(COUNT[:3])})
    for length in range(0, len(content), 3):
        with pytest.raises(UserError, match=r"empty|cut short|damaged|not a weights file|text"):
            read(content[:length])


def test_what_follows_a_legacy_file_is_not_dropped_silently(read):
    checkpoint = Checkpoint(legacy=True)
    content = checkpoint.file({"a": checkpoint.tensor(COUNT)})
    with pytest.raises(UserError, match="4 bytes follow its last tensor"):
        read(content + b"more")


def test_other_pickles_and_versions_are_named(read):
    with pytest.raises(UserError, match="a pickle, but not one of PyTorch's"):
        read(pickled({"a": 1}))
    with pytest.raises(UserError, match="other than 1001"):
        read(torch_legacy(pickled({}), {}, version=1002))


def test_a_byte_order_that_is_none(read):
    checkpoint = Checkpoint()
    value = {"a": checkpoint.tensor(COUNT)}
    with pytest.raises(UserError, match="its byte order is 'middle'"):
        read(checkpoint.file(value, byte_order="middle"))


@pytest.mark.parametrize("name", ["archive/constants.pkl", "archive/code/__torch__.py"])
def test_torchscript_is_refused_by_name(read, name):
    checkpoint = Checkpoint()
    value = {"a": checkpoint.tensor(COUNT)}
    with pytest.raises(UserError, match=r"TorchScript archive.*torch\.jit\.load"):
        read(checkpoint.file(value, extra={name: b""}))


@FORMATS
def test_a_call_is_refused_by_name_and_not_run(read, legacy, tmp_path):
    checkpoint = Checkpoint(legacy=legacy)
    tensor = checkpoint.tensor(numbers(ml_dtypes.bfloat16))
    evil = Called("posix.system", (f"touch {tmp_path / 'ran'}",))
    for value in ({"a": tensor, "epoch": evil}, {evil: tensor}, evil, {"a": [[evil]]}):
        with pytest.raises(UserError, match=r"holds a call of os\.system, which was not run"):
            read(checkpoint.file(value))
    assert not (tmp_path / "ran").exists()


@FORMATS
def test_a_whole_model_is_refused_by_name(read, legacy):
    checkpoint = Checkpoint(legacy=legacy)
    model = Called("torchvision.models.resnet.ResNet")
    with pytest.raises(UserError, match=r"whole pickled model .*save `model\.state_dict\(\)`"):
        read(checkpoint.file(model))
