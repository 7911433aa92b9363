"""Retrieval figures against counting by hand, and their controls."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraloom.imagetext.retrieval import AT, part_preferred, retrieve


def unit(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_perfect_encoder_finds_everything_and_the_shuffled_one_does_not():
    images = np.eye(40, dtype=np.float32)
    owner = np.repeat(np.arange(40), 3)
    found = retrieve(images, images[owner], owner, seed=0)
    assert found.text_of_image.found == found.image_of_text.found == (1.0, 1.0, 1.0)
    assert found.text_of_image.shuffled[0] < 0.3
    assert found.image_of_text.shuffled[0] < 0.2
    assert found.image_of_text.chance == pytest.approx((1 / 40, 5 / 40, 10 / 40))
    # of 120 texts, three are an image's own
    assert found.text_of_image.chance[0] == pytest.approx(3 / 120)
    assert found.text_of_image.chance[1] == pytest.approx(
        1 - np.prod([(117 - i) / (120 - i) for i in range(5)])
    )
    assert found.to_json()["image_of_text"]["recall_1"] == 1


def test_a_constant_encoder_gives_chance_and_no_first_places():
    images = np.tile(unit([[1, 1]]), (50, 1))
    found = retrieve(images, images, np.arange(50), seed=0)
    assert found.image_of_text.found == (0, 0, 0)  # the middle of fifty equal ranks
    assert found.image_of_text.median_rank == 25.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 3))
def test_recall_equals_counting(seed, images, each):
    rng = np.random.default_rng(seed)
    seen = unit(rng.normal(size=(images, 5)))
    owner = rng.permutation(np.repeat(np.arange(images), each))
    read = unit(rng.normal(size=(len(owner), 5)))
    found = retrieve(seen, read, owner, seed=1)
    similarity = seen @ read.T
    for place, k in enumerate(AT):
        by_text = [owner[t] in np.argsort(-similarity[:, t])[:k] for t in range(len(owner))]
        by_image = [i in owner[np.argsort(-similarity[i])[:k]] for i in range(images)]
        assert found.image_of_text.found[place] == pytest.approx(np.mean(by_text))
        assert found.text_of_image.found[place] == pytest.approx(np.mean(by_image))


def test_parts_preferred_are_counted_with_ties_half():
    own, others = np.array([0.5, 0.9]), np.array([0.1, 0.5, 0.7, 0.8])
    assert part_preferred(own, others) == pytest.approx([2.5 / 4, 0])


def test_images_without_a_text_are_refused():
    with pytest.raises(ValueError, match="all have a text"):
        retrieve(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32), np.zeros(2, int), seed=0)
