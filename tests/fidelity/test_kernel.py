"""Kernel distance: the reference implementations, no bias, an interval that holds."""

import numpy as np
import pytest
import torch
from cleanfid.fid import kernel_distance as clean_kernel
from torch_fidelity.metric_kid import kernel_mmd

from terraloom.errors import InputError
from terraloom.fidelity.kernel import kernel_distance, squared_discrepancy


def cloud(count, seed, size=12, shift=0.0):
    values = np.random.default_rng(seed).standard_normal((count, size))
    return (values + shift).astype(np.float32)


def test_it_is_what_the_reference_implementations_say_of_one_block():
    first, second = cloud(300, 0), cloud(300, 1, shift=0.3)
    found = squared_discrepancy(first, second)
    assert found == pytest.approx(clean_kernel(first, second, 1, 300), rel=1e-4)
    theirs = kernel_mmd(
        torch.from_numpy(first), torch.from_numpy(second), kid_kernel="poly",
        kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1,
    )  # fmt: skip
    assert found == pytest.approx(float(theirs), rel=1e-3, abs=1e-5)


def test_tiles_do_not_show(monkeypatch):
    first, second = cloud(130, 0), cloud(90, 1)
    whole = squared_discrepancy(first, second)
    monkeypatch.setattr("terraloom.fidelity.kernel._TILE", 32)
    assert squared_discrepancy(first, second) == pytest.approx(whole, rel=1e-9)


def test_sets_of_one_source_are_on_average_no_distance_apart():
    values = [squared_discrepancy(cloud(20, 2 * i), cloud(20, 2 * i + 1)) for i in range(300)]
    assert min(values) < 0
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / np.sqrt(300))


def test_the_interval_holds_what_a_very_large_set_shows():
    truth = squared_discrepancy(cloud(8000, 10), cloud(8000, 11, shift=0.2))
    hits = 0
    for i in range(40):
        found = kernel_distance(cloud(400, 100 + i), cloud(400, 200 + i, shift=0.2), seed=i)
        assert (found.blocks, found.block) == (10, 40)
        hits += found.low <= truth <= found.high
    assert hits >= 36


def test_a_shift_is_told_from_none_and_repeats_with_its_seed():
    near = kernel_distance(cloud(600, 0), cloud(600, 1), seed=3)
    far = kernel_distance(cloud(600, 0), cloud(600, 1, shift=0.5), seed=3)
    assert near.low <= 0 <= near.high
    assert far.low > 0
    assert far == kernel_distance(cloud(600, 0), cloud(600, 1, shift=0.5), seed=3)


def test_beyond_all_pairs_the_mean_over_blocks_is_the_value():
    first, second = cloud(4500, 0, size=4), cloud(4500, 1, size=4, shift=0.5)
    found = kernel_distance(first, second, seed=0)
    assert (found.block, found.blocks) == (450, 10)
    assert found.value == pytest.approx(squared_discrepancy(first, second), rel=0.2)
    assert found.value == pytest.approx((found.low + found.high) / 2)


def test_sets_that_are_too_small_are_refused():
    with pytest.raises(InputError, match="4 samples or more"):
        kernel_distance(cloud(3, 0), cloud(10, 1), seed=0)
