"""Figures of made masks: planted copies, noise, wrong shares and monotony are told apart."""

import json

import numpy as np
import pytest
from PIL import Image

from terraloom.layouts import layout_figures, layout_log, write_layout_figures, write_layout_grid
from terraloom.seeds import generator_at
from terraloom.testing import toy_classes, toy_rows

SIZE, CLASSES = 32, toy_classes()
TRAIN, VAL = toy_rows(8, 4, 48, 48)


class Planted:
    """Masks by a rule instead of a network."""

    def __init__(self, rule):
        self.rule = rule

    def masks(self, targets, seeds, names=None, *, exact=True):
        return [self.rule(np.asarray(t), s) for t, s in zip(targets, seeds, strict=True)]


def noise(target, seed):
    target = np.nan_to_num(target, nan=0.1)
    labels = np.arange(SIZE * SIZE) / SIZE**2
    mask = np.searchsorted(np.cumsum(target / target.sum()), labels).clip(0, 3).astype(np.uint8)
    return generator_at(seed, "noise").permutation(mask).reshape(SIZE, SIZE)


def copy(target, seed):
    random = generator_at(seed, "copy")
    mask = TRAIN[int(random.integers(len(TRAIN)))].mask
    return np.rot90(mask[5 : 5 + SIZE, 9 : 9 + SIZE], int(random.integers(4)))


def constant(target, seed):
    return np.zeros((SIZE, SIZE), np.uint8)


def figures(rule):
    return layout_figures(Planted(rule), TRAIN, VAL, CLASSES, SIZE, seed=1, count=16)


def test_exact_shares_have_no_ratio_error_and_noise_is_speckled():
    made = figures(noise)
    assert made.ratio_error < 0.002
    assert set(made.ratio_error_by_class) == set(CLASSES.names)
    assert made.made.patches > 10 * made.real.patches
    assert made.made.border_density > 3 * made.real.border_density
    assert made.made.nearest_train > made.real.nearest_train


def test_copies_are_told_by_their_nearest_train_mask():
    made = figures(copy)
    assert made.made.nearest_train < 0.06 < made.real.nearest_train
    assert made.nearest.nearest_train == 0
    assert made.ratio_error > 0.02


def test_one_mask_over_and_over_has_no_diversity():
    made = figures(constant)
    assert made.made.diversity == 0
    assert made.real.diversity > 0.5
    assert made.made.patches == 1
    assert made.adjacency_distance == pytest.approx(0.5)  # no border at all
    assert made.ratio_error > made.ratio_error_nearest


def test_figures_and_picture_are_written(tmp_path):
    made = figures(noise)
    write_layout_figures(made, tmp_path / "layout.json")
    told = json.loads((tmp_path / "layout.json").read_text())
    assert told["ratio_error"] == made.ratio_error
    assert all(np.isfinite(value) for value in layout_log(made).values())
    write_layout_grid(Planted(noise), TRAIN, CLASSES, SIZE, 1, tmp_path / "grid.png", columns=3)
    assert Image.open(tmp_path / "grid.png").size == (3 * SIZE * 2, 6 * SIZE * 2)
