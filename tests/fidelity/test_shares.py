"""Class shares: SciPy's distances, intervals that hold and widen with alike neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from terraloom.errors import InputError
from terraloom.fidelity.shares import compare_shares


def shares(count, seed, weights=(4, 2, 1)):
    return np.random.default_rng(seed).dirichlet(weights, count)


def alone(values, prefix=""):
    return [f"{prefix}{i}" for i in range(len(values))]


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 40), m=st.integers(1, 40), seed=st.integers(0, 50))
def test_values_are_those_of_scipy(n, m, seed):
    real, made = shares(n, seed), shares(m, seed + 100, (1, 1, 3))
    found = compare_shares(real, made, alone(real), alone(made), seed=0, draws=2)
    expected = jensenshannon(real.mean(axis=0), made.mean(axis=0), base=2)
    assert found.jensen_shannon.value == pytest.approx(expected)
    for label in range(3):
        assert found.wasserstein[label].value == pytest.approx(
            wasserstein_distance(real[:, label], made[:, label]), abs=1e-12
        )
        gap = made[:, label].mean() - real[:, label].mean()
        assert found.difference[label].value == pytest.approx(gap)


def test_intervals_hold_the_true_difference_of_the_means():
    truth = np.array([1, 2, 4]) / 7 - np.array([4, 2, 1]) / 7
    hits = 0
    for i in range(60):
        real, made = shares(80, 2 * i), shares(80, 2 * i + 1, (1, 2, 4))
        found = compare_shares(real, made, alone(real), alone(made), seed=i, draws=200)
        hits += found.difference[0].low <= truth[0] <= found.difference[0].high
    assert hits >= 52


def test_intervals_of_alike_neighbours_are_wider():
    real, made = shares(20, 0), shares(200, 1)
    groups = [f"g{i // 10}" for i in range(200)]
    repeated = np.repeat(real, 10, axis=0)
    kind = compare_shares(repeated, made, alone(repeated), alone(made), seed=0)
    honest = compare_shares(repeated, made, groups, alone(made), seed=0)
    assert honest.groups == (20, 200)
    width, wide = (f.difference[0].high - f.difference[0].low for f in (kind, honest))
    assert wide > 1.5 * width


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), count=st.integers(2, 30))
def test_every_value_lies_in_its_interval(seed, count):
    real = shares(count, seed)
    made = np.concatenate([real[1:], shares(1, seed + 100)])  # nearly the same samples
    found = compare_shares(real, made, alone(real), alone(made), seed=0, draws=40)
    for estimate in (found.jensen_shannon, *found.wasserstein, *found.difference):
        assert estimate.low <= estimate.value <= estimate.high


def test_equal_sets_reach_down_to_nought_and_large_sets_are_thinned(monkeypatch):
    real = shares(300, 0)
    found = compare_shares(real, real, alone(real), alone(real), seed=0, draws=100)
    assert found.jensen_shannon.value == 0
    assert found.jensen_shannon.low == 0
    monkeypatch.setattr("terraloom.fidelity.shares._MAX_SAMPLES", 50)
    thinned = compare_shares(real, real, alone(real), alone(real), seed=0, draws=10)
    assert thinned.samples == (50, 50)


def test_empty_sets_are_refused():
    with pytest.raises(InputError, match=r"shares of \(0, 3\) and \(4, 3\)"):
        compare_shares(np.zeros((0, 3)), shares(4, 0), [], alone(range(4)), seed=0)
