"""Agreement of IoU and relevance: ranks against SciPy, measures against loops, known answers."""

import itertools

import numpy as np
import pytest
from scipy import stats

from jaxinterp.errors import UserError
from jaxinterp.metrics.agreement import MEASURES, agreement
from jaxinterp.metrics.ranks import (
    average_ranks,
    hypergeometric_tail,
    top_membership,
    weighted_rank_correlation,
)

RANDOM = np.random.default_rng(0)
TIED = np.array([0, 0, 3, 1, 0, 2, 2, 5.0])


def scores(units=(30, 41), classes=4, seed=0):
    random = np.random.default_rng(seed)
    return {f"layer{i}": random.gamma(0.5, size=(n, classes)) for i, n in enumerate(units)}


def mixed(first, share, seed=1):
    """Scores that agree with others in part, and hold ties."""
    other = scores([len(one) for one in first.values()], 4, seed)
    return {name: np.round(share * first[name] + (1 - share) * other[name], 1) for name in first}


IOU = mixed(scores(), 1.0)
RELEVANCE = mixed(IOU, 0.6)


@pytest.mark.parametrize("values", [TIED, RANDOM.normal(size=20), np.ones(3)])
def test_ranks_are_scipys(values):
    np.testing.assert_array_equal(average_ranks(values), stats.rankdata(values))


def test_rank_correlation_is_scipys_with_and_without_copies():
    first, second = TIED, np.array([1, 0, 2, 2, 0, 2, 4, 3.0])
    counts = RANDOM.multinomial(8, np.full(8, 1 / 8), size=(5, 3))
    counts[0, 0] = 1
    found = weighted_rank_correlation(first, second, counts)
    for place in np.ndindex(5, 3):
        copies = np.repeat(first, counts[place]), np.repeat(second, counts[place])
        assert found[place] == pytest.approx(stats.spearmanr(*copies)[0])
    assert np.isnan(weighted_rank_correlation(first, second, [1, 1, 0, 0, 1, 0, 0, 0]))


@pytest.mark.parametrize("top", range(6))
def test_membership_is_the_mean_over_all_ways_to_break_ties(top):
    values = np.array([1, 0, 1, 2, 0.0])
    found = np.zeros(5)
    ways = list(itertools.permutations(range(5)))
    for way in ways:
        found[np.lexsort([way, -values])[:top]] += 1 / len(ways)
    np.testing.assert_allclose(top_membership(values, top), found, atol=1e-12)


def test_the_chance_of_a_common_set_is_scipys():
    for units, top in [(10, 1), (10, 4), (64, 6), (7, 6), (512, 51)]:
        for shared in np.arange(0, top + 0.1, 0.5):
            expected = stats.hypergeom.sf(np.ceil(shared) - 1, units, top, top)
            assert hypergeometric_tail(shared, units, top) == pytest.approx(expected)


def place_distance(first, second):
    return np.abs(np.sort(first) - np.sort(second)).mean()


@pytest.mark.parametrize("top", [0.1, 0.25, 1.0])
def test_measures_slowly(top):
    iou = scores()
    relevance = {name: one + scores(seed=5)[name] for name, one in iou.items()}
    found = agreement(iou, relevance, top=top, draws=20)
    for name, units in {"layer0": 30, "layer1": 41}.items():
        k = max(1, round(top * units))
        for c in range(4):
            a, b = iou[name][:, c], relevance[name][:, c]
            best = np.argsort(a)[-k:], np.argsort(b)[-k:]
            shared = len(set(best[0]) & set(best[1]))
            expected = {
                "score_error": np.mean(np.abs(a / a.max() - b / b.max())),
                "position_error": place_distance(*best) / units,
                "correlation": stats.spearmanr(a, b)[0],
                "overlap": shared / k,
            }
            for measure, value in expected.items():
                assert found.measures[measure].values[name][c] == pytest.approx(value)
            p_value = stats.hypergeom.sf(shared - 1, units, k, k)
            assert found.overlap_p_value[name][c] == pytest.approx(p_value)
        pairs = itertools.permutations(range(4), 2)
        others = [stats.spearmanr(iou[name][:, c], relevance[name][:, d])[0] for c, d in pairs]
        assert found.other_classes[name] == pytest.approx(np.mean(others))


def test_tables_form_is_the_mean_over_classes_then_layers():
    found = agreement(IOU, RELEVANCE, draws=20)
    summary = found.summary()
    for name, one in found.measures.items():
        layers = [np.mean(values) for values in one.values.values()]
        assert list(one.by_layer.values()) == pytest.approx(layers)
        assert one.mean == pytest.approx(np.mean(layers))
        assert one.deviation == pytest.approx(np.std(layers, ddof=1))
        assert summary["measures"][name]["mean"] == one.mean
        assert summary["measures"][name]["p_value"] == one.p_value
    assert summary["compared"] == 8
    rows, layer_rows = found.rows("abcd"), found.layer_rows()
    assert [(row["layer"], row["class"]) for row in rows] == list(itertools.product(IOU, "abcd"))
    for row in layer_rows:
        own = [one["overlap"] for one in rows if one["layer"] == row["layer"]]
        assert row["overlap"] == pytest.approx(np.mean(own))
        assert row["classes"] == 4


def test_rows_need_a_name_for_each_class():
    with pytest.raises(UserError, match="4 classes, but 3 names"):
        agreement(IOU, RELEVANCE, draws=1).rows("abc")


