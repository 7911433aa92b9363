"""Wishes for class shares: what is refused, how the rest is filled, and counts met to the pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from terraloom.errors import SettingsError
from terraloom.generators._class_shares import (
    SharesMemory,
    assign_exactly,
    completed,
    pixel_counts,
    shares_target,
)
from terraloom.testing import toy_classes

CLASSES = toy_classes()
FREE = float("nan")


def test_a_wish_by_names_leaves_other_classes_free():
    target = shares_target({"tree": 0.3, "water": 0}, CLASSES)
    np.testing.assert_array_equal(target, [0, FREE, 0.3, FREE])


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"trees": 0.3}, "no class; there are: water, crop, tree, built-up. Did you mean 'tree'"),
        ({"tree": -0.1}, "between 0 and 1, asked for: tree = -0.1"),
        ({"tree": 30}, "between 0 and 1"),
        ({"tree": 0.7, "crop": 0.4}, "sum to 1.1: crop = 0.4, tree = 0.7"),
        ({"tree": 0.2, "crop": 0.2, "water": 0.2, "built-up": 0.1}, "sum to 0.7, not to 1"),
    ],
)
def test_wishes_that_no_mask_can_fulfil_are_refused(wish, message):
    with pytest.raises(SettingsError, match=message):
        shares_target(wish, CLASSES)


# Crops with 30 % of class 1 have the rest as class 2; those without have it as class 3.
MEMORY = np.array([[0, 0.3, 0.7, 0]] * 20 + [[0, 0, 0.1, 0.9]] * 200)


def test_the_rest_is_divided_as_in_training_crops_with_such_a_share():
    for seed in range(5):
        full = completed(np.array([FREE, 0.3, FREE, FREE]), MEMORY, np.random.default_rng(seed))
        np.testing.assert_allclose(full, [0, 0.3, 0.7, 0])
    full = completed(np.array([FREE, 0.0, FREE, FREE]), MEMORY, np.random.default_rng(0))
    np.testing.assert_allclose(full, [0, 0, 0.1, 0.9])


def test_no_wish_draws_crops_as_often_as_they_come():
    rows = [completed(np.full(4, FREE), MEMORY, np.random.default_rng(s)) for s in range(300)]
    assert np.mean([row[1] > 0 for row in rows]) == pytest.approx(20 / 220, abs=0.05)


def test_a_class_that_no_training_mask_shows_cannot_be_asked_for():
    with pytest.raises(SettingsError, match=r"0\.2 of water was asked for, but no train"):
        completed(shares_target({"water": 0.2}, CLASSES), MEMORY, np.random.default_rng(0),
                  CLASSES.names)  # fmt: skip
    none = completed(shares_target({"water": 0}, CLASSES), MEMORY, np.random.default_rng(0))
    assert none[0] == 0


def test_a_rest_that_no_class_could_take_is_refused():
    only = np.array([[1.0, 0, 0, 0]] * 5)
    with pytest.raises(SettingsError, match=r"leave 0\.5 to other classes"):
        completed(np.array([0.5, FREE, FREE, FREE]), only, np.random.default_rng(0))
    mixed = np.array([[1.0, 0, 0, 0]] * 30 + [[0, 0.5, 0.5, 0]])
    full = completed(np.array([0.9, FREE, FREE, FREE]), mixed, np.random.default_rng(0))
    np.testing.assert_allclose(full, [0.9, 0.05, 0.05, 0])


@given(
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.integers(0, 100),
)
def test_completed_targets_are_shares_and_keep_what_was_asked(values, asked, seed):
    values = np.array(values) / max(sum(values), 1)
    target = np.where(asked, values, FREE)
    memory = np.random.default_rng(3).dirichlet(np.ones(4), size=40)
    if all(asked):
        target[0] = FREE
    full = completed(target, memory, np.random.default_rng(seed))
    assert full.sum() == pytest.approx(1)
    assert full.min() >= 0
    known = ~np.isnan(target)
    np.testing.assert_allclose(full[known], target[known], atol=1e-6)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8).filter(lambda v: sum(v) > 0.1),
       st.integers(1, 5000))  # fmt: skip
def test_pixel_counts_add_up_and_are_off_by_less_than_one(shares, pixels):
    shares = np.array(shares)
    counts = pixel_counts(shares, pixels)
    assert sum(counts) == pixels
    assert np.abs(np.array(counts) - shares / shares.sum() * pixels).max() < 1


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_every_count_is_met_exactly(seed, num_classes):
    random = np.random.default_rng(seed)
    scores = random.standard_normal((9, 11, num_classes)) * random.choice([0, 0.01, 1, 50])
    counts = pixel_counts(random.dirichlet(np.full(num_classes, 0.4)), 99)
    labels = assign_exactly(scores, counts)
    assert np.bincount(labels.ravel(), minlength=num_classes).tolist() == counts


@pytest.mark.parametrize("seed", range(6))
def test_the_assignment_is_as_good_as_the_best_there_is(seed):
    random = np.random.default_rng(seed)
    scores = random.standard_normal((6, 6, 3))
    counts = pixel_counts(random.dirichlet(np.ones(3)), 36)
    labels = assign_exactly(scores, counts)
    # Reference: every class as many columns as it has pixels, solved as a matching.
    columns = np.repeat(np.arange(3), counts)
    rows, picked = linear_sum_assignment(-scores.reshape(36, 3)[:, columns])
    best = scores.reshape(36, 3)[rows, columns[picked]].sum()
    mine = np.take_along_axis(scores, labels[..., None].astype(int), axis=2).sum()
    assert mine == pytest.approx(best, abs=0.02 * abs(best))
    assert mine <= best + 1e-9


def test_pixels_that_are_all_alike_are_shared_out_as_well():
    labels = assign_exactly(np.zeros((128, 128, 3)), [5000, 5000, 128 * 128 - 10_000])
    assert np.bincount(labels.ravel()).tolist() == [5000, 5000, 6384]


def test_counts_that_hold_already_change_nothing():
    scores = np.random.default_rng(0).standard_normal((8, 8, 4))
    labels = scores.argmax(axis=2)
    counts = np.bincount(labels.ravel(), minlength=4).tolist()
    np.testing.assert_array_equal(assign_exactly(scores, counts), labels)


def test_the_memory_keeps_the_newest_in_place_of_the_oldest():
    memory = SharesMemory(2, 4)
    assert memory.known().tolist() == [[0.5, 0.5]]
    for value in range(6):
        memory.remember(torch.tensor([[float(value), 0.0]]))
    assert sorted(memory.known()[:, 0].tolist()) == [2, 3, 4, 5]
    again = SharesMemory(2, 4)
    again.load_state_dict(memory.state_dict())
    assert torch.equal(again.known(), memory.known())
