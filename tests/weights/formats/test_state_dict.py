"""Which dict in a checkpoint holds the weights."""

import numpy as np
import pytest

from jaxinterp.weights.formats.allowance import Allowance
from jaxinterp.weights.formats.pickle_names import NumpyArray
from jaxinterp.weights.formats.state_dict import find_state_dict, without_prefix
from jaxinterp.weights.formats.torch_tensors import Storage, Tensor
from jaxinterp.weights.formats.unreadable import Unreadable


def tensor(number, *shape):
    """A tensor whose array is full of a number."""
    storage = Storage(str(number), np.dtype(np.float32), 100)
    return Tensor(storage, storage.dtype, 0, shape, (0,) * len(shape))


def read(tensor, name):
    return np.full(tensor.shape, float(tensor.storage.key), np.float32)


def numpy_array(values):
    array = NumpyArray()
    array.array = np.asarray(values)
    return array


WEIGHTS = {"conv1.weight": tensor(1, 2, 3), "conv1.bias": tensor(2, 2)}
OTHERS = {"conv1.weight": tensor(7, 2, 3), "conv1.bias": tensor(7, 2)}
WRAPPED = {f"module.{name}": value for name, value in WEIGHTS.items()}
OPTIMIZER = {
    "state": {0: {"step": tensor(5), "momentum_buffer": tensor(6, 2, 3)}},
    "param_groups": [{"lr": 0.1, "params": [0, 1]}],
}

# A checkpoint, and the metadata that it should have; the weights are always the same.
CHECKPOINTS = {
    "plain": (WEIGHTS, {}),
    "nested": ({"state_dict": WEIGHTS, "epoch": 9}, {"epoch": "9"}),
    "accuracy as a tensor": (
        {"state_dict": WEIGHTS, "best_prec1": tensor(93, 1)},
        {"best_prec1": "93.0"},
    ),
    "accuracy as an array": (
        {"state_dict": WEIGHTS, "best_prec1": numpy_array(0.5)},
        {"best_prec1": "0.5"},
    ),
    "with an optimiser": (
        {"epoch": 3, "arch": "resnet20", "model": WEIGHTS, "optimizer": OPTIMIZER, "lr": 0.1},
        {"epoch": "3", "arch": "resnet20", "lr": "0.1"},
    ),
    "averages beside": (
        {"model_ema": OTHERS, "model": WEIGHTS},
        {"model_ema": "tensors, not read"},
    ),
    "averages alone": ({"model_ema": WEIGHTS}, {}),
    "an unusual name": ({"weights_of_mine": WEIGHTS, "done": True}, {"done": "True"}),
    "two deep": ({"model": {"state_dict": WEIGHTS, "epoch": 2}}, {}),
    "tensors beside a usual name": (
        {"state_dict": WEIGHTS, "class_weights": tensor(3, 10)},
        {"class_weights": "tensors, not read"},
    ),
    "DataParallel": ({"state_dict": WRAPPED}, {}),
    "compiled DataParallel": ({f"_orig_mod.{k}": v for k, v in WRAPPED.items()}, {}),
    "a module of one's own": ({f"model.{k}": v for k, v in WEIGHTS.items()}, {}),
    "averaged": ({"model": {"n_averaged": tensor(4), **WRAPPED}}, {"n_averaged": "4.0"}),
    "a number among the weights": ({**WEIGHTS, "version": 2}, {"version": "2"}),
    "long text": (
        {"state_dict": WEIGHTS, "log": "x" * 999, "bell": "\a", 5: "five", "none": None},
        {},
    ),
}


@pytest.mark.parametrize(("value", "metadata"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_the_weights_are_found(value, metadata):
    found = find_state_dict(value, read, Allowance(0))
    assert found.metadata == metadata
    assert list(found.arrays) == list(WEIGHTS)
    np.testing.assert_array_equal(found.arrays["conv1.weight"], np.ones((2, 3)))
    np.testing.assert_array_equal(found.arrays["conv1.bias"], [2, 2])


REFUSED = {
    "a tensor": (tensor(1, 2), "no dict of named tensors"),
    "a list": ([tensor(1, 2)], "no dict of named tensors"),
    "nothing": (None, "no dict of named tensors"),
    "an empty dict": ({}, "holds no named tensors, only nothing"),
    "no tensors": ({"epoch": 1, "arch": "vgg"}, "no named tensors, only 'epoch', 'arch'"),
    "an optimiser": (OPTIMIZER, "no named tensors, only 'state', 'param_groups'"),
    "two networks": ({"netG": WEIGHTS, "netD": OTHERS}, "several names \\('netG', 'netD'\\)"),
    "both": ({"conv1.weight": tensor(1, 2), "more": OTHERS}, "'more', 'conv1.weight'"),
    "numbers for names": ({0: tensor(1, 2)}, "name is no text but '0'"),
}


@pytest.mark.parametrize(("value", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_told_is_refused(value, reason):
    with pytest.raises(Unreadable, match=reason):
        find_state_dict(value, read, Allowance(0))


def test_one_dict_a_million_times_is_looked_into_once():
    part = {f"key {i}": i for i in range(3000)}
    value = {f"key {i}": part for i in range(300_000)}
    with pytest.raises(Unreadable, match="no named tensors"):
        find_state_dict(value, read, Allowance(0))


def test_an_array_in_the_pickle_is_counted_as_often_as_it_is_named():
    array = numpy_array(np.zeros(2**20))
    assert len(find_state_dict({"a": array, "b": array}, read, Allowance(0)).arrays) == 2
    with pytest.raises(Unreadable, match="more than 64 MiB"):
        find_state_dict({str(i): array for i in range(9)}, read, Allowance(0))


def test_a_prefix_stays_if_not_all_names_have_it():
    arrays = {"module.a": np.zeros(1), "b": np.zeros(1)}
    assert without_prefix(arrays) == arrays
    assert without_prefix({}) == {}
    assert list(without_prefix({"module.model.a": np.zeros(1)})) == ["a"]


def test_taking_prefixes_away_ends_soon():
    (name,) = without_prefix({"module." * 10**5: np.zeros(1)})
    assert len(name) > 6 * 10**5
