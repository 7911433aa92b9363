"""Weak classes and their quotas, from confusion matrices alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from terraloom.demand.weakness import (
    ClassFigure,
    class_figures,
    gain,
    macro_f1,
    share_out,
    weak_classes,
)
from terraloom.learning.confusion import figures_of
from terraloom.verdict import Estimate

NAMES = ("water", "crop", "tree", "shrub")


def matrices(rates, runs=2, places=6, seed=0):
    """Truth of each class is found at its rate, the rest is called water (or crop)."""
    random = np.random.default_rng(seed)
    found = np.zeros((runs, places, 4, 4), dtype=np.int64)
    for label, rate in enumerate(rates):
        if rate is None:
            continue
        right = random.binomial(400, rate, size=(runs, places))
        found[:, :, label, label] = right
        found[:, :, label, 1 if label == 0 else 0] += 400 - right
    return found


def test_f1_is_that_of_all_places_with_an_interval_around_it():
    own = matrices((0.9, 0.8, 0.6, 0.2))
    figures = class_figures(own, NAMES, seed=0, draws=300)
    assert [f.name for f in figures] == list(NAMES)
    expected = figures_of(own.sum(axis=1)).f1.mean(axis=0)
    for figure, value in zip(figures, expected, strict=True):
        assert figure.f1.mean == pytest.approx(value)
        assert figure.f1.low <= figure.f1.mean <= figure.f1.high
        assert figure.places == 6
        assert figure.pixels == 6 * 400
    whole = macro_f1(own, seed=0, draws=300)
    assert whole.mean == pytest.approx(expected.mean())


def test_a_class_that_train_does_not_show_is_neither_weak_nor_told():
    figures = class_figures(matrices((0.9, 0.8, None, 0.2)), NAMES, seed=0, draws=100)
    assert [f.name for f in figures] == ["water", "crop", "shrub"]


def test_a_class_at_one_place_alone_has_a_figure():
    own = matrices((0.9, 0.8, 0.6, 0.2))
    own[:, 1:, 3] = 0
    shrub = class_figures(own, NAMES, seed=0, draws=200)[3]
    assert shrub.places == 1
    assert np.isfinite([shrub.f1.low, shrub.f1.high]).all()


def figure(f1, label=0):
    return ClassFigure(f"class {label}", label, Estimate(f1, f1, f1), 1, 1)


def test_the_weakest_come_first_and_no_strong_one_is_among_them():
    figures = [figure(f1, label) for label, f1 in enumerate((0.95, 0.3, 0.9, 0.1))]
    assert [f.label for f in weak_classes(figures, 3)] == [3, 1]
    assert [f.label for f in weak_classes(figures, 1)] == [3]
    assert weak_classes([], 3) == []
    assert weak_classes([figure(0.5, 0), figure(0.5, 1)], 3) == []


def test_samples_go_where_most_is_lacking():
    shared = share_out([figure(0.2, 0), figure(0.6, 1)], 90)
    assert [(d.label, d.samples) for d in shared] == [(0, 60), (1, 30)]
    assert share_out([], 90) == []


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 0.99), min_size=1, max_size=8), st.integers(1, 500))
def test_every_sample_is_shared_out_and_none_twice(values, samples):
    weak = [figure(f1, label) for label, f1 in enumerate(sorted(values))]
    shared = share_out(weak, samples)
    assert sum(demand.samples for demand in shared) == samples
    counts = {demand.label: demand.samples for demand in shared}
    # The weaker of two classes never gets less.
    for first, second in zip(range(len(weak)), range(1, len(weak)), strict=False):
        assert counts.get(first, 0) + 1 >= counts.get(second, 0)


def test_a_true_gain_lies_above_nought_and_none_does_not():
    before = matrices((0.9, 0.8, 0.5, 0.3), places=20)
    after = matrices((0.9, 0.8, 0.7, 0.6), places=20, seed=1)
    found, smallest = gain(after, before, seed=0, draws=400)
    assert 0 < found.low < found.mean
    assert smallest > 0
    same, _ = gain(matrices((0.9, 0.8, 0.5, 0.3), places=20, seed=2), before, seed=0, draws=400)
    assert same.low < 0 < same.high
