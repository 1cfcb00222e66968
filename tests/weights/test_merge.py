"""Layouts and the strict merge."""

import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from jaxinterp.errors import UserError
from jaxinterp.weights.layout import from_torch_layout, to_torch_layout
from jaxinterp.weights.merge import merge

FLATTENED = {"classifier.0.weight": (5, 3)}


def ours(seed=0):
    random = np.random.default_rng(seed)
    return {
        "features.0.weight": random.normal(size=(3, 2, 4, 5)),  # h, w, in, out
        "features.0.bias": random.normal(size=5),
        "classifier.0.weight": random.normal(size=(45, 6)),
        "classifier.2.weight": random.normal(size=(6, 7)),
    }


def test_layouts_are_inverses_of_each_other():
    values = ours()
    there = to_torch_layout(values, flattened=FLATTENED)
    back = from_torch_layout(there, flattened=FLATTENED)
    assert list(back) == list(values)
    for name, value in values.items():
        np.testing.assert_array_equal(back[name], value)
        assert there[name].flags.c_contiguous
        assert back[name].flags.c_contiguous


def test_pytorchs_layout_holds_the_same_numbers_at_other_places():
    values = ours()
    there = to_torch_layout(values, flattened=FLATTENED)
    weight = values["features.0.weight"]
    assert there["features.0.weight"].shape == (5, 4, 3, 2)
    for h, w, i, o in np.ndindex(weight.shape):
        assert there["features.0.weight"][o, i, h, w] == weight[h, w, i, o]
    np.testing.assert_array_equal(there["classifier.2.weight"], values["classifier.2.weight"].T)
    # A map [3, 3, 5] flattened here and the same map [5, 3, 3] flattened there meet the same rows.
    maps = np.random.default_rng(1).normal(size=(3, 3, 5))
    here = maps.reshape(-1) @ values["classifier.0.weight"]
    flat = maps.transpose(2, 0, 1).reshape(-1)
    np.testing.assert_allclose(there["classifier.0.weight"] @ flat, here, rtol=1e-9)


@given(
    channels=st.integers(1, 4), grid=st.integers(1, 3), rows=st.integers(1, 12), flat=st.booleans()
)
def test_dense_weights_of_any_size_are_converted(channels, grid, rows, flat):
    # Those of another network too: the merge says then what does not fit.
    value = np.arange(rows * 2.0).reshape(2, rows)
    flattened = {"w": (channels, grid)} if flat else {}
    converted = from_torch_layout({"w": value}, flattened=flattened)["w"]
    assert converted.shape == (rows, 2)
    assert set(converted[:, 0]) == set(value[0])


def leaf(*shape):
    return jax.ShapeDtypeStruct(shape, "float32")


WANTED = {"a.weight": leaf(2, 3), "a.bias": leaf(3), "b.weight": leaf(3, 4), "b.bias": leaf(4)}
WHOLE = {name: np.full(want.shape, float(i)) for i, (name, want) in enumerate(WANTED.items())}


def test_merge_takes_every_array_and_passes_counters_over():
    found = dict(reversed(WHOLE.items())) | {"a.num_batches_tracked": np.asarray(5)}
    merged = merge(WANTED, found, source="file")
    assert list(merged) == list(WANTED)
    assert all(merged[name] is WHOLE[name] for name in WANTED)


def test_merge_reports_all_that_is_wrong_at_once():
    found = dict(WHOLE) | {"c.weight": np.zeros(1), "b.bias": np.zeros(5)}
    del found["a.bias"], found["b.weight"]
    with pytest.raises(UserError) as caught:
        merge(WANTED, found, source="weights.safetensors")
    message = str(caught.value)
    assert "weights.safetensors" in message
    assert "missing 2 (a.bias, b.weight)" in message
    assert "unexpected 1 (c.weight)" in message
    assert "mis-shaped 1 (b.bias (5,) instead of (4,))" in message
    assert "\n" not in message


def test_merge_names_shapes_as_they_are_in_the_file():
    wanted = {"a.weight": leaf(3, 5, 2, 8), "b.weight": leaf(4, 6)}
    found = {"a.weight": np.zeros((3, 5, 1, 8)), "b.weight": np.zeros((4, 7))}
    with pytest.raises(UserError) as caught:
        merge(wanted, found, source="file", layout="torch")
    assert "a.weight (8, 1, 3, 5) instead of (8, 2, 3, 5)" in str(caught.value)
    assert "b.weight (7, 4) instead of (6, 4)" in str(caught.value)
    with pytest.raises(UserError, match=r"a\.weight \(3, 5, 1, 8\) instead of \(3, 5, 2, 8\)"):
        merge(wanted, found, source="file")


@pytest.mark.parametrize("fault", ["missing", "unexpected", "mis-shaped", "not floating-point"])
def test_merge_reports_only_what_is_wrong(fault):
    found = dict(WHOLE)
    if fault == "missing":
        del found["a.bias"]
    elif fault == "unexpected":
        found["c"] = np.zeros(1)
    elif fault == "not floating-point":
        found["a.bias"] = np.zeros(3, np.int8)
    else:
        found["a.bias"] = np.zeros((3, 1))
    with pytest.raises(UserError) as caught:
        merge(WANTED, found, source="file")
    words = {"missing", "unexpected", "mis-shaped", "not floating-point"}
    assert {word for word in words if word in str(caught.value)} == {fault}


def test_half_precision_is_floating_point():
    found = {name: value.astype(ml_dtypes.bfloat16) for name, value in WHOLE.items()}
    assert set(merge(WANTED, found, source="file")) == set(WANTED)


def test_merge_shortens_a_long_list():
    wanted = {f"layer{i}": leaf(1) for i in range(20)}
    with pytest.raises(UserError, match=r"missing 20 \(layer0, .*layer5 and 14 more\)"):
        merge(wanted, {}, source="file")
