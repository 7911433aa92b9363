"""Which score predicts use: a true order is found, a random one is not, ties and constants hold."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from terraloom.errors import InputError
from terraloom.usefulness import (
    Score,
    kendall_rows,
    rank_scores,
    smallest_correlation,
    spearman_rows,
)

FEW = {"draws": 200, "permutations": 999}


def planted(slices=24, runs=3, noise=0.3, seed=0):
    """A true merit per slice, and gains that follow it with noise of their own in every run."""
    random = np.random.default_rng(seed)
    merit = random.normal(size=slices)
    return merit, 0.02 * (merit[:, None] + random.normal(0, noise, size=(slices, runs)))


def words(ranking):
    return {finding.score: finding.word for finding in ranking.findings}


def test_a_score_that_orders_the_gains_is_found_among_others():
    merit, gains = planted()
    random = np.random.default_rng(1)
    scores = [
        Score("true", np.exp(merit), "higher"),
        Score("distance", -merit, "lower"),
        Score("wrong way", merit, "lower"),
        *(Score(f"noise {i}", random.normal(size=24), "higher") for i in range(5)),
    ]
    ranking = rank_scores(scores, gains, seed=0, **FEW)
    found = words(ranking)
    assert found["true"] == found["distance"] == "predicts"
    assert found["wrong way"] == "misleads"
    assert {found[f"noise {i}"] for i in range(5)} == {"no evidence"}
    true, distance = ranking.findings[:2]
    assert true.spearman.mean == pytest.approx(distance.spearman.mean)
    assert 0 < true.spearman.low < true.spearman.mean < true.spearman.high
    assert true.kendall.low > 0
    assert true.p < 0.005
    assert true.p <= true.p_holm
    assert "true (ρ +0.9" in ranking.sentence
    assert "wrong way" in ranking.sentence
    assert ranking.repeatability > 0.6
    assert ranking.repeatability < ranking.reliability < 1


def test_values_are_scipys():
    merit, gains = planted(slices=12, noise=1.0)
    values = np.round(merit)  # ties
    finding = rank_scores([Score("s", values, "higher")], gains, seed=0, **FEW).findings[0]
    mean = gains.mean(axis=1)
    assert finding.spearman.mean == pytest.approx(stats.spearmanr(values, mean).statistic)
    assert finding.kendall.mean == pytest.approx(stats.kendalltau(values, mean).statistic)


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12))
def test_rows_of_draws_are_correlated_as_scipy_does(pairs):
    x, y = np.array(pairs, dtype=np.float64).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(spearman_rows(x[None], y[None])[0])
        assert np.isnan(kendall_rows(x[None], y[None])[0])
        return
    assert spearman_rows(x[None], y[None])[0] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert kendall_rows(x[None], y[None])[0] == pytest.approx(stats.kendalltau(x, y).statistic)


def test_random_scores_are_found_in_no_more_than_one_study_of_twenty():
    studies, scores, alarms = 400, 3, 0
    for study in range(studies):
        random = np.random.default_rng([7, study])
        gains = random.normal(size=(16, 3)) + random.normal(size=(16, 1))
        tried = [Score(f"s{i}", random.normal(size=16), "higher") for i in range(scores)]
        found = rank_scores(tried, gains, seed=study, draws=10, permutations=299)
        alarms += any(word in ("predicts", "misleads") for word in words(found).values())
    # A true rate of 5 % would leave this count behind in 99 of 100 such tests.
    assert stats.binomtest(alarms, studies, 0.05, alternative="greater").pvalue > 0.01
    assert alarms > 0


def test_an_exact_p_value_of_few_slices():
    # Of the 5! orders of five slices one is the same and one the opposite.
    gains = np.arange(5.0)[:, None]
    finding = rank_scores([Score("s", np.arange(5.0), "higher")], gains, seed=0, **FEW).findings[0]
    assert finding.p == pytest.approx(2 / 120)


def test_few_slices_are_said_to_be_too_few():
    merit, gains = planted(slices=6, noise=2.0, seed=3)
    scores = [Score(f"s{i}", np.roll(merit, i), "higher") for i in range(4)]
    ranking = rank_scores(scores, gains, seed=0, **FEW)
    assert set(words(ranking).values()) == {"too few slices"}
    assert "too small to say" in ranking.sentence
    three = rank_scores([Score("s", merit[:3], "higher")], gains[:3], seed=0, **FEW)
    assert three.findings[0].spearman is None
    assert "too small to say anything" in three.sentence


def test_constants_have_no_figure_and_take_no_part_in_the_correction():
    merit, gains = planted()
    flat = Score("flat", np.full(24, 0.5), "higher")
    alone = rank_scores([Score("true", merit, "higher")], gains, seed=0, **FEW)
    beside = rank_scores([Score("true", merit, "higher"), flat], gains, seed=0, **FEW)
    assert words(beside) == {"true": "predicts", "flat": "constant"}
    assert beside.findings[0] == alone.findings[0]
    same = rank_scores([Score("true", merit, "higher")], np.zeros((24, 3)), seed=0, **FEW)
    assert words(same) == {"true": "constant"}
    assert same.repeatability is None
    json.dumps([beside.to_json(), same.to_json()], allow_nan=False)


def test_slices_without_a_score_are_left_out_and_counted():
    merit, gains = planted()
    values = merit.copy()
    values[::4] = np.nan
    finding = rank_scores([Score("s", values, "higher")], gains, seed=0, **FEW).findings[0]
    assert finding.slices == 18
    assert finding.word == "predicts"


def test_noise_repeats_between_no_two_runs():
    random = np.random.default_rng(5)
    ranking = rank_scores(
        [Score("s", random.normal(size=40), "higher")], random.normal(size=(40, 4)), seed=0, **FEW
    )
    assert abs(ranking.repeatability) < 0.2
    assert ranking.reliability < 0.5


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    # Bivariate normal with ρ = 0.6: Spearman's ρ is 6/π asin(ρ/2).
    truth, hits, studies = 6 / np.pi * np.arcsin(0.3), 0, 60
    for study in range(studies):
        random = np.random.default_rng([11, study])
        x = random.normal(size=40)
        gains = (0.6 * x + 0.8 * random.normal(size=40))[:, None]
        rho = rank_scores(
            [Score("s", x, "higher")], gains, seed=study, draws=300, permutations=99
        ).findings[0].spearman  # fmt: skip
        hits += rho.low <= truth <= rho.high
    assert 0.85 <= hits / studies <= 1


def test_the_smallest_correlation_falls_with_slices_and_rises_with_scores():
    assert smallest_correlation(3, 1) is None
    assert smallest_correlation(12, 1) > smallest_correlation(48, 1)
    assert smallest_correlation(24, 12) > smallest_correlation(24, 1)
    # At this size four of five studies find it.
    slices, found = 30, 0
    rho = smallest_correlation(slices, 1)
    pearson = 2 * np.sin(np.pi * rho / 6)
    for study in range(100):
        random = np.random.default_rng([13, study])
        x = random.normal(size=slices)
        gains = pearson * x + np.sqrt(1 - pearson**2) * random.normal(size=slices)
        ranking = rank_scores(
            [Score("s", x, "higher")], gains[:, None], seed=study, draws=10, permutations=499
        )
        found += ranking.findings[0].word == "predicts"
    assert 0.7 <= found / 100 <= 0.9


def test_equal_inputs_give_equal_figures():
    merit, gains = planted(noise=1.0)
    scores = [Score("s", merit, "higher")]
    assert rank_scores(scores, gains, seed=4, **FEW) == rank_scores(scores, gains, seed=4, **FEW)


@pytest.mark.parametrize(
    ("scores", "gains", "told"),
    [
        ([], np.zeros(3), "slice run"),
        ([], np.array([[np.nan]]), "no number"),
        ([("a", 2), ("a", 2)], np.zeros((2, 1)), "differ in name"),
        ([("a", 3)], np.zeros((2, 1)), "for 2 slices"),
    ],
)
def test_what_does_not_fit_is_told(scores, gains, told):
    made = [Score(name, np.zeros(size), "higher") for name, size in scores]
    with pytest.raises(InputError, match=told):
        rank_scores(made, gains, seed=0, **FEW)
