"""Intervals against SciPy and slow bootstraps, and how often they cover the truth."""

import numpy as np
import pytest
from scipy import stats

from jaxinterp.errors import UserError
from jaxinterp.metrics.intervals import (
    bootstrap_controls,
    bootstrap_means,
    excess_interval,
    paired_interval,
    percentile_interval,
    resample_counts,
    wilson_interval,
)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("trials", [1, 2, 7, 100, 10_000])
def test_wilson_equals_scipys(trials, level):
    successes = np.unique([0, 1, trials // 3, trials // 2, trials - 1, trials])
    low, high = wilson_interval(successes, trials, level=level)
    for count, ends in zip(successes, zip(low, high, strict=True), strict=True):
        expected = stats.binomtest(count, trials).proportion_ci(level, method="wilson")
        np.testing.assert_allclose(ends, expected, rtol=0, atol=1e-12)
    assert low[0] == 0
    assert high[-1] == 1


def test_wilson_knows_nothing_without_trials():
    low, high = wilson_interval(np.array([0, 2]), np.array([0, 4]))
    assert (low[0], high[0]) == (0, 1)
    assert 0 < low[1] < 0.5 < high[1] < 1


@pytest.mark.parametrize(("images", "share"), [(30, 0.1), (30, 0.5), (300, 0.97)])
def test_wilson_covers_the_truth_as_often_as_it_says(images, share):
    # Not by simulation: the probability of each count is known.
    successes = np.arange(images + 1)
    low, high = wilson_interval(successes, images)
    covered = stats.binom.pmf(successes, images, share)[(low <= share) & (share <= high)].sum()
    assert 0.92 <= covered <= 0.98


def test_percentiles_are_numpys_along_any_axis():
    values = np.random.default_rng(0).normal(size=(4, 50, 3))
    low, high = percentile_interval(values, level=0.9, axis=1)
    np.testing.assert_allclose(low, np.percentile(values, 5, axis=1), rtol=1e-12)
    np.testing.assert_allclose(high, np.percentile(values, 95, axis=1), rtol=1e-12)
    assert np.isnan(percentile_interval(np.empty((0, 3)))).all()


def test_every_resample_draws_as_many_as_there_are(monkeypatch):
    counts = resample_counts(np.random.default_rng(0), 50, resamples=400)
    assert counts.shape == (400, 50)
    np.testing.assert_array_equal(counts.sum(1), 50)
    # Each is drawn once on average, with the variance of a binomial distribution.
    assert abs(counts.var() - 0.98) < 0.05
    # In pieces, too.
    monkeypatch.setattr("jaxinterp.metrics.intervals._VALUES_AT_ONCE", 130)
    pieces = resample_counts(np.random.default_rng(0), 50, resamples=9)
    np.testing.assert_array_equal(pieces.sum(1), 50)
    assert len({row.tobytes() for row in pieces}) == 9


def test_means_are_those_of_the_images_drawn():
    outcomes = np.random.default_rng(1).random((3, 20))
    counts = resample_counts(np.random.default_rng(2), 20, resamples=5)
    means = bootstrap_means(np.random.default_rng(2), outcomes, resamples=5)
    for row, drawn in zip(means, counts, strict=True):
        images = np.repeat(np.arange(20), drawn.astype(int))
        np.testing.assert_allclose(row, outcomes[:, images].mean(1), rtol=1e-6)


def test_paired_interval_is_the_slow_bootstraps():
    random = np.random.default_rng(3)
    first = random.random(80) < 0.9
    second = first & (random.random(80) < 0.8)
    low, high = paired_interval(np.random.default_rng(4), first, second, resamples=4000)
    slow = []
    for _ in range(4000):
        images = random.integers(80, size=80)
        slow.append(first[images].mean() - second[images].mean())
    # The difference is a multiple of 1/80: both may end one step apart.
    np.testing.assert_allclose([low, high], np.quantile(slow, [0.025, 0.975]), atol=1.5 / 80)
    same = paired_interval(np.random.default_rng(0), first, first)
    assert same == (0, 0)


def test_pairing_narrows_the_interval():
    random = np.random.default_rng(5)
    first = random.random(400) < 0.5
    second = np.where(random.random(400) < 0.05, ~first, first)
    paired = paired_interval(np.random.default_rng(0), first, second)
    shuffled = paired_interval(np.random.default_rng(0), first, random.permutation(second))
    assert paired[1] - paired[0] < 0.5 * (shuffled[1] - shuffled[0])


def test_paired_interval_covers_the_truth():
    random = np.random.default_rng(6)
    covered = 0
    for _ in range(200):
        first = random.random(150) < 0.8
        second = first & (random.random(150) < 0.7)  # a drop of 0.24
        low, high = paired_interval(random, first, second, resamples=300)
        covered += low <= 0.24 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_excess_covers_the_truth_only_if_draws_are_drawn_anew():
    """Controls whose own share right varies: with few of them that is the larger uncertainty."""
    random = np.random.default_rng(7)
    covered = fixed = 0
    for _ in range(100):
        shares = np.clip(random.normal(0.8, 0.08, 20), 0, 1)
        controls = random.random((20, 300)) < shares[:, None]
        treated = random.random(300) < 0.5
        low, high = excess_interval(random, treated, controls, resamples=300)
        covered += low <= 0.3 <= high
        means = bootstrap_means(random, np.vstack([treated, controls]), resamples=300)
        low, high = percentile_interval(means[:, 1:].mean(1) - means[:, 0])
        fixed += low <= 0.3 <= high
    assert 0.87 <= covered / 100 <= 1
    assert fixed < covered


def test_controls_drawn_anew_vary_as_a_mean_does():
    controls = np.broadcast_to(np.arange(10.0), (5000, 10))
    drawn = bootstrap_controls(np.random.default_rng(8), controls)
    assert abs(drawn.mean() - 4.5) < 0.05
    assert abs(drawn.std() - np.arange(10).std() / np.sqrt(10)) < 0.03


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda g: wilson_interval(1, 2, level=1.0), "level of confidence"),
        (lambda g: wilson_interval(3, 2), "number of trials"),
        (lambda g: wilson_interval(-1, 2), "number of trials"),
        (lambda g: percentile_interval(np.ones(3), level=0), "level of confidence"),
        (lambda g: bootstrap_means(g, np.ones((2, 0))), "something to draw from"),
        (lambda g: bootstrap_means(g, np.ones((2, 3)), resamples=0), "something to draw from"),
        (lambda g: paired_interval(g, np.ones(3), np.ones(4)), "the same images"),
        (lambda g: excess_interval(g, np.ones(3), np.ones((2, 4))), "the same images"),
        (lambda g: excess_interval(g, np.ones(3), np.ones((0, 3))), "something to draw from"),
    ],
)
def test_what_cannot_be_estimated_is_refused(call, complaint):
    with pytest.raises(UserError, match=complaint):
        call(np.random.default_rng(0))
