"""Planted sets come out where they belong between floor and ceiling."""

import numpy as np
import pytest

from terraloom.errors import InputError
from terraloom.fidelity.comparison import FIGURES, compare


def cloud(count, seed, size=8, shift=0.0):
    return (np.random.default_rng(seed).standard_normal((count, size)) + shift).astype(np.float32)


TRAIN, VAL, NOISE = cloud(400, 0), cloud(120, 1), cloud(150, 2, shift=5.0)


@pytest.fixture(scope="module")
def found():
    collapsed = TRAIN[:1] + 0.05 * cloud(300, 4)
    candidates = {"more": cloud(300, 3), "copies": TRAIN[:200], "collapsed": collapsed}
    return compare(TRAIN, VAL, candidates, {"shuffled": NOISE}, seed=0, draws=3)


def test_every_set_is_drawn_to_one_size_and_stands_beside_floor_and_ceiling(found):
    for name, comparison in found.items():
        assert comparison.samples == 120
        assert set(comparison.rows) == {name, "floor", "shuffled"}
        for row in comparison.rows.values():
            assert set(row) == set(FIGURES)
            assert all(s.low - 1e-9 <= s.mean <= s.high + 1e-9 for s in row.values())


def test_more_of_the_same_lies_at_the_floor_and_far_from_the_ceiling(found):
    rows = found["more"].rows
    for figure in ("frechet", "kernel"):
        assert rows["more"][figure].mean < rows["shuffled"][figure].mean / 5
    assert rows["more"]["frechet"].mean == pytest.approx(rows["floor"]["frechet"].mean, rel=0.4)
    for figure in ("precision", "recall", "coverage"):
        assert rows["more"][figure].mean > 0.8
        assert rows["shuffled"][figure].mean < 0.2


def test_collapse_is_seen_in_recall_coverage_and_vendi(found):
    rows = found["collapsed"].rows
    assert rows["collapsed"]["precision"].mean > 0.9
    for figure in ("recall", "coverage"):
        assert rows["collapsed"][figure].mean < rows["floor"][figure].mean / 4
    assert rows["collapsed"]["vendi"].mean < rows["floor"]["vendi"].mean / 3


def test_the_spread_comes_from_draws_and_repeats_with_the_seed(found):
    assert found["more"].rows["more"]["frechet"].low < found["more"].rows["more"]["frechet"].high
    again = compare(TRAIN, VAL, {"more": cloud(300, 3)}, {"shuffled": NOISE}, seed=0, draws=3)
    assert again["more"] == found["more"]


def test_a_set_of_no_more_than_k_samples_has_no_figures():
    assert compare(TRAIN, VAL, {"few": TRAIN[:5]}, {}, seed=0) == {"few": None}


def test_sets_of_two_networks_are_refused():
    with pytest.raises(InputError, match="8 and 4 features"):
        compare(TRAIN, VAL, {"other": cloud(50, 0, size=4)}, {}, seed=0)
    with pytest.raises(InputError, match="cannot be called floor"):
        compare(TRAIN, VAL, {"floor": TRAIN}, {}, seed=0)
