"""Tables of ablations, re-derived image by image."""

import jax
import numpy as np
import pytest

from jaxinterp.errors import UserError
from jaxinterp.methods.ablation import Outcomes
from jaxinterp.methods.ablation_counts import AblationCounts, ablation_rows
from jaxinterp.methods.ablation_plan import AblationVariant, plan_ablations
from jaxinterp.methods.entanglement import DIRECTIONS, entanglement, own_class_effects
from jaxinterp.metrics.intervals import wilson_interval

CLASSES, IMAGES, RESAMPLES = (4, 1, 6), 400, 400


@pytest.fixture(scope="module")
def study():
    """Most relevant units cost their class 0.4 and others 0.1, random ones 0.1, least ones 0."""
    random = np.random.default_rng(0)
    plan = plan_ablations(
        {"a": random.random((50, 3))}, (0.1, 0.2), 6, key=jax.random.key(0), classes=CLASSES
    )
    labels = random.choice([*CLASSES, 3], IMAGES)
    luck, chance = random.random(IMAGES), np.empty((len(plan.variants), IMAGES))
    for place, one in enumerate(plan.variants):
        chance[place] = 0.95 - 0.1 * (one.which in ("most", "random"))
        if one.which == "most":
            chance[place, labels == one.target_class] -= 0.3
        if one.which == "random":
            chance[place] += random.normal(0, 0.02)
    probability = random.random(chance.shape).astype(np.float32)
    counts = AblationCounts(len(plan.variants))
    for batch in np.split(np.arange(IMAGES), [150, 300]):
        padded = np.append(labels[batch], [-1, -1])
        part = Outcomes((luck < chance)[:, batch], probability[:, batch])
        counts.add(padded, Outcomes(*(np.pad(one, ((0, 0), (0, 2))) for one in part)))
    return plan, counts, labels, luck < chance, probability


def test_padding_is_left_out_and_arrays_come_back(study):
    _, counts, labels, correct, probability = study
    for read in (counts, AblationCounts.from_arrays(counts.to_arrays())):
        np.testing.assert_array_equal(read.labels, labels)
        np.testing.assert_array_equal(read.outcomes.correct, correct)
        np.testing.assert_array_equal(read.outcomes.probability, probability)


def test_rows_hold_every_variant_and_class(study):
    plan, counts, labels, correct, probability = study
    rows = ablation_rows(plan, counts, resamples=RESAMPLES)
    assert len(rows) == len(CLASSES) * (len(plan.variants) + 2)
    assert len({tuple(row) for row in rows}) == 1  # the same columns everywhere
    for row in rows:
        if row["which"] == "random_mean":
            continue
        one = AblationVariant(row["which"], row["share"], row["target_class"], row["draw"])
        place, own = plan.find(one), labels == row["class"]
        assert row["images"] == own.sum()
        assert row["correct"] == correct[place, own].sum()
        assert row["accuracy"] == correct[place, own].mean()
        wilson = wilson_interval(row["correct"], row["images"])
        assert (row["accuracy_low"], row["accuracy_high"]) == wilson
        drop = correct[0, own].mean() - correct[place, own].mean()
        assert row["drop"] == pytest.approx(drop, abs=1e-12)
        assert row["low"] <= row["drop"] <= row["high"]
        mean = probability[place, own].mean()
        assert row["probability"] == pytest.approx(mean, rel=1e-6)
        lost = probability[0, own].mean() - mean
        assert row["probability_drop"] == pytest.approx(lost, abs=1e-6)
        if row["which"] in ("most", "least"):
            controls = correct[plan.controls[row["share"]]][:, own].mean()
            assert row["excess"] == pytest.approx(controls - row["accuracy"], abs=1e-12)
            assert row["excess_low"] < row["excess"] < row["excess_high"]
            # Hurt more than by chance where that is so, and not where it is not.
            if one.which == "most" and one.target_class == row["class"]:
                assert row["excess_low"] > 0
            if one.which == "least":
                assert row["excess_high"] < 0
        else:
            assert np.isnan(row["excess"])
    assert all(row["drop"] == row["low"] == row["high"] == 0 for row in rows if not row["share"])


def test_means_over_draws_have_rows_of_their_own(study):
    plan, counts, labels, correct, _ = study
    rows = ablation_rows(plan, counts, resamples=RESAMPLES)
    means = [row for row in rows if row["which"] == "random_mean"]
    assert len(means) == len(CLASSES) * len(plan.shares)
    for row in means:
        own = labels == row["class"]
        accuracy = correct[plan.controls[row["share"]]][:, own].mean()
        assert row["accuracy"] == pytest.approx(accuracy, abs=1e-12)
        assert row["drop"] == pytest.approx(correct[0, own].mean() - accuracy, abs=1e-12)
        assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
        assert row["low"] < row["drop"] < row["high"]


