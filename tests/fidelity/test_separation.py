"""Silhouettes equal scikit-learn's; large groups are thinned and it is said."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from terraloom.errors import InputError
from terraloom.fidelity.separation import silhouettes


def cloud(count, seed, shift=0.0):
    return np.random.default_rng(seed).standard_normal((count, 5)) + shift


GROUPS = {"real": cloud(60, 0), "conditional": cloud(40, 1, 1.0), "free": cloud(30, 2, 6.0)}


def test_overall_and_pairwise_are_those_of_scikit_learn():
    found = silhouettes(GROUPS, seed=0)
    labels = np.repeat([0, 1, 2], [60, 40, 30])
    everything = np.concatenate(list(GROUPS.values()))
    assert found.overall == pytest.approx(silhouette_score(everything, labels))
    assert found.pairwise["real", "free"] == pytest.approx(
        silhouette_score(everything[labels != 1], labels[labels != 1])
    )
    assert list(found.pairwise) == [
        ("real", "conditional"), ("real", "free"), ("conditional", "free"),
    ]  # fmt: skip
    assert (found.counts, found.sampled) == ({"real": 60, "conditional": 40, "free": 30}, False)


def test_two_groups_have_one_figure():
    found = silhouettes({"a": cloud(50, 0), "b": cloud(50, 1)}, seed=0)
    assert found.overall == found.pairwise["a", "b"]
    assert abs(found.overall) < 0.05


def test_large_groups_are_thinned_by_the_seed_and_it_is_said():
    found = silhouettes(GROUPS, seed=0, max_samples=35)
    assert found.sampled
    assert found.counts == {"real": 35, "conditional": 35, "free": 30}
    assert found == silhouettes(GROUPS, seed=0, max_samples=35)
    assert found.overall != silhouettes(GROUPS, seed=1, max_samples=35).overall


def test_one_group_is_refused():
    with pytest.raises(InputError, match="two groups or more, found 1"):
        silhouettes({"real": cloud(9, 0)}, seed=0)
