"""A copy of a train image scores near nought, a like image near one, noise far beyond."""

from dataclasses import replace

import numpy as np
import pytest

from terraloom.samples import Sample
from terraloom.scorers.nearest import NearestScorer, Settings
from terraloom.testing import toy_pair, write_samples


def score(corpus, folder, images):
    """Scores of images as if they were synthetic."""
    samples = [
        Sample(f"s-{i}", image, np.zeros(image.shape[:2], np.uint8), "unconditional")
        for i, image in enumerate(images)
    ]
    table = write_samples(folder, samples, rows_per_shard=100)
    part = replace(corpus.part("synthetic", 0), samples_path=table.paths[0])
    return NearestScorer(Settings(), 0).score(part)["nearest_train"]


def test_a_copy_is_near_a_like_image_further_and_noise_far(corpus, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    images = [toy_pair(0, 48, 48)[0], toy_pair(7000, 48, 48)[0], noise]
    copy, like, far = score(corpus, tmp_path, images)
    assert copy == pytest.approx(0, abs=1e-3)
    assert 0.05 < like < far
    assert far > 3


def test_val_images_lie_at_a_median_of_one(corpus, tmp_path):
    # Rows 12 … 19 of the corpus are its val rows.
    values = score(corpus, tmp_path, [toy_pair(i, 48, 48)[0] for i in range(12, 20)])
    assert np.median(values) == pytest.approx(1, abs=1e-4)


def test_damage_raises_the_distance(corpus, tmp_path):
    image = toy_pair(3, 48, 48)[0]
    random = np.random.default_rng(0)
    damaged = [
        np.clip(image + random.normal(0, level, image.shape), 0, 255).astype(np.uint8)
        for level in (0, 20, 60, 120)
    ]
    values = score(corpus, tmp_path, damaged)
    assert values == sorted(values)


def test_real_samples_have_no_score(corpus):
    part = corpus.part("real", 0)
    values = NearestScorer(Settings(), 0).score(part)
    assert all(column == [None] * len(part.rows) for column in values.values())
