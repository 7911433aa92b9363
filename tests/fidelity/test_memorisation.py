"""Copies are flagged, held-back images of the same source at about the rate of the quantile."""

import numpy as np
import pytest

from terraloom.errors import InputError
from terraloom.fidelity.memorisation import Known, nearest_others
from terraloom.fidelity.moments import Moments


def cloud(count, seed):
    scales = np.linspace(0.1, 20, 12)
    return np.random.default_rng(seed).standard_normal((count, 12)) * scales + 5


TRAIN, VAL = cloud(600, 0), cloud(300, 1)
KNOWN = Known.of(Moments.of(TRAIN), TRAIN, VAL, quantile=0.05)


def test_copies_and_near_copies_are_flagged():
    noise = np.random.default_rng(2).standard_normal((50, 12)) * np.linspace(0.1, 20, 12)
    for copies in (TRAIN[:50], TRAIN[:50] + 0.05 * noise):
        ratios, rows = KNOWN.nearest(copies)
        assert KNOWN.copies(ratios).all()
        np.testing.assert_array_equal(rows, np.arange(50))


def test_held_back_images_are_flagged_about_as_often_as_the_quantile_says():
    ratios, _ = KNOWN.nearest(cloud(2000, 3))
    assert np.median(ratios) == pytest.approx(1, abs=0.05)
    assert 0.02 < KNOWN.copies(ratios).mean() < 0.09
    assert KNOWN.val_ratios.shape == (300,)


def test_train_images_that_repeat_do_not_hide_exact_copies():
    doubled = np.concatenate([TRAIN, TRAIN])
    known = Known.of(Moments.of(doubled), doubled, VAL)
    assert known.threshold == pytest.approx(1e-3)
    assert known.copies(known.nearest(TRAIN[:9])[0]).all()
    assert not known.copies(known.nearest(VAL)[0]).any()


def test_nearest_others_leave_out_the_image_itself_and_keep_its_twin():
    reference = np.concatenate([VAL[:20], VAL[:1]])
    apart, rows = nearest_others(reference, reference, np.arange(21))
    assert (rows != np.arange(21)).all()
    assert (rows[0], rows[20]) == (20, 0)
    assert apart[0] == pytest.approx(0, abs=1e-5)
    assert (apart[1:20] > 1e-2).all()


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="2 train images or more, found 1"):
        Known.of(Moments.of(TRAIN), TRAIN[:1], VAL)
