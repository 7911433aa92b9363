"""Figures of a segmentation equal scikit-learn's to the last digit, degenerate cases included."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from terraloom.learning.confusion import ConfusionCounter, confusion_of, figures_of

REFERENCES = {
    "f1": f1_score,
    "iou": jaccard_score,
    "precision": precision_score,
    "recall": recall_score,
}


def masks(seed, kinds, unknown, size=(9, 13)):
    random = np.random.default_rng(seed)
    truth = random.choice(kinds, size=size).astype(np.uint8)
    predicted = random.choice(kinds, size=size).astype(np.uint8)
    truth[random.random(size) < unknown] = 255
    return truth, predicted


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kinds=st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True),
    unknown=st.sampled_from([0.0, 0.3, 0.95]),
)
def test_every_figure_equals_scikit_learn_to_the_last_digit(seed, kinds, unknown):
    truth, predicted = masks(seed, kinds, unknown)
    known = truth != 255
    matrix = confusion_of(truth, predicted, 6)
    figures = figures_of(matrix)
    if not known.any():
        assert np.isnan(figures.accuracy)
        return
    y, p = truth[known], predicted[known]
    np.testing.assert_array_equal(matrix, confusion_matrix(y, p, labels=range(6)))
    present = np.union1d(y, p)
    for name, reference in REFERENCES.items():
        values = getattr(figures, name)
        expected = reference(y, p, labels=present, average=None, zero_division=0)
        np.testing.assert_array_equal(values[present], expected)
        absent = np.setdiff1d(np.arange(6), present)
        assert np.isnan(values[absent]).all()
        macro = reference(y, p, labels=present, average="macro", zero_division=0)
        assert float(figures.macro(name)) == pytest.approx(macro, rel=1e-15)
    assert float(figures.accuracy) == accuracy_score(y, p)


def test_a_class_absent_from_truth_and_prediction_is_left_out_of_the_mean():
    truth = np.array([[0, 0, 2, 2]], dtype=np.uint8)
    predicted = np.array([[0, 2, 2, 2]], dtype=np.uint8)
    figures = figures_of(confusion_of(truth, predicted, 4))
    np.testing.assert_allclose(figures.f1, [2 / 3, np.nan, 4 / 5, np.nan])
    assert float(figures.macro("f1")) == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_a_class_that_is_only_predicted_counts_as_zero():
    truth = np.zeros((1, 4), dtype=np.uint8)
    predicted = np.array([[0, 0, 0, 1]], dtype=np.uint8)
    figures = figures_of(confusion_of(truth, predicted, 3))
    assert figures.precision[1] == 0
    assert figures.recall[1] == 0
    assert float(figures.macro("recall")) == pytest.approx(0.75 / 2)


def test_an_image_without_known_pixels_has_no_figure():
    unknown = np.full((3, 5), 255, dtype=np.uint8)
    matrix = confusion_of(unknown, np.zeros_like(unknown), 3)
    assert matrix.sum() == 0
    figures = figures_of(matrix)
    assert np.isnan(figures.f1).all()
    assert np.isnan(figures.macro("f1"))
    assert np.isnan(figures.accuracy)


def test_matrices_of_parts_add_up_to_the_matrix_of_the_whole():
    truth, predicted = masks(3, [0, 1, 2, 3], 0.2, size=(20, 31))
    whole = confusion_of(truth, predicted, 4)
    parts = sum(
        confusion_of(truth[rows], predicted[rows], 4) for rows in (slice(0, 7), slice(7, 20))
    )
    np.testing.assert_array_equal(parts, whole)


def test_leading_axes_are_kept():
    stack = np.random.default_rng(0).integers(0, 9, size=(2, 3, 4, 4))
    figures = figures_of(stack)
    assert figures.f1.shape == (2, 3, 4)
    assert figures.accuracy.shape == (2, 3)
    np.testing.assert_array_equal(figures.iou[1, 2], figures_of(stack[1, 2]).iou)


def test_labels_worsen_every_figure_when_they_are_damaged():
    truth, _ = masks(5, [0, 1, 2], 0.0, size=(32, 32))
    damaged = np.where(np.random.default_rng(1).random(truth.shape) < 0.3, (truth + 1) % 3, truth)
    for name in REFERENCES:
        assert float(figures_of(confusion_of(truth, truth, 3)).macro(name)) == 1
        worse = figures_of(confusion_of(truth, damaged.astype(np.uint8), 3)).macro(name)
        assert float(worse) < 0.85


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 12), unknown=st.sampled_from([0.0, 1.0]))
def test_counting_on_the_device_equals_counting_each_mask(seed, images, unknown):
    random = np.random.default_rng(seed)
    counter = ConfusionCounter(6, torch.device("cpu"))
    expected = {}
    for start in range(0, images, 3):
        groups = [f"place {random.integers(4)}" for _ in range(min(3, images - start))]
        pairs = [masks(int(random.integers(1 << 30)), range(6), unknown) for _ in groups]
        for group, pair in zip(groups, pairs, strict=True):
            expected[group] = expected.get(group, 0) + confusion_of(*pair, 6)
        truth, predicted = (torch.from_numpy(np.stack(side)) for side in zip(*pairs, strict=True))
        counter.update(groups, truth, predicted.long())
    found = counter.matrices()
    assert list(found) == list(expected)
    for group, matrix in found.items():
        np.testing.assert_array_equal(matrix, expected[group])
