"""Silhouettes tell groups that lie apart from groups that mix."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from terraloom.scorers.embedding import EmbeddingScorer, Settings, _maps, _silhouette


def clouds(apart, count=60, seed=0):
    random = np.random.default_rng(seed)
    first = random.standard_normal((count, 5))
    second = random.standard_normal((count, 5)) + apart
    names = ["one"] * count + ["two"] * count
    return np.concatenate([first, second]).astype(np.float32), names


def test_groups_far_apart_have_a_silhouette_near_one():
    assert _silhouette(*clouds(50)) > 0.95


def test_groups_that_mix_have_a_silhouette_near_nought():
    assert abs(_silhouette(*clouds(0))) < 0.02


def test_the_silhouette_grows_with_the_distance():
    values = [_silhouette(*clouds(apart)) for apart in (0, 1, 2, 5)]
    assert values == sorted(values)


def test_one_group_or_a_few_points_have_no_silhouette():
    features, names = clouds(1)
    assert _silhouette(features, ["one"] * len(names)) is None
    assert _silhouette(features[:3], ["one", "two", "two"]) is None


def test_a_map_has_two_coordinates_a_point_and_repeats_with_its_seed():
    features, _ = clouds(5, count=20)
    first, second = (_maps(features, ("tsne",), 4)["tsne"] for _ in range(2))
    assert first.shape == (40, 2)
    np.testing.assert_array_equal(first, second)


def test_umap_leaves_the_threads_of_later_trainings_alone():
    # It computes with numba, which sets OpenMP's number of threads for the whole process.
    features, _ = clouds(5, count=20)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert _maps(features, ("umap",), 4)["umap"].shape == (40, 2)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_the_summary_counts_origins_and_writes_their_points(corpus, tmp_path):
    scorer = EmbeddingScorer(Settings(methods=("tsne",)))
    summary = scorer.summarise(corpus.whole({}, tmp_path))
    assert summary["counts"] == {"real": 12, "conditional": 6, "unconditional": 4}
    assert set(summary["pairwise"]) == {
        "real, conditional", "real, unconditional", "conditional, unconditional",
    }  # fmt: skip
    assert summary["floor_samples"] == 16
    # All groups come from one process: they mix, as train and val do.
    assert summary["silhouette"] == pytest.approx(0, abs=0.25)
    points = pq.read_table(tmp_path / "embedding.parquet")
    assert points.column_names == ["origin", "tsne_x", "tsne_y"]
    assert points.num_rows == 22


def test_more_samples_than_asked_for_are_thinned(corpus, tmp_path):
    settings = Settings(methods=()).model_copy(update={"max_samples": 5})
    summary = EmbeddingScorer(settings).summarise(corpus.whole({}, tmp_path))
    assert summary["counts"] == {"real": 5, "conditional": 5, "unconditional": 4}
    assert summary["totals"] == {"real": 12, "conditional": 6, "unconditional": 4}
