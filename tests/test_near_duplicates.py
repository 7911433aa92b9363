"""Near-duplicates against exhaustive search, and what is missed of planted ones."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraloom.near_duplicates import BANDS, ROWS, NearDuplicates, WordLists

WORDS = [f"w{i}" for i in range(400)]


def lists(texts):
    numbers = {word: i + 1 for i, word in enumerate(sorted({w for t in texts for w in t}))}
    return WordLists(
        np.array([numbers[w] for t in texts for w in t], dtype=np.uint32),
        np.concatenate([[0], np.cumsum([len(t) for t in texts])]).astype(np.int64),
    )


def pairs(words):
    return set(zip(["", *words], words, strict=False))


def jaccard(one, other):
    a, b = pairs(one), pairs(other)
    return len(a & b) / len(a | b) if a | b else 0.0


def brute(texts, threshold):
    return [any(jaccard(t, e) >= threshold for e in texts[:i]) for i, t in enumerate(texts)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=9), min_size=1, max_size=14),
    st.sampled_from([0.5, 0.8, 1.0]),
)
def test_no_find_is_false_and_similarity_is_exact(texts, threshold):
    near = NearDuplicates(lists(texts), threshold=threshold)
    order = np.arange(len(texts))
    found = near.repeats(order)
    expected = brute(texts, threshold)
    assert not any(f and not e for f, e in zip(found, expected, strict=True))
    for i in range(len(texts)):
        exact = [jaccard(texts[i], t) for t in texts]
        assert near.similarity(np.full(len(texts), i), order) == pytest.approx(exact)
    # Equal texts always share every bucket.
    for i, text in enumerate(texts):
        if text and text in texts[:i]:
            assert found[i]


@pytest.mark.parametrize("length", [10, 18, 40])
def test_planted_near_duplicates_are_found(length):
    rng = random.Random(length)
    originals = [rng.choices(WORDS, k=length) for _ in range(1500)]
    copies = []
    for text in originals:
        copy = list(text)
        copy[-1] = "planted"  # one pair of 2: similarity (length - 1) / (length + 1)
        copies.append(copy)
    near = NearDuplicates(lists(originals + copies))
    found = near.repeats(np.arange(3000))
    assert not found[:1500].any()
    assert found[1500:].mean() >= 0.99


def test_pairs_at_the_threshold_meet_as_often_as_the_formula_says():
    # A pair of similarity s meets with probability 1 - (1 - s^rows)^bands; s = 2/3 stays visible.
    rng = random.Random(3)
    originals = [rng.sample(WORDS, k=20) for _ in range(2000)]
    copies = [[*t[:16], *(f"x{i}-{k}" for k in range(4))] for i, t in enumerate(originals)]
    similarity = jaccard(originals[0], copies[0])
    assert similarity == pytest.approx(16 / 24)
    near = NearDuplicates(lists(originals + copies), threshold=similarity)
    expected = 1 - (1 - similarity**ROWS) ** BANDS
    assert near.repeats(np.arange(4000))[2000:].mean() == pytest.approx(expected, abs=0.03)


def test_subsets_are_judged_by_their_own_order():
    texts = [
        list("abcdefghij"),
        ["x", "y", "z"],
        list("abcdefghik"),
    ]
    near = NearDuplicates(lists(texts))
    assert near.repeats(np.array([0, 1, 2])).tolist() == [False, False, True]
    assert near.repeats(np.array([2, 0])).tolist() == [False, True]
    assert near.repeats(np.array([1, 2])).tolist() == [False, False]
    assert near.repeats(np.array([], dtype=np.int64)).tolist() == []


def test_within_groups_every_pair_is_looked_at():
    texts = [
        list("abcdefghij"),
        ["x", "y", "z"],
        list("abcdefghik"),
        [],
    ]
    near = NearDuplicates(lists(texts))
    at = np.array([0, 0, 1, 2, 3, 3])
    assert near.within_groups(at, np.array([5, 6, 5, 5, 7, 7])).tolist() == [
        False, False, False, True, False, True,
    ]  # fmt: skip


def test_a_very_large_group_is_searched_by_buckets():
    rng = random.Random(5)
    texts = [rng.choices(WORDS, k=15) for _ in range(5000)]
    copies = [[*t[:-1], "planted"] for t in texts[:500]]
    near = NearDuplicates(lists(texts + copies))
    at = np.array([*range(5500), 7, 7])
    found = near.within_groups(at, np.zeros(5502, dtype=np.int64))
    assert not found[:5000].any()
    assert found[5000:5500].mean() > 0.99
    assert found[5500:].all()
    # beside small groups, which keep their own figures
    groups = np.array([0] * 5500 + [1, 1])
    assert near.within_groups(at, groups)[5500:].tolist() == [False, True]


def test_texts_without_a_word_and_very_long_ones_are_taken():
    long = ["word"] * 200_000
    near = NearDuplicates(lists([[], long, [], [*long, "end"]]))
    assert near.repeats(np.arange(4)).tolist() == [False, False, False, False]
    assert near.similarity(np.array([1]), np.array([3]))[0] == pytest.approx(2 / 3)


@pytest.mark.parametrize("threshold", [0, 1.1])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(ValueError, match="threshold must lie"):
        NearDuplicates(lists([["a"]]), threshold=threshold)