def test_the_same_seed_gives_the_same_table(study):
    plan, counts, *_ = study
    first, again, other = (
        repr(ablation_rows(plan, counts, resamples=50, seed=seed)) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_entanglement_is_every_pair_of_classes(study):
    plan, counts, labels, correct, _ = study
    found = entanglement(plan, counts, resamples=RESAMPLES)
    assert found.accuracy.shape == found.drop.shape == (2, 2, 3, 3)
    assert found.random.shape == (2, 3)
    for j, tested in enumerate(CLASSES):
        own = correct[:, labels == tested].mean(1)
        assert found.baseline[j] == own[0]
        for s, share in enumerate(plan.shares):
            controls = own[plan.controls[share]].mean()
            assert found.random[s, j] == pytest.approx(controls, abs=1e-12)
            assert found.random_low[s, j] < controls < found.random_high[s, j]
            for d, which in enumerate(DIRECTIONS):
                for i, target in enumerate(CLASSES):
                    place = plan.find(AblationVariant(which, share, target))
                    assert found.accuracy[s, d, i, j] == own[place]
                    assert found.drop[s, d, i, j] == own[0] - own[place]


def test_own_class_is_told_from_the_others(study):
    plan, counts, *_ = study
    matrix = entanglement(plan, counts, resamples=50)
    rows = own_class_effects(plan, counts, resamples=RESAMPLES)
    assert [(row["share"], row["which"]) for row in rows] == [
        (share, which) for share in plan.shares for which in ("most", "least", "random")
    ]
    same = np.eye(3, dtype=bool)
    for row in rows:
        assert row["classes"] == 3
        assert row["own_low"] <= row["own_drop"] <= row["own_high"]
        s = plan.shares.index(row["share"])
        random = (matrix.baseline - matrix.random[s]).mean()
        if row["which"] == "random":
            assert row["own_drop"] == pytest.approx(random, abs=1e-12)
            continue
        drop = matrix.drop[s, DIRECTIONS.index(row["which"])]
        assert row["own_drop"] == pytest.approx(drop[same].mean(), abs=1e-12)
        assert row["other_drop"] == pytest.approx(drop[~same].mean(), abs=1e-12)
        assert row["excess"] == pytest.approx(drop[same].mean() - random, abs=1e-12)
        assert row["excess_low"] < row["excess"] < row["excess_high"]
    most, least, random = rows[:3]
    assert most["own_low"] > random["own_high"]
    assert least["own_high"] < random["own_low"]
    assert most["own_low"] > most["other_high"]


def test_draws_serve_all_classes_together():
    """Draws that spoil every class alike do not average out over the classes."""
    random = np.random.default_rng(1)
    plan = plan_ablations({"a": random.random((20, 3))}, [0.1], 10, key=jax.random.key(0))
    correct = np.ones((len(plan.variants), 300), bool)
    labels = np.arange(300) % 3
    for place in plan.controls[0.1]:
        correct[place] = plan.variants[place].draw % 2
    counts = AblationCounts(len(plan.variants))
    counts.add(labels, Outcomes(correct, correct.astype(np.float32)))
    (row,) = [one for one in own_class_effects(plan, counts) if one["which"] == "random"]
    # Ten draws, half of them fatal: the mean's standard deviation is 0.5 / sqrt(10).
    expected = 2 * 1.96 * 0.5 / np.sqrt(10)
    assert row["own_high"] - row["own_low"] == pytest.approx(expected, rel=0.1)


def test_what_is_missing_is_no_number():
    plan = plan_ablations({"a": np.eye(4)}, [0.25], 0, key=jax.random.key(0))
    counts = AblationCounts(len(plan.variants))
    labels = np.array([0, 0, 2])
    shape = (len(plan.variants), 3)
    counts.add(labels, Outcomes(np.ones(shape, bool), np.ones(shape, np.float32)))
    rows = ablation_rows(plan, counts, resamples=10)
    for row in rows:
        assert np.isnan(row["accuracy"]) == (row["class"] in (1, 3))
        assert np.isnan(row["drop"]) == (row["class"] in (1, 3))
        assert np.isnan(row["excess"])
    found = entanglement(plan, counts, resamples=10)
    assert np.isnan(found.random).all()
    np.testing.assert_array_equal(np.isnan(found.baseline), [False, True, False, True])
    effects = own_class_effects(plan, counts, resamples=10)
    assert [row["which"] for row in effects] == ["most", "least"]
    assert all(row["classes"] == 2 and row["own_drop"] == 0 for row in effects)
    # Nothing at all.
    empty = AblationCounts(len(plan.variants))
    assert np.isnan(ablation_rows(plan, empty, resamples=10)[0]["accuracy"])
    assert all(np.isnan(row["own_drop"]) for row in own_class_effects(plan, empty, resamples=10))


def test_outcomes_that_do_not_fit_are_refused(study):
    plan, counts, *_ = study
    with pytest.raises(UserError, match="2 by 3"):
        AblationCounts(2).add(np.zeros(3), Outcomes(np.ones((2, 4)), np.ones((2, 4))))
    with pytest.raises(UserError, match="lack the arrays correct, probability"):
        AblationCounts.from_arrays({"labels": np.zeros(1)})
    for table in (ablation_rows, entanglement, own_class_effects):
        with pytest.raises(UserError, match="of 2 variants"):
            table(plan, AblationCounts(2))
    with pytest.raises(UserError, match="level of confidence"):
        ablation_rows(plan, counts, level=2, resamples=10)
    alone = plan_ablations({"a": np.eye(4)}, [0.25], 2, key=jax.random.key(0), targets=[])
    with pytest.raises(UserError, match="ablates for no class"):
        entanglement(alone, AblationCounts(len(alone.variants)))
