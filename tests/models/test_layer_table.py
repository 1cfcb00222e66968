"""Looking layers up."""

import pytest

from jaxinterp.errors import UserError
from jaxinterp.models.layer_table import Layer, LayerTable

CONV = Layer("conv1", "features.0", "conv", 4, 1, 3, 1)
RELU = Layer("relu1", "", "relu", 4, 1, 3, 1)
BLOCK = Layer("layer1.2", "layer1", "relu", 4, (2, 1), (9, 7), (4, 3), 1, ("4", "stage1"))
DENSE = Layer("fc", "classifier.0", "dense", 3, None, None, None)
GATED = Layer("gated", "", "product", 4, 2, None, None)
TABLE = LayerTable([CONV, RELU, BLOCK, DENSE, GATED])


def test_the_table_is_a_sequence():
    assert len(TABLE) == 5
    assert list(TABLE) == [CONV, RELU, BLOCK, DENSE, GATED]
    assert TABLE[1] is RELU


def test_a_layer_is_found_by_its_name_and_every_alias():
    for row in TABLE:
        for name in (row.name, row.alias, *row.more_aliases):
            if name:
                assert TABLE.find(name) is row


def test_a_name_goes_before_an_alias():
    # A module followed by its activation has its own row.
    table = LayerTable([Layer("a", "b", "conv", 1, 1, 1, 0), Layer("b", "a", "relu", 1, 1, 1, 0)])
    assert table.find("a") is table[0]
    assert table.find("b") is table[1]


def test_an_unknown_layer_is_named_with_its_nearest():
    with pytest.raises(UserError, match=r"no layer 'rleu1'; nearest: relu1"):
        TABLE.find("rleu1")
    with pytest.raises(UserError, match=r"nearest: layer1.2"):
        TABLE.find("Layer1.2")
    with pytest.raises(UserError, match="no layer ''"):
        TABLE.find("")  # rows without an alias are not found so


def test_maps_have_a_stride():
    # A map whose units see the whole image (behind a gate) is a map all the same.
    assert [row.is_map for row in TABLE] == [True, True, True, False, True]
