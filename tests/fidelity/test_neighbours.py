"""Neighbours and the figures made of them: reference implementations, tiles, planted collapse."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prdc import compute_prdc
from sklearn.neighbors import NearestNeighbors
from torch_fidelity.metric_prc import prc_features_to_metric

from terraloom.errors import InputError
from terraloom.fidelity import neighbours
from terraloom.fidelity.neighbours import manifold_figures, nearest_neighbours, own_nearest


def cloud(count, seed, size=10, shift=0.0):
    values = np.random.default_rng(seed).standard_normal((count, size))
    return (values + shift).astype(np.float32)


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(neighbours, "_ROWS", 37)
    monkeypatch.setattr(neighbours, "_COLUMNS", 23)


@pytest.fixture
def single(monkeypatch):
    monkeypatch.setattr(neighbours, "_DOUBLE_PAIRS", 0)


def test_neighbours_are_those_of_scikit_learn(small_tiles):
    queries, reference = cloud(90, 0), cloud(120, 1)
    found = nearest_neighbours(queries, reference, 4)
    index = NearestNeighbors(n_neighbors=4).fit(reference.astype(np.float64))
    distances, indices = index.kneighbors(queries.astype(np.float64))
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6)
    np.testing.assert_array_equal(found.indices, indices)


def test_no_vector_is_its_own_neighbour(small_tiles):
    features = cloud(150, 2)
    found = nearest_neighbours(features, features, 3, same=True)
    expected, _ = NearestNeighbors(n_neighbors=4).fit(features).kneighbors(features)
    assert (found.indices != np.arange(150)[:, None]).all()
    np.testing.assert_allclose(found.distances, expected[:, 1:], rtol=1e-5)
    np.testing.assert_array_equal(own_nearest(features), found.distances[:, 0])


@pytest.mark.parametrize("shift", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("arithmetic", ["float64", "float32"])
def test_figures_are_those_of_the_reference_implementations(shift, arithmetic, request):
    request.getfixturevalue("small_tiles")
    if arithmetic == "float32":
        request.getfixturevalue("single")
    real, made = cloud(300, 3), cloud(260, 4, shift=shift)
    found = manifold_figures(real, made, neighbours=5)
    theirs = compute_prdc(real, made, 5)
    assert found.arithmetic == arithmetic
    for name, value in theirs.items():
        assert getattr(found, name) == pytest.approx(float(value), abs=1e-12), name
    other = prc_features_to_metric(
        torch.from_numpy(made), torch.from_numpy(real), prc_neighborhood=5, prc_batch_size=100,
        save_cpu_ram=False, verbose=False,
    )  # fmt: skip
    assert found.precision == pytest.approx(float(other["precision"]), abs=1e-6)
    assert found.recall == pytest.approx(float(other["recall"]), abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(3, 70), columns=st.integers(6, 70), offset=st.sampled_from([0.0, 500.0]))
def test_tiles_and_offsets_change_nothing(rows, columns, offset):
    real, made = cloud(80, 5, size=4), cloud(75, 6, size=4, shift=0.4)
    whole = manifold_figures(real, made, neighbours=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_ROWS", rows)
        patch.setattr(neighbours, "_COLUMNS", columns)
        cut = manifold_figures(
            real.astype(np.float64) + offset, made.astype(np.float64) + offset, neighbours=3
        )
    assert cut == whole


@pytest.mark.parametrize("arithmetic", ["float64", "float32"])
def test_identical_sets_are_perfect_whatever_the_rounding(arithmetic, request):
    request.getfixturevalue("small_tiles")
    if arithmetic == "float32":
        request.getfixturevalue("single")
    real = cloud(200, 7)
    found = manifold_figures(real, real.copy(), neighbours=5)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    # A ball holds its centre and the four within; the fifth lies on its surface, so outside.
    assert found.density == 1


def test_mode_collapse_keeps_precision_and_loses_recall_and_coverage():
    real = cloud(400, 8)
    collapsed = real[:1] + cloud(400, 9) * 0.01
    found = manifold_figures(real, collapsed)
    assert found.precision == 1
    assert found.recall < 0.02
    assert found.coverage < 0.05


def test_noise_loses_precision():
    found = manifold_figures(cloud(300, 10), cloud(300, 11, shift=8.0))
    assert found.precision == 0
    assert found.coverage == 0


def test_no_matrix_of_all_pairs_is_made():
    import tracemalloc

    real, made = cloud(6000, 12, size=4), cloud(6000, 13, size=4)
    tracemalloc.start()  # NumPy's arrays; torch's tiles are bounded by their two constants
    manifold_figures(real, made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6000 * 6000 / 8


def test_too_few_or_unfit_vectors_are_refused():
    with pytest.raises(InputError, match="6 samples or more"):
        manifold_figures(cloud(5, 0), cloud(20, 1))
    with pytest.raises(InputError, match="3 neighbours need 4 vectors or more, found 3"):
        nearest_neighbours(cloud(3, 0), cloud(3, 0), 3, same=True)
    with pytest.raises(InputError, match="10 and 4 features"):
        nearest_neighbours(cloud(5, 0), cloud(5, 0, size=4))
