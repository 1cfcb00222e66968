"""Checkpoints that PyTorch writes are read as PyTorch reads them, bit for bit."""

import argparse
import collections

import ml_dtypes
import numpy as np
import pytest
import torch

from jaxinterp.errors import UserError
from jaxinterp.weights.read import read_weights

DTYPES = {
    torch.float64: np.float64,
    torch.float32: np.float32,
    torch.float16: np.float16,
    torch.bfloat16: ml_dtypes.bfloat16,
    torch.int64: np.int64,
    torch.int32: np.int32,
    torch.int16: np.int16,
    torch.int8: np.int8,
    torch.uint64: np.uint64,
    torch.uint32: np.uint32,
    torch.uint16: np.uint16,
    torch.uint8: np.uint8,
    torch.bool: np.bool_,
}


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def save(request, tmp_path):
    def save(value, **options):
        path = tmp_path / "checkpoint.pth"
        torch.save(value, path, _use_new_zipfile_serialization=request.param, **options)
        return path

    return save


def raw(tensor):
    """The bytes of a tensor, whatever its type."""
    contiguous = tensor.detach().contiguous().reshape(-1)
    return contiguous.view(torch.uint8).numpy().tobytes()


def assert_same(path, expected):
    """`read_weights` finds these tensors, and so does PyTorch."""
    found = read_weights(path)
    assert list(found.arrays) == list(expected)
    for name, tensor in expected.items():
        array = found.arrays[name]
        assert array.dtype == DTYPES[tensor.dtype], name
        assert array.shape == tuple(tensor.shape), name
        assert array.tobytes() == raw(tensor), name
        assert array.flags.aligned
    return found


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type(save, dtype):
    values = torch.randint(0, 2 if dtype == torch.bool else 100, (3, 4, 5)).to(dtype)
    assert_same(save({"a": values, "b": values[1, 2, 3], "none": values[:0]}), {
        "a": values, "b": values[1, 2, 3], "none": values[:0],
    })  # fmt: skip


def test_views_and_shared_storages(save):
    base = torch.arange(120.0).reshape(2, 3, 4, 5)
    value = {
        "base": base,
        "transposed": base.permute(3, 1, 0, 2),
        "sliced": base[:, 1:, ::2, 1::3],
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "row": base[1, 2, 3],
        "number": base[1, 2, 3, 4],
        "expanded": base[0, 0, 0].expand(7, 5),
        "strided": torch.as_strided(base, (10, 6), (3, 2), 5),
        "diagonal": base[0, 0].diagonal(),
        "again": base,
    }
    assert_same(save(value), value)


def network():
    layers = collections.OrderedDict(
        conv1=torch.nn.Conv2d(3, 4, 3), bn1=torch.nn.BatchNorm2d(4), fc=torch.nn.Linear(4, 2)
    )
    return torch.nn.Sequential(layers)


def test_state_dicts_as_training_scripts_save_them(save):
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 3, 7])
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = model.state_dict()
    assert_same(save(state), state)
    wrapped = torch.nn.DataParallel(model).state_dict()
    found = assert_same(
        save(
            {
                "epoch": 7,
                "arch": "resnet20",
                "state_dict": wrapped,
                "best_prec1": torch.tensor(91.75),
                "best_prec5": np.float64(99.5),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "args": argparse.Namespace(lr=0.1, milestones=[100, 150]),
                "device": torch.device("cuda", 0),
                "random": torch.get_rng_state(),
            }
        ),
        state,
    )
    assert found.metadata == {
        "epoch": "7",
        "arch": "resnet20",
        "best_prec1": "91.75",
        "best_prec5": "99.5",
        "device": "cuda:0",
        "random": "tensors, not read",
    }


def test_averaged_and_compiled_models(save):
    model = network()
    averaged = torch.optim.swa_utils.AveragedModel(model)
    assert_same(save({"model_ema": averaged.state_dict()}), model.state_dict())
    compiled = {f"_orig_mod.{name}": value for name, value in model.state_dict().items()}
    assert_same(save(compiled), model.state_dict())


def test_parameters_and_their_attributes(save):
    model = network()
    model.conv1.weight.decay = 0.5
    parameters = dict(model.named_parameters())
    assert_same(save(parameters), parameters)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_of_pickle(save, protocol):
    state = network().state_dict()
    value = {"state_dict": state, "epoch": 2**40, "accuracy": np.float32(0.5)}
    found = assert_same(save(value, pickle_protocol=protocol), state)
    assert found.metadata == {"epoch": str(2**40), "accuracy": "0.5"}


def test_without_checksums(tmp_path):
    state = network().state_dict()
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert_same(tmp_path / "w.pth", state)


REFUSED = {
    "a whole model": (network, r"whole pickled model \(an object of torch\.nn\.modules"),
    "sparse": (lambda: {"a": torch.eye(3).to_sparse()}, "sparse tensors"),
    "complex": (lambda: {"a": torch.zeros(3, dtype=torch.complex64)}, "complex tensors"),
    "8-bit": (lambda: {"a": torch.zeros(3).to(torch.float8_e5m2)}, "8-bit floating-point tensors"),
    "no tensors": (lambda: {"epoch": 1}, "holds no named tensors"),
    "a tensor": (lambda: torch.zeros(3), "no dict of named tensors"),
    "a class": (lambda: {"a": torch.zeros(3), "b": collections.deque([1])}, "collections.deque"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_read_is_named(save, make, reason):
    with pytest.raises(UserError, match=reason):
        read_weights(save(make()))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_quantised_tensors_are_refused(save):
    value = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    with pytest.raises(UserError, match="quantised tensors"):
        read_weights(save({"a": value}))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "w.pt")
    with pytest.raises(UserError, match="TorchScript archive"):
        read_weights(tmp_path / "w.pt")
