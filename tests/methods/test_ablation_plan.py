"""Which units are turned off: by hand, and what must hold for all scores."""

import jax
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as arrays

from jaxinterp.errors import UserError
from jaxinterp.methods.ablation_plan import (
    AblationVariant,
    ablated_units,
    plan_ablations,
    random_units,
    units_to_ablate,
)

KEY = jax.random.key(0)


def off(keep):
    return {name: np.flatnonzero(~mask).tolist() for name, mask in keep.items()}


@pytest.mark.parametrize(
    ("units", "share", "expected"),
    [(10, 0.01, 1), (50, 0.03, 2), (149, 0.01, 1), (150, 0.01, 2), (512, 0.03, 15), (7, 1, 7)],
)
def test_a_share_is_rounded_and_at_least_one_unit(units, share, expected):
    assert units_to_ablate(units, share) == expected


def test_the_highest_and_lowest_scores_go_by_layer():
    scores = {"a": np.array([3.0, -1, 5, 0]), "b": np.array([1.0, 2])}
    assert off(ablated_units(scores, 0.5)) == {"a": [0, 2], "b": [1]}
    assert off(ablated_units(scores, 0.5, "least")) == {"a": [1, 3], "b": [0]}


def test_ties_go_by_index_and_what_is_no_number_goes_last():
    scores = {"a": np.array([np.nan, 1, 1, 1, np.nan, 0])}
    assert off(ablated_units(scores, 2 / 6)) == {"a": [1, 2]}
    assert off(ablated_units(scores, 3 / 6, "least")) == {"a": [1, 2, 5]}
    assert off(ablated_units(scores, 5 / 6)) == {"a": [0, 1, 2, 3, 5]}


@given(
    arrays.arrays(np.float32, st.integers(2, 40), elements=st.floats(-4, 4, width=16)),
    st.floats(0.01, 1),
)
def test_no_unit_left_on_scores_more_than_one_turned_off(scores, share):
    for which, sign in (("most", 1), ("least", -1)):
        keep = ablated_units({"a": scores}, share, which)["a"]
        assert (~keep).sum() == units_to_ablate(len(scores), share)
        if keep.any():
            assert (sign * scores[~keep]).min() >= (sign * scores[keep]).max()


def test_random_units_are_as_many_and_nested_and_fair():
    sizes = {"a": 20, "b": 50}
    few, many = (random_units(KEY, sizes, share, 2000) for share in (0.1, 0.2))
    for name, units in sizes.items():
        assert few[name].shape == (2000, units)
        np.testing.assert_array_equal((~few[name]).sum(1), units // 10)
        assert (few[name] >= many[name]).all()
        # Each unit is off in a tenth of the draws: within five standard deviations.
        assert abs((~few[name]).mean(0) - 0.1).max() < 5 * np.sqrt(0.09 / 2000)
    assert len({row.tobytes() for row in many["b"]}) > 1990
    np.testing.assert_array_equal(random_units(KEY, sizes, 0.1, 2000)["b"], few["b"])
    assert (random_units(jax.random.key(1), sizes, 0.1, 2000)["b"] != few["b"]).any()


def test_a_plan_has_every_class_share_and_draw():
    random = np.random.default_rng(0)
    relevance = {"a": random.random((40, 3)), "b": random.random((30, 3))}
    plan = plan_ablations(relevance, (0.05, 0.1), 4, key=KEY, classes=[7, 2, 5])
    assert len(plan.variants) == len(set(plan.variants)) == 1 + 2 * (2 * 3 + 4)
    assert plan.classes == (7, 2, 5)
    assert plan.shares == (0.05, 0.1)
    assert plan.variants[0] == AblationVariant("none")
    assert all(mask[0].all() and mask.shape[0] == 21 for mask in plan.keep.values())
    for share in plan.shares:
        for column, index in enumerate(plan.classes):
            for which in ("most", "least"):
                place = plan.find(AblationVariant(which, share, index))
                scores = {name: values[:, column] for name, values in relevance.items()}
                expected = ablated_units(scores, share, which)
                for name, mask in plan.keep.items():
                    np.testing.assert_array_equal(mask[place], expected[name])
        places = plan.controls[share]
        assert [plan.variants[place].draw for place in places] == [0, 1, 2, 3]
        assert all(
            ((~mask[places]).sum(1) == units_to_ablate(mask.shape[1], share)).all()
            for mask in plan.keep.values()
        )


def test_a_plan_may_have_fewer_targets_and_no_control():
    plan = plan_ablations({"a": np.eye(5)}, [0.2], 0, key=KEY, targets=[3])
    assert [one.target_class for one in plan.variants] == [None, 3, 3]
    assert plan.classes == (0, 1, 2, 3, 4)
    assert plan.controls == {}
    with pytest.raises(UserError, match="has no"):
        plan.find(AblationVariant("most", 0.2, 2))


SCORES = {"a": np.ones(5)}


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: ablated_units(SCORES, 0), r"lies in \(0, 1\]"),
        (lambda: ablated_units(SCORES, 1.5), r"lies in \(0, 1\]"),
        (lambda: ablated_units(SCORES, float("nan")), r"lies in \(0, 1\]"),
        (lambda: ablated_units({"a": np.ones(1)}, 0.5), "Layer 'a': .*needs two"),
        (lambda: ablated_units({"a": np.ones((2, 2))}, 0.5), "one score a unit"),
        (lambda: ablated_units(SCORES, 0.5, "top"), "no choice of units 'top'"),
        (lambda: random_units(KEY, {"a": 5}, 0.5, 0), "at least one draw"),
        (lambda: random_units(KEY, {"a": 1}, 0.5, 1), "Layer 'a'"),
        (lambda: plan_ablations({}, key=KEY), "no layer to ablate"),
        (lambda: plan_ablations(SCORES, key=KEY), "must be"),
        (lambda: plan_ablations({"a": np.eye(3), "b": np.eye(4)}, key=KEY), "'b'"),
        (lambda: plan_ablations({"a": np.eye(3)}, [], key=KEY), "each once"),
        (lambda: plan_ablations({"a": np.eye(3)}, [0.5, 0.5], key=KEY), "each once"),
        (lambda: plan_ablations({"a": np.eye(3)}, draws=-1, key=KEY), "cannot be negative"),
        (lambda: plan_ablations({"a": np.eye(3)}, key=KEY, classes=[1, 2]), "3 classes"),
        (lambda: plan_ablations({"a": np.eye(3)}, key=KEY, classes=[1, 1, 2]), "3 classes"),
        (lambda: plan_ablations({"a": np.eye(3)}, key=KEY, classes=[-1, 1, 2]), "3 classes"),
        (lambda: plan_ablations({"a": np.eye(3)}, key=KEY, targets=[3]), "no class '3'"),
        (lambda: plan_ablations({"a": np.empty((3, 0))}, key=KEY), "no class to ablate"),
    ],
)
def test_plans_that_cannot_be_are_refused(call, complaint):
    with pytest.raises(UserError, match=complaint):
        call()
