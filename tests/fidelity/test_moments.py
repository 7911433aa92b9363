"""Fréchet distance: analytic values, the reference implementations, streams and singular sets."""

from itertools import pairwise

import numpy as np
import pytest
from cleanfid.fid import frechet_distance as clean_frechet
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from terraloom.errors import InputError
from terraloom.fidelity.moments import Moments, frechet_distance, frechet_of


def mixed(count, size, seed, offset=0.0):
    """Correlated features with unequal spreads."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((size, size))
    return (random.standard_normal((count, size)) @ mixing + offset).astype(np.float32)


def distance(first, second):
    return frechet_distance(Moments.of(first), Moments.of(second))


def test_equal_sets_are_no_distance_apart():
    features = mixed(300, 16, 0)
    assert distance(features, features).value == pytest.approx(0, abs=1e-9)


def test_shifted_gaussians_are_apart_by_the_square_of_the_shift():
    features = mixed(500, 8, 1).astype(np.float64)
    found = distance(features, features + 3.0)
    assert found.value == pytest.approx(8 * 9.0, rel=1e-9)
    assert found.mean_term == pytest.approx(72.0, rel=1e-9)
    assert found.covariance_term == pytest.approx(0, abs=1e-6)


def test_scaled_gaussians_are_apart_by_the_change_of_their_deviations():
    features = mixed(500, 8, 1).astype(np.float64)
    features -= features.mean(axis=0)
    # W2 of N(0, S) and N(0, 4 S): the trace of (2 - 1)² S.
    expected = np.trace(np.cov(features.T))
    assert distance(features, 2 * features).value == pytest.approx(expected, rel=1e-9)


def test_it_is_what_the_reference_implementations_say():
    first, second = mixed(800, 24, 0), mixed(700, 24, 1, offset=0.4)
    found = distance(first, second).value
    moments = [(f.mean(axis=0), np.cov(f, rowvar=False)) for f in (first, second)]
    assert found == pytest.approx(clean_frechet(*moments[0], *moments[1]), rel=1e-6)
    import torch

    stats = [fid_features_to_statistics(torch.from_numpy(f)) for f in (first, second)]
    theirs = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    assert found == pytest.approx(theirs, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=5), offset=st.sampled_from([0.0, 10.0, 1e4]))
def test_any_cut_into_blocks_and_any_merge_give_the_same_moments(cuts, offset):
    features = mixed(60, 5, 3).astype(np.float64) + offset
    edges = [0, *sorted(cuts), 60]
    blocks = [features[a:b] for a, b in pairwise(edges)]
    streamed = Moments.of(iter(blocks))
    merged = Moments(5)
    for block in blocks[::-1]:
        part = Moments(5)
        part.update(block)
        merged.merge(part)
    for moments in (streamed, merged):
        assert moments.count == 60
        np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.covariance, np.cov(features.T), rtol=1e-9, atol=1e-9)


def test_a_large_common_offset_loses_no_digits_of_the_covariance():
    features = mixed(2000, 6, 4).astype(np.float64)
    far = Moments.of(features + 1e7).covariance
    np.testing.assert_allclose(far, np.cov(features.T), rtol=1e-6, atol=1e-6)


def test_fewer_samples_than_features_are_said_and_equal_the_degenerate_distance():
    first, second = mixed(10, 32, 5).astype(np.float64), mixed(12, 32, 6).astype(np.float64)
    found = distance(first, second)
    assert found.singular
    assert found.ranks == (9, 11)
    assert not distance(mixed(200, 32, 5), mixed(200, 32, 6)).singular
    # The same figure from the samples: tr (S1 S2)^½ is the nuclear norm of X1 X2ᵀ.
    c1, c2 = (f - f.mean(axis=0) for f in (first, second))
    cross = np.linalg.norm(c1 @ c2.T, "nuc") / np.sqrt(9 * 11)
    apart = first.mean(axis=0) - second.mean(axis=0)
    expected = apart @ apart + (c1**2).sum() / 9 + (c2**2).sum() / 11 - 2 * cross
    assert found.value == pytest.approx(expected, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 30), m=st.integers(2, 30), seed=st.integers(0, 99))
def test_few_samples_have_the_distance_of_their_moments(n, m, seed):
    first, second = mixed(n, 20, seed, 3.0), mixed(m, 20, seed + 100)
    quick, whole = frechet_of(first, second), distance(first, second)
    assert quick.value == pytest.approx(whole.value, rel=1e-6, abs=1e-6)
    assert (quick.counts, quick.ranks) == (whole.counts, whole.ranks)
    assert quick.mean_term == pytest.approx(whole.mean_term)


def test_small_sets_of_one_source_lie_further_apart_than_large_ones():
    small, large = (
        distance(mixed(n, 16, 7), mixed(n, 16, 8)).value for n in (40, 4000)
    )  # the bias that floors of equal size are for
    assert small > 5 * large


def test_sets_that_do_not_fit_are_refused_with_what_was_found():
    with pytest.raises(InputError, match="4 and 5 features"):
        frechet_distance(Moments.of(mixed(9, 4, 0)), Moments.of(mixed(9, 5, 0)))
    with pytest.raises(InputError, match="2 samples or more, found 1"):
        distance(mixed(1, 4, 0), mixed(9, 4, 0))
    with pytest.raises(InputError, match="no features"):
        Moments.of(iter([]))
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        Moments.of(np.zeros(3))
    broken = mixed(9, 4, 0)
    broken[3, 2] = np.nan
    with pytest.raises(InputError, match="no numbers"):
        Moments.of(broken)