def test_chance_is_that_of_random_orders():
    found = agreement(IOU, RELEVANCE, top=0.2, draws=3000)
    for name in IOU:
        for c in range(4):
            a, b = (one[name][:, c] for one in (IOU, RELEVANCE))
            # In random order each score meets each other one equally often.
            pairs = np.abs(a[:, None] / a.max() - b / b.max())
            chance = {measure: one.chance[name][c] for measure, one in found.measures.items()}
            assert chance["score_error"] == pytest.approx(pairs.mean(), rel=0.02)
            assert chance["overlap"] == pytest.approx(round(0.2 * len(a)) / len(a), rel=0.1)
            assert chance["correlation"] == pytest.approx(0, abs=0.02)


def test_equal_scores_agree_and_unrelated_ones_do_not():
    iou = scores()
    same = agreement(iou, {name: 7 * one for name, one in iou.items()}, draws=200)
    for name, more_is_better in MEASURES.items():
        assert same.measures[name].mean == pytest.approx(float(more_is_better), abs=1e-12)
        assert same.measures[name].p_value == pytest.approx(1 / 201)
    assert same.interval == pytest.approx((1, 1))
    assert np.abs(list(same.other_classes.values())).max() < 0.3
    p_values = [
        agreement(iou, scores(seed=seed), draws=100).measures["correlation"].p_value
        for seed in range(10, 40)
    ]
    # Of as good as uniform ones the mean of 30 is within 0.21 of a half but for one case in 10^4.
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.21)


def test_intervals_hold_the_truth_as_often_as_they_say():
    random = np.random.default_rng(4)
    r, inside = 0.6, 0
    truth = 6 / np.pi * np.arcsin(r / 2)  # of normal variables
    for _ in range(100):
        pair = random.multivariate_normal([0, 0], [[1, r], [r, 1]], size=50)
        first, second = np.exp(pair).T[:, :, None]
        low, high = agreement({"a": first}, {"a": second}, draws=200, confidence=0.9).interval
        inside += low <= truth <= high
    assert 80 <= inside <= 98


def test_the_order_of_units_counts_for_positions_only():
    order = {name: RANDOM.permutation(len(one)) for name, one in IOU.items()}
    moved = [{name: one[name][order[name]] for name in one} for one in (IOU, RELEVANCE)]
    first, second = agreement(IOU, RELEVANCE, draws=5), agreement(*moved, draws=5)
    for measure in MEASURES:
        changed = first.measures[measure].mean != pytest.approx(second.measures[measure].mean)
        assert changed == (measure == "position_error")


def test_units_without_a_score_are_left_out_and_counted():
    iou, relevance = {"a": IOU["layer0"].copy()}, {"a": RELEVANCE["layer0"].copy()}
    iou["a"][[3, 7], 0], relevance["a"][9, 1], relevance["a"][3, 0] = np.nan, np.inf, np.nan
    iou["a"][:, 2] = 0
    iou["a"][2:, 3] = np.nan
    found = agreement(iou, relevance, draws=50)
    np.testing.assert_array_equal(found.left_out["a"], [2, 1, 0, 28])
    np.testing.assert_array_equal(found.units["a"], [28, 29, 30, 2])
    np.testing.assert_array_equal(found.constant["a"], [False, False, True, False])
    np.testing.assert_array_equal(found.top["a"], [3, 3, 0, 0])
    kept = np.delete(np.arange(30), [3, 7])
    alone = agreement({"a": iou["a"][kept, :1]}, {"a": relevance["a"][kept, :1]}, draws=50)
    for name, one in found.measures.items():
        assert one.values["a"][0] == pytest.approx(alone.measures[name].values["a"][0])
        np.testing.assert_array_equal(np.isnan(one.values["a"]), [False, False, True, True])
        assert one.by_layer["a"] == pytest.approx(one.values["a"][:2].mean())
        assert np.isnan(one.deviation)
    summary = found.summary()
    counts = {"compared": 2, "constant": 1, "units_left_out": 31}
    assert {name: summary[name] for name in counts} == counts


def test_nothing_to_compare_is_no_number():
    nothing = {"a": np.full((5, 2), np.nan)}
    found = agreement(nothing, nothing, draws=5)
    for one in found.measures.values():
        assert np.isnan([one.mean, one.deviation, one.chance_mean, one.p_value]).all()
    assert np.isnan(found.interval).all()
    assert found.layer_rows()[0]["classes"] == 0


def test_draws_depend_on_the_seed_only():
    first, second, other = (agreement(IOU, RELEVANCE, draws=20, seed=s) for s in (1, 1, 2))
    assert first.summary() == second.summary()
    assert first.interval != other.interval


@pytest.mark.parametrize(
    ("iou", "relevance", "options", "message"),
    [
        ({}, {}, {}, "no layer"),
        (IOU, {"layer0": RELEVANCE["layer0"]}, {}, "lacks layer1"),
        ({"a": np.ones((3, 2))}, {"a": np.ones((3, 1))}, {}, r"\[3, 2\], relevance \[3, 1\]"),
        ({"a": np.ones(3)}, {"a": np.ones(3)}, {}, "must be"),
        ({"a": np.ones((3, 2))}, {"a": -np.ones((3, 2))}, {}, "negative score"),
        (IOU, RELEVANCE, {"top": 0}, "top must be"),
        (IOU, RELEVANCE, {"top": 1.5}, "top must be"),
        (IOU, RELEVANCE, {"confidence": 1}, "confidence must be"),
        (IOU, RELEVANCE, {"draws": 0}, "draws must be"),
    ],
)
def test_bad_input_is_refused(iou, relevance, options, message):
    with pytest.raises(UserError, match=message):
        agreement(iou, relevance, **options)
